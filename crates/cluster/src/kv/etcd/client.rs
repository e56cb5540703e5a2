//! How does a call reach some member of etcd within its deadline, and how often is it tried?
//!
//! Calls go to one member until it fails, then to the next. What may be repeated is, until the deadline;
//! what must happen once is tried again only after a failure in which etcd surely did nothing. Every
//! answer tells the store's revision, which is remembered for the watches.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redkite_proto::etcd as pb;
use redkite_runtime::Backoff;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tracing::debug;

use super::connect::{Member, Use};
use super::failure::{Answer, Failed, Failure, Failures, Kind};
use super::login::{Login, Token};
use super::settings::EtcdSettings;
use crate::kv::KvError;

/// etcd's answers have no limit; ours on requests keeps them small, except for ranges within transactions.
pub(super) const LARGEST_ANSWER: usize = i32::MAX as usize;
/// Logging in again this often within one call means that it does not help.
const LOGINS: usize = 2;

/// Whether a call may be repeated when it is not known whether it was applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// It changes nothing that anybody sees.
    None,
    /// Twice is as good as once.
    Repeatable,
    /// It must not be applied twice.
    Once,
}

/// The members, the login and what is known of the store.
#[derive(Debug)]
pub(super) struct Client {
    members: Vec<Arc<Member>>,
    /// Counts on; modulo the number of members, the one that calls go to.
    current: AtomicUsize,
    login: Login,
    request_timeout: Duration,
    /// Highest revision of the store seen in an answer.
    seen: watch::Sender<i64>,
    /// Whether we were refused the keys of others.
    restricted: AtomicBool,
}

impl Client {
    pub(super) fn new(settings: &EtcdSettings) -> Result<Self, KvError> {
        Ok(Self {
            members: Member::all(settings)?,
            current: AtomicUsize::new(0),
            login: Login::new(&settings.auth),
            request_timeout: settings.request_timeout,
            seen: watch::Sender::new(0),
            restricted: AtomicBool::new(false),
        })
    }

    /// How the highest known revision of the store changes.
    pub(super) fn seen(&self) -> watch::Receiver<i64> {
        self.seen.subscribe()
    }

    /// Whether we may read the keys of others, as far as is known.
    pub(super) fn sees_everything(&self) -> bool {
        !self.restricted.load(Ordering::Relaxed)
    }

    /// We may not.
    pub(super) fn sees_only_its_own(&self) {
        self.restricted.store(true, Ordering::Relaxed);
    }

    /// All tries of one call together.
    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// One try of a call that may be repeated: short enough to try every member, one of them twice.
    pub(super) fn try_timeout(&self) -> Duration {
        let tries = u32::try_from(self.members.len() + 1).unwrap_or(u32::MAX);
        self.request_timeout / tries
    }

    /// The member that calls go to, and what to tell [`Client::avoid`] when it fails.
    pub(super) fn member(&self) -> (Arc<Member>, usize) {
        let current = self.current.load(Ordering::Relaxed);
        (self.members[current % self.members.len()].clone(), current)
    }

    /// Turns to the next member, unless somebody has.
    pub(super) fn avoid(&self, failed: usize) {
        let next = failed.wrapping_add(1);
        // An error means that another call turned away already.
        let _ = self.current.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sends `request` by way of `send`.
    pub(super) async fn call<Q, A, F>(
        &self,
        name: &'static str,
        effect: Effect,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F + Send + Sync,
    ) -> Result<A, Failed>
    where
        Q: Clone + Send + Sync,
        A: Headed,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let started = Instant::now();
        let result = self.call_until(started + self.request_timeout, effect, request, send).await;
        metrics::histogram!("redkite_etcd_call_seconds", "call" => name).record(started.elapsed());
        match &result {
            Ok(answer) => self.observe(answer.revision()),
            Err(failed) => {
                metrics::counter!("redkite_etcd_failed_calls_total", "call" => name).increment(1);
                debug!(call = name, ?failed, "etcd call failed");
            }
        }
        result
    }

    fn observe(&self, revision: i64) {
        self.seen.send_if_modified(|seen| {
            let newer = revision > *seen;
            *seen = revision.max(*seen);
            newer
        });
    }

    async fn call_until<Q, A, F>(
        &self,
        deadline: Instant,
        effect: Effect,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F + Send + Sync,
    ) -> Result<A, Failed>
    where
        Q: Clone + Send + Sync,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let mut failures = Failures::default();
        let mut maybe_applied = false;
        let mut tried = 0;
        let mut logins = 0;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            let (member, current) = self.member();
            let patience = if effect == Effect::Once { self.request_timeout } else { self.try_timeout() };
            let until = deadline.min(Instant::now() + patience);
            let failure = match self.try_once(&member, until, request.clone(), &send).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure.kind {
                Kind::Answer(answer) => return Err(Failed::Answer(answer, failure)),
                Kind::Login if logins == LOGINS || !self.login.is_configured() => {
                    return Err(Failed::Answer(Answer::Denied, failure));
                }
                Kind::Login => {
                    logins += 1;
                    continue;
                }
                Kind::Lost => maybe_applied |= effect != Effect::None,
                Kind::NotDone => {}
            }
            self.avoid(current);
            failures.add(failure);
            tried += 1;
            if maybe_applied && effect == Effect::Once {
                return Err(Failed::Unknown(failures));
            }
            let pause = if tried % self.members.len() == 0 { backoff.next_delay() } else { Duration::ZERO };
            if Instant::now() + pause >= deadline {
                let failed = if maybe_applied { Failed::Unknown } else { Failed::Unavailable };
                return Err(failed(failures));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_once<Q, A, F>(
        &self,
        member: &Member,
        until: Instant,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let began = Instant::now();
        let connecting = timeout_at(until, member.connection(Use::Calls)).await;
        let timeout = |sent| Failure::timeout(&member.name, began.elapsed(), sent);
        let connection = connecting
            .map_err(|_| timeout(false))?
            .map_err(|detail| Failure::not_connected(&member.name, detail))?;
        let mut sent = false;
        let mut used = None;
        let calling = async {
            let token = self.login.token(&member.name, &connection.channel).await?;
            let mut request = Request::new(request);
            add_metadata(&mut request, token.as_ref());
            used = token;
            sent = true;
            let answer = send(connection.channel.clone(), request).await;
            answer.map(Response::into_inner).map_err(|status| Failure::of_status(&member.name, &status))
        };
        let result = timeout_at(until, calling).await.unwrap_or_else(|_| Err(timeout(sent)));
        match &result {
            Err(Failure { kind: Kind::Lost | Kind::NotDone, .. }) => {
                member.drop_connection(Use::Calls, &connection).await;
            }
            Err(Failure { kind: Kind::Login, .. }) => self.login.forget(used.as_ref()).await,
            _ => {}
        }
        result
    }

    /// The login's token, for a stream on a connection to `member`.
    pub(super) async fn token(&self, member: &Member, channel: &Channel) -> Result<Option<Token>, Failure> {
        self.login.token(&member.name, channel).await
    }

    /// The token was refused: the next call logs in again.
    pub(super) async fn forget(&self, token: Option<&Token>) {
        self.login.forget(token).await;
    }

    /// Whether another login may help.
    pub(super) fn can_log_in(&self) -> bool {
        self.login.is_configured()
    }

    /// Waits until the store is known to have gone beyond `revision`, and then until `not_before`.
    pub(super) async fn beyond(seen: &mut watch::Receiver<i64>, revision: i64, not_before: Instant) {
        if seen.wait_for(|seen| *seen > revision).await.is_err() {
            // The sender lives in the client, which the waiting watch holds.
            std::future::pending::<()>().await;
        }
        sleep_until(not_before).await;
    }
}

/// Says who asks, and that a member cut off from the leader should refuse rather than wait.
pub(super) fn add_metadata<Q>(request: &mut Request<Q>, token: Option<&Token>) {
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.value.clone());
    }
}

/// An answer that tells the store's revision.
pub(super) trait Headed: Send {
    fn header(&self) -> Option<&pb::ResponseHeader>;

    fn revision(&self) -> i64 {
        self.header().map_or(0, |header| header.revision)
    }
}

macro_rules! headed {
    ($($answer:ident)*) => {
        $(impl Headed for pb::$answer {
            fn header(&self) -> Option<&pb::ResponseHeader> {
                self.header.as_ref()
            }
        })*
    };
}

headed!(RangeResponse TxnResponse CompactionResponse LeaseGrantResponse LeaseRevokeResponse
    LeaseKeepAliveResponse LeaseTimeToLiveResponse StatusResponse);
