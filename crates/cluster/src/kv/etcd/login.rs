//! Who are we to etcd? The token of a login, renewed when etcd no longer takes it.

use std::sync::Arc;

use redkite_proto::etcd as pb;
use tokio::sync::Mutex;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tracing::{info, warn};

use super::failure::{Answer, Failure, Kind};
use super::settings::EtcdAuth;

/// What a login gave.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) value: MetadataValue<Ascii>,
    number: u64,
}

/// A user and, once it was needed, its token.
pub(super) struct Login {
    user: Option<(String, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logins: u64,
    token: Held,
}

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Token(Token),
    /// etcd takes everybody.
    NotNeeded,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user.as_ref().map(|(user, _)| user)).finish()
    }
}

impl Login {
    pub(super) fn new(settings: &EtcdAuth) -> Self {
        let user = settings.enabled.then(|| (settings.user_name.clone(), settings.password.clone()));
        Self { user, state: Mutex::default() }
    }

    /// Whether there is a user to log in.
    pub(super) fn is_configured(&self) -> bool {
        self.user.is_some()
    }

    /// The token, if one is needed; logs in on `channel` if there is none yet.
    pub(super) async fn token(&self, member: &Arc<str>, channel: &Channel) -> Result<Option<Token>, Failure> {
        let Some((user, password)) = &self.user else { return Ok(None) };
        let mut state = self.state.lock().await;
        match &state.token {
            Held::Token(token) => return Ok(Some(token.clone())),
            Held::NotNeeded => return Ok(None),
            Held::Nothing => {}
        }
        let request = pb::AuthenticateRequest { name: user.clone(), password: password.clone() };
        match pb::auth_client::AuthClient::new(channel.clone()).authenticate(request).await {
            Ok(answer) => {
                let value = answer.into_inner().token.parse().map_err(|_| Failure {
                    member: member.clone(),
                    detail: "the token of the login cannot be sent back".to_owned(),
                    kind: Kind::Answer(Answer::Other),
                })?;
                state.logins += 1;
                info!(member = &**member, user, "logged in to etcd");
                let token = Token { value, number: state.logins };
                state.token = Held::Token(token.clone());
                Ok(Some(token))
            }
            Err(status) => {
                let mut failure = Failure::of_status(member, &status);
                match failure.kind {
                    Kind::Answer(Answer::NoLogins) => {
                        warn!(member = &**member, user, "etcd asks for no login, the user is not used");
                        state.token = Held::NotNeeded;
                        return Ok(None);
                    }
                    // A login is no change: what it was for has not been sent.
                    Kind::Lost => failure.kind = Kind::NotDone,
                    Kind::Answer(Answer::Denied) => {
                        failure.detail = format!("user {user:?}: {}", failure.detail);
                    }
                    _ => {}
                }
                Err(failure)
            }
        }
    }

    /// Logs in again at the next call, unless that has happened since `refused` was given out.
    pub(super) async fn forget(&self, refused: Option<&Token>) {
        let mut state = self.state.lock().await;
        let current = match &state.token {
            Held::Nothing => return,
            Held::Token(token) => Some(token.number),
            Held::NotNeeded => None,
        };
        if current == refused.map(|token| token.number) {
            state.token = Held::Nothing;
        }
    }
}
