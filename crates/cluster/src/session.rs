//! How does a process say that it is alive, and what if the metastore forgets it?
//!
//! A session is a key with a description under a lease that is kept alive. When the lease is lost, all
//! that stood under it is gone; the session registers again under a new lease, and tells whoever
//! watches [`Session::lease`] that what they put under the old one must be put again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redkite_runtime::{Backoff, Stopping, Tasks};
use redkite_types::{NodeId, Revision};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{error, info, warn};

use crate::kv::{Compare, Event, Kv, KvError, LeaseId, Txn};

/// What a session tells about its process. Written as Milvus writes it, so that its tools can read it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionInfo {
    /// The node.
    #[serde(rename = "ServerID")]
    pub server_id: i64,
    /// The role, such as `querynode`.
    pub server_name: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Whether at most one of the role is active.
    pub exclusive: bool,
    /// Whether it is leaving and should be given nothing more to do.
    pub stopping: bool,
    /// Version of the program.
    pub version: String,
    /// Name of the machine.
    pub host_name: String,
    /// Labels for placement, such as `RESOURCE_GROUP`.
    pub server_labels: BTreeMap<String, String>,
}

/// The key of a process's session: `session/<role>-<id>`.
#[must_use]
pub fn session_key(role: &str, node: NodeId) -> String {
    format!("session/{role}-{node}")
}

/// The key that the active coordinator of a role has: `session/<role>`.
#[must_use]
pub fn active_key(role: &str) -> String {
    format!("session/{role}")
}

impl SessionInfo {
    /// The session's key.
    #[must_use]
    pub fn key(&self) -> String {
        session_key(&self.server_name, self.node())
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.server_id)
    }

    /// As it is stored.
    ///
    /// # Panics
    /// Never: all fields have a JSON form.
    #[must_use]
    pub fn to_value(&self) -> Bytes {
        serde_json::to_vec(self).expect("strings, numbers and a map of strings have a JSON form").into()
    }

    /// Reads what is stored under `key`.
    ///
    /// # Errors
    /// [`KvError::BadValue`] if it is not a session's JSON.
    pub fn from_value(key: &str, value: &[u8]) -> Result<Self, KvError> {
        serde_json::from_slice(value)
            .map_err(|error| KvError::BadValue { key: key.to_owned(), detail: error.to_string() })
    }
}

/// How long a silent process counts as alive.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionSettings {
    /// Time to live of the lease in seconds. Shorter: a dead process is noticed sooner; longer: a slow
    /// one is not taken for dead. Milvus: `common.session.ttl`.
    pub ttl: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { ttl: 10 }
    }
}

/// Keep-alives per time to live: two may be lost.
const KEEP_ALIVES: u32 = 3;

/// A registered process. Dropping it stops the keep-alives; use [`Session::end`] to leave at once.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    lease: watch::Receiver<Option<LeaseId>>,
    held: watch::Receiver<Option<Held>>,
    /// Dropped with the session or when it ends, which ends the task.
    alive: Mutex<Option<oneshot::Sender<()>>>,
}

struct Shared {
    kv: Arc<dyn Kv>,
    ttl: Duration,
    info: Mutex<SessionInfo>,
    key: String,
    lease: watch::Sender<Option<LeaseId>>,
    held: watch::Sender<Option<Held>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("key", &self.key).field("lease", &*self.lease.borrow()).finish()
    }
}

impl Session {
    /// Registers and keeps registered until dropped, ended, or `tasks` stop. If the key is taken by an
    /// earlier incarnation, waits for the end of its lease.
    ///
    /// # Errors
    /// If the metastore fails in a way that trying again does not help.
    pub async fn start(
        kv: Arc<dyn Kv>,
        info: SessionInfo,
        settings: &SessionSettings,
        tasks: &Tasks,
    ) -> Result<Self, KvError> {
        let key = info.key();
        let (lease_sender, lease) = watch::channel(None);
        let (held_sender, held) = watch::channel(None);
        let ttl = Duration::from_secs(settings.ttl.max(1));
        let shared =
            Arc::new(Shared { kv, ttl, info: Mutex::new(info), key, lease: lease_sender, held: held_sender });
        let registered = shared.register_patiently().await?;
        let (alive, dropped) = oneshot::channel::<()>();
        tasks.spawn("session", {
            let shared = shared.clone();
            move |stopping| async move {
                tokio::select! {
                    // First: an ended session must not register again.
                    biased;
                    _ = dropped => {}
                    () = shared.keep(registered, stopping) => {}
                }
            }
        });
        Ok(Self { shared, lease, held, alive: Mutex::new(Some(alive)) })
    }

    /// The session's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.shared.key
    }

    /// What it tells at present.
    #[must_use]
    pub fn info(&self) -> SessionInfo {
        self.shared.info.lock().clone()
    }

    /// The lease now held, `None` while there is none, and how it changes.
    #[must_use]
    pub fn lease(&self) -> watch::Receiver<Option<LeaseId>> {
        self.lease.clone()
    }

    /// The lease now held with the time until which it surely lives, renewed with every keep-alive.
    #[must_use]
    pub fn held(&self) -> watch::Receiver<Option<Held>> {
        self.held.clone()
    }

    /// Time to live of the lease.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.shared.ttl
    }

    /// Waits until there is a lease.
    ///
    /// # Errors
    /// [`KvError::Closed`] if there will not be one any more.
    pub async fn current_lease(&self) -> Result<LeaseId, KvError> {
        let mut lease = self.lease.clone();
        let held = lease.wait_for(Option::is_some).await.map_err(|_| KvError::Closed)?;
        held.ok_or(KvError::Closed)
    }

    pub(crate) fn kv(&self) -> &Arc<dyn Kv> {
        &self.shared.kv
    }

    /// Tells something else from now on, for instance that the process is stopping.
    ///
    /// # Errors
    /// If the metastore fails; the new description is used at the next registration all the same.
    pub async fn update(&self, change: impl FnOnce(&mut SessionInfo) + Send) -> Result<(), KvError> {
        let value = {
            let mut info = self.shared.info.lock();
            change(&mut info);
            info.to_value()
        };
        let lease = self.current_lease().await?;
        let txn = Txn::new().when(Compare::exists(self.key())).put_leased(self.key(), value, lease);
        self.shared.kv.txn(txn).await.map(drop)
    }

    /// Leaves at once: everything under the lease is deleted.
    ///
    /// # Errors
    /// If the metastore fails; the lease then ends by itself.
    pub async fn end(&self) -> Result<(), KvError> {
        drop(self.alive.lock().take());
        let lease = self.shared.lost();
        match lease {
            None => Ok(()),
            Some(lease) => match self.shared.kv.revoke_lease(lease).await {
                Ok(()) | Err(KvError::LeaseNotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }
}

/// A lease with the time until which it surely lives, by this process's own clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The lease.
    pub lease: LeaseId,
    /// Counted from when the last acknowledged keep-alive was *sent*: the store counts from some later
    /// moment, so nobody sees the lease end before.
    pub until: Instant,
}

impl Shared {
    /// Keeps the lease alive, and registers anew whenever it is lost.
    async fn keep(&self, mut held: Held, stopping: Stopping) {
        loop {
            let Some(error) = stopping.race(self.keep_alive(held)).await else { return };
            warn!(key = self.key, lease = %held.lease, %error, "session lost");
            self.lost();
            // If it lives after all, its keys are in the way of the new registration.
            let revoking = self.kv.revoke_lease(held.lease);
            let _ = stopping.race(tokio::time::timeout(self.ttl, revoking)).await;
            let Some(again) = stopping.race(self.register_in_the_end()).await.flatten() else { return };
            held = again;
        }
    }

    /// Registers, whatever the metastore says meanwhile; `None` only when the store is closed. A process
    /// without a session is of no use, and one that ended would be of none either.
    async fn register_in_the_end(&self) -> Option<Held> {
        loop {
            match self.register_patiently().await {
                Ok(held) => return Some(held),
                Err(KvError::Closed) => return None,
                Err(error) => {
                    error!(key = self.key, %error, "session refused, trying again");
                    tokio::time::sleep(self.ttl).await;
                }
            }
        }
    }

    /// There is no lease any more; the one there was.
    fn lost(&self) -> Option<LeaseId> {
        self.held.send_replace(None);
        self.lease.send_replace(None)
    }

    fn tell(&self, held: Held) {
        // First the time: whoever sees the lease sees how long it lives.
        self.held.send_replace(Some(held));
        self.lease.send_if_modified(|lease| lease.replace(held.lease) != Some(held.lease));
    }

    /// Renews the lease until it is lost; returns why.
    async fn keep_alive(&self, Held { lease, until: mut deadline }: Held) -> KvError {
        let pause = self.ttl / KEEP_ALIVES;
        let mut next = Instant::now() + pause;
        loop {
            sleep_until(next).await;
            let sent = Instant::now();
            next = match timeout_at(deadline, self.kv.keep_alive(lease)).await {
                Ok(Ok(ttl)) => {
                    // Counted from the sending: the store counts from some later moment.
                    deadline = sent + ttl;
                    if *self.lease.borrow() == Some(lease) {
                        self.tell(Held { lease, until: deadline });
                    }
                    sent + pause
                }
                Ok(Err(error)) if error.retryable() && Instant::now() < deadline => {
                    warn!(key = self.key, %error, "keep-alive failed");
                    (Instant::now() + pause / 4).min(deadline)
                }
                Ok(Err(error)) => return error,
                Err(_) => return KvError::LeaseNotFound { lease },
            };
        }
    }

    async fn register_patiently(&self) -> Result<Held, KvError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.register().await {
                Err(error) if error.retryable() || matches!(error, KvError::LeaseNotFound { .. }) => {
                    warn!(key = self.key, %error, "session not registered yet");
                    backoff.wait().await;
                }
                other => return other,
            }
        }
    }

    async fn register(&self) -> Result<Held, KvError> {
        let sent = Instant::now();
        let lease = self.kv.grant_lease(self.ttl).await?;
        let mut registered = Held { lease, until: sent + self.ttl };
        loop {
            let value = self.info.lock().to_value();
            let txn = Txn::new()
                .when(Compare::absent(&*self.key))
                .put_leased(&*self.key, value, lease)
                .otherwise_get(&*self.key);
            let outcome = self.kv.txn(txn).await?;
            let (committed, revision) = (outcome.committed, outcome.revision);
            // The second: an earlier try whose answer was lost.
            if committed || outcome.into_read().is_some_and(|entry| entry.lease == Some(lease)) {
                info!(key = self.key, %lease, "session registered");
                self.tell(registered);
                return Ok(registered);
            }
            info!(key = self.key, "waiting for the end of an earlier session");
            registered = self.wait_for_deletion(registered, revision).await?;
        }
    }

    /// Waits until the key is free, keeping the new lease alive meanwhile.
    async fn wait_for_deletion(&self, registered: Held, seen: Revision) -> Result<Held, KvError> {
        tokio::select! {
            biased;
            freed = deleted(&*self.kv, &self.key, seen) => freed?,
            error = self.keep_alive(registered) => return Err(error),
        }
        let sent = Instant::now();
        let ttl = self.kv.keep_alive(registered.lease).await?;
        Ok(Held { until: sent + ttl, ..registered })
    }
}

/// Waits until `key`, which existed at revision `seen`, is deleted; may return early.
pub(crate) async fn deleted(kv: &dyn Kv, key: &str, seen: Revision) -> Result<(), KvError> {
    let mut watch = match kv.watch(key, Revision(seen.0 + 1)).await {
        Err(KvError::Compacted { .. }) => return Ok(()),
        watch => watch?,
    };
    loop {
        match watch.next().await {
            Ok(batch) => {
                let gone = |event: &Event| matches!(event, Event::Delete { key: gone } if gone == key);
                if batch.events.iter().any(gone) {
                    return Ok(());
                }
            }
            // Who waits looks again anyway.
            Err(KvError::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unreliable::{Trouble, Unreliable};

    fn info() -> SessionInfo {
        SessionInfo {
            server_id: 7,
            server_name: "querynode".to_owned(),
            address: "127.0.0.1:21123".to_owned(),
            ..SessionInfo::default()
        }
    }

    async fn start(kv: &Arc<Unreliable>, tasks: &Tasks) -> Session {
        Session::start(kv.clone(), info(), &SessionSettings::default(), tasks).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_a_key_that_lives_as_long_as_it_does() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let session = start(&kv, &tasks).await;
        let entry = kv.get("session/querynode-7").await.unwrap().unwrap();
        assert_eq!(entry.lease, Some(session.current_lease().await.unwrap()));
        let json: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        assert_eq!((&json["ServerID"], &json["ServerName"]), (&7.into(), &"querynode".into()));
        assert_eq!(SessionInfo::from_value("x", &entry.value).unwrap(), info());

        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(kv.get(session.key()).await.unwrap().is_some(), "kept alive");
        session.update(|info| info.stopping = true).await.unwrap();
        let entry = kv.get(session.key()).await.unwrap().unwrap();
        assert!(SessionInfo::from_value("x", &entry.value).unwrap().stopping);
        session.end().await.unwrap();
        assert!(kv.get("session/querynode-7").await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_lease_is_replaced_and_told() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let session = start(&kv, &tasks).await;
        let mut lease = session.lease();
        let first = session.current_lease().await.unwrap();
        session.update(|info| info.address = "elsewhere".to_owned()).await.unwrap();
        kv.revoke_lease(first).await.unwrap();
        let second =
            lease.wait_for(|lease| lease.is_some_and(|lease| lease != first)).await.unwrap().unwrap();
        let entry = kv.get(session.key()).await.unwrap().unwrap();
        assert_eq!(entry.lease, Some(second));
        assert_eq!(SessionInfo::from_value("x", &entry.value).unwrap().address, "elsewhere");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_is_survived_and_a_long_one_is_noticed() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let session = start(&kv, &tasks).await;
        let first = session.current_lease().await.unwrap();
        kv.set(Trouble::Refuse);
        tokio::time::sleep(Duration::from_secs(6)).await;
        kv.set(Trouble::None);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(session.current_lease().await.unwrap(), first);

        let mut lease = session.lease();
        for trouble in [Trouble::Refuse, Trouble::Hang] {
            kv.set(trouble);
            let began = Instant::now();
            lease.wait_for(Option::is_none).await.unwrap();
            assert!(began.elapsed() <= Duration::from_secs(10), "not longer than the time to live");
            kv.set(Trouble::None);
            lease.wait_for(Option::is_some).await.unwrap();
            assert!(kv.get(session.key()).await.unwrap().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_does_not_lock_us_out() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let session = start(&kv, &tasks).await;
        let first = session.current_lease().await.unwrap();
        let mut lease = session.lease();
        kv.set(Trouble::LoseAnswers(1));
        kv.inner().revoke_lease(first).await.unwrap();
        lease.wait_for(|lease| lease.is_some_and(|lease| lease != first)).await.unwrap();
        assert!(kv.get(session.key()).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_incarnation_waits_for_the_old_lease() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let first = start(&kv, &tasks).await;
        drop(first);
        let began = Instant::now();
        let second = start(&kv, &tasks).await;
        let waited = began.elapsed();
        assert!(waited > Duration::from_secs(3) && waited < Duration::from_secs(11), "{waited:?}");
        let entry = kv.get(second.key()).await.unwrap().unwrap();
        assert_eq!(entry.lease, Some(second.current_lease().await.unwrap()));
    }
}
