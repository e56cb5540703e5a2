//! Calls of whichever coordinator of a role is active.
//!
//! Commands carry ids and are carried out once however often they are sent: a command that was not
//! answered is sent again, to the same coordinator or the one that took over, until time is up.

use std::sync::Arc;
use std::time::Duration;

use redkite_cluster::sessions::Sessions;
use redkite_runtime::Backoff;
use redkite_service::{Error, Result};
use redkite_types::Revision;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Shared;
use crate::call::{Caller, Method, Reply, Request};
use crate::link::Link;

/// Pauses before the same coordinator is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Calls the active coordinator of a role.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) role: &'static str,
    pub(super) shared: Arc<Shared>,
}

impl Caller for Active {
    async fn call<Q: Request, A: Reply>(&self, method: &'static Method, request: Q) -> Result<A> {
        let request = Arc::new(request);
        let deadline = Instant::now() + self.shared.settings.command_patience;
        let mut sessions = self.shared.parts.sessions.watch();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let reign = self.reign(&sessions.borrow_and_update());
            let error = match self.shared.link(|sessions| sessions.active(self.role)) {
                None => self.nobody(),
                Some(link) => tokio::select! {
                    biased;
                    answer = ask(&link, method, &request) => match answer {
                        Err(error) if may_pass(&error) => error,
                        answer => return answer,
                    },
                    error = self.deposed(sessions.clone(), reign) => error,
                },
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            debug!(method = method.path, %error, "command is sent again");
            tokio::select! {
                biased;
                () = self.other(&mut sessions, reign) => backoff.reset(),
                () = backoff.wait(), if reign.is_some() => {}
                () = sleep_until(deadline) => return Err(error),
            }
        }
    }
}

impl Active {
    /// Since when the active one is active.
    fn reign(&self, sessions: &Sessions) -> Option<Revision> {
        sessions.active(self.role).map(|active| active.revision)
    }

    /// Waits until another is active, or none, than in this reign.
    async fn other(&self, sessions: &mut watch::Receiver<Arc<Sessions>>, reign: Option<Revision>) {
        if sessions.wait_for(|now| self.reign(now) != reign).await.is_err() {
            // Nothing is followed any more: the process stops.
            std::future::pending().await
        }
    }

    /// Waits until another has taken over: the answer of the one before, if it ever came, is not needed.
    async fn deposed(&self, mut sessions: watch::Receiver<Arc<Sessions>>, reign: Option<Revision>) -> Error {
        let taken_over = |now: &Arc<Sessions>| self.reign(now).is_some_and(|now| Some(now) != reign);
        if sessions.wait_for(taken_over).await.is_err() {
            std::future::pending().await
        }
        Error::ConnectionLost { what: format!("{} was replaced", self.role) }
    }

    fn nobody(&self) -> Error {
        Error::NotReady { role: self.role.to_owned(), node: 0, state: "no active coordinator".to_owned() }
    }
}

async fn ask<Q: Request, A: Reply>(link: &Link, method: &'static Method, request: &Arc<Q>) -> Result<A> {
    let answer = link.call(method, request).await;
    answer.unwrap_or_else(|failure| Err(failure.told(method, link.address())))
}

/// Whether another try, here or at another coordinator, may be answered.
fn may_pass(error: &Error) -> bool {
    matches!(
        error,
        Error::NotReady { .. }
            | Error::Unavailable { .. }
            | Error::ConnectionLost { .. }
            | Error::Fenced { .. }
            | Error::NodeNotMatch { .. }
    )
}
