//! Which of several coordinators of a role is the active one, and how is an old one kept from writing?
//!
//! Candidates are sessions (`session/<role>-<id>`). Whoever creates the active key (`session/<role>`),
//! under its session's lease, is active until the key is gone. Every transaction of the active one
//! compares the revision that created the key: after another's creation no write of the old gets through,
//! however long it was paused. Milvus: active-standby, which lacks the compare.

use std::sync::Arc;
use std::time::Duration;

use redkite_runtime::{Backoff, Stopping, Tasks};
use redkite_types::Revision;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::kv::{Compare, Event, Kv, KvError, LeaseId, Read, Txn, TxnOutcome};
use crate::session::{Session, SessionInfo, SessionSettings, deleted};

/// A process that may become the active coordinator of a role.
#[derive(Clone, Debug)]
pub struct Candidate {
    session: Arc<Session>,
    active_key: Arc<str>,
    tasks: Tasks,
}

/// A refused or failed write of a coordinator.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    /// Another coordinator is, or may be, active now. Nothing was applied.
    #[error("no longer the active {role}")]
    Fenced {
        /// The role.
        role: String,
    },
    /// The metastore failed.
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// The right to write as the active coordinator, as long as it lasts. Cheap to clone.
///
/// Resign before dropping it: the active key lives with the session.
#[derive(Clone, Debug)]
pub struct Leadership {
    kv: KvRef,
    role: Arc<str>,
    active_key: Arc<str>,
    revision: Revision,
    lost: Arc<watch::Sender<bool>>,
}

#[derive(Clone)]
struct KvRef(Arc<dyn Kv>);

impl std::fmt::Debug for KvRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kv")
    }
}

impl Candidate {
    /// Registers the session of a candidate for the role `info.server_name`.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub async fn start(
        kv: Arc<dyn Kv>,
        info: SessionInfo,
        settings: &SessionSettings,
        tasks: &Tasks,
    ) -> Result<Self, KvError> {
        let active_key = format!("session/{}", info.server_name).into();
        let session = Arc::new(Session::start(kv, info, settings, tasks).await?);
        Ok(Self { session, active_key, tasks: tasks.clone() })
    }

    /// The candidate's session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Waits until this candidate is the active one. Cancel-safe: a key created by a cancelled
    /// call is found by the next.
    ///
    /// # Errors
    /// If the metastore fails in a way that trying again does not help.
    pub async fn campaign(&self) -> Result<Leadership, KvError> {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            match self.try_once().await {
                Ok(Some(leadership)) => return Ok(leadership),
                Ok(None) => backoff.reset(),
                // A lost lease is replaced by the session meanwhile.
                Err(error) if error.retryable() || matches!(error, KvError::LeaseNotFound { .. }) => {
                    warn!(key = &*self.active_key, %error, "election disturbed");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the key if it is free, else waits until it may be.
    async fn try_once(&self) -> Result<Option<Leadership>, KvError> {
        let kv = self.session.kv();
        let lease = self.session.current_lease().await?;
        let txn = Txn::new()
            .when(Compare::absent(&*self.active_key))
            .put_leased(&*self.active_key, self.session.info().to_value(), lease)
            .otherwise_get(&*self.active_key);
        let outcome = kv.txn(txn).await?;
        let (committed, now) = (outcome.committed, outcome.revision);
        if committed {
            return Ok(Some(self.lead(now, lease)));
        }
        match outcome.into_read() {
            // An earlier try whose answer was lost, or a campaign that was cancelled.
            Some(entry) if entry.lease == Some(lease) => Ok(Some(self.lead(entry.create_revision, lease))),
            Some(_) => {
                deleted(&**kv, &self.active_key, now).await?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn lead(&self, revision: Revision, lease: LeaseId) -> Leadership {
        let info = self.session.info();
        info!(role = info.server_name, id = info.server_id, %revision, "active");
        let leadership = Leadership {
            kv: KvRef(self.session.kv().clone()),
            role: info.server_name.into(),
            active_key: self.active_key.clone(),
            revision,
            lost: Arc::new(watch::Sender::new(false)),
        };
        let held = self.session.lease();
        let guard = leadership.clone();
        self.tasks.spawn("leadership", move |stopping| guard.guard(held, lease, stopping));
        leadership
    }
}

impl Leadership {
    /// The revision at which this candidate became active; rises with every change of the active one.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether the role is known to be lost. If not, a write may find out.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Waits until the role is lost.
    pub async fn lost(&self) {
        // The sender lives in `self`.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Applies a transaction if its compares hold and this candidate is still the active one. Of
    /// the limits, one compare and one read are used up.
    ///
    /// # Errors
    /// [`LeadershipError::Fenced`] if the role is lost: nothing was applied.
    pub async fn txn(&self, mut txn: Txn) -> Result<TxnOutcome, LeadershipError> {
        txn.compares.push(Compare::create_revision(&*self.active_key, self.revision));
        txn.otherwise.push(Read::Get { key: (*self.active_key).to_owned() });
        let mut outcome = self.kv.0.txn(txn).await?;
        if outcome.committed {
            return Ok(outcome);
        }
        let active = outcome.reads.pop().unwrap_or_default();
        if active.iter().any(|entry| entry.create_revision == self.revision) {
            return Ok(outcome);
        }
        self.lost.send_replace(true);
        Err(LeadershipError::Fenced { role: (*self.role).to_owned() })
    }

    /// Gives the role up: a standby takes over at once. The session stays.
    ///
    /// # Errors
    /// If the metastore fails. [`LeadershipError::Fenced`] never: then it is given up already.
    pub async fn resign(&self) -> Result<(), KvError> {
        let ended = self.txn(Txn::new().delete(&*self.active_key)).await;
        self.lost.send_replace(true);
        match ended {
            Ok(_) | Err(LeadershipError::Fenced { .. }) => Ok(()),
            Err(LeadershipError::Kv(error)) => Err(error),
        }
    }

    /// Notices the loss of the lease or of the key.
    async fn guard(self, mut held: watch::Receiver<Option<LeaseId>>, lease: LeaseId, stopping: Stopping) {
        tokio::select! {
            () = stopping.wait() => return,
            () = self.lost() => {}
            // An error means that the session is gone.
            _ = held.wait_for(|held| *held != Some(lease)) => {}
            () = self.replaced() => {}
        }
        if !self.lost.send_replace(true) {
            warn!(role = &*self.role, revision = %self.revision, "no longer active");
        }
    }

    /// Waits until the active key is deleted or another's.
    async fn replaced(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            match self.watch_key().await {
                Ok(()) => return,
                Err(KvError::Closed) => return,
                Err(error) => {
                    warn!(key = &*self.active_key, %error, "watch of the active key broke");
                    backoff.wait().await;
                }
            }
        }
    }

    async fn watch_key(&self) -> Result<(), KvError> {
        let kv = &self.kv.0;
        let now = kv.txn(Txn::new()).await?.revision;
        let entry = kv.get(&self.active_key).await?;
        if entry.is_none_or(|entry| entry.create_revision != self.revision) {
            return Ok(());
        }
        let mut watch = kv.watch(&self.active_key, Revision(now.0 + 1)).await?;
        loop {
            let batch = watch.next().await?;
            let gone = |event: &Event| match event {
                Event::Put(entry) => *entry.key == *self.active_key && entry.create_revision != self.revision,
                Event::Delete { key } => **key == *self.active_key,
            };
            if batch.events.iter().any(gone) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use redkite_types::NodeId;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::unreliable::{Trouble, Unreliable};

    async fn candidate(kv: &Arc<Unreliable>, id: i64, tasks: &Tasks) -> Candidate {
        let info = SessionInfo {
            server_id: id,
            server_name: "rootcoord".to_owned(),
            exclusive: true,
            ..SessionInfo::default()
        };
        Candidate::start(kv.clone(), info, &SessionSettings::default(), tasks).await.unwrap()
    }

    async fn active(kv: &Unreliable) -> Option<NodeId> {
        let entry = kv.inner().get("session/rootcoord").await.unwrap()?;
        Some(SessionInfo::from_value("session/rootcoord", &entry.value).unwrap().node())
    }

    fn write(value: &str) -> Txn {
        Txn::new().put("written", value.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_active_and_hands_over_when_it_resigns() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let (one, two) = (candidate(&kv, 1, &tasks).await, candidate(&kv, 2, &tasks).await);
        let first = one.campaign().await.unwrap();
        assert_eq!(active(&kv).await, Some(NodeId(1)));
        assert!(timeout(Duration::from_secs(60), two.campaign()).await.is_err(), "the role is taken");
        first.txn(write("one")).await.unwrap();

        let standby = two.clone();
        let (second, resigned) = tokio::join!(standby.campaign(), first.resign());
        let second = second.unwrap();
        resigned.unwrap();
        assert_eq!(active(&kv).await, Some(NodeId(2)));
        assert!(second.revision() > first.revision());
        first.lost().await;
        let error = first.txn(write("too late")).await.unwrap_err();
        assert!(matches!(error, LeadershipError::Fenced { .. }), "{error}");
        second.txn(write("two")).await.unwrap();
        first.resign().await.unwrap();
        assert_eq!(active(&kv).await, Some(NodeId(2)), "resigning twice takes nothing from another");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_compare_is_not_a_lost_role() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let leader = candidate(&kv, 1, &tasks).await.campaign().await.unwrap();
        leader.txn(write("once")).await.unwrap();
        let txn = write("twice").when(Compare::absent("written")).otherwise_get("written");
        let outcome = leader.txn(txn).await.unwrap();
        assert!(!outcome.committed);
        assert_eq!(outcome.reads.len(), 1, "the fence's own read is not shown");
        assert_eq!(&*outcome.into_read().unwrap().value, b"once");
    }

    /// The active one is cut off, as if paused; when it comes back, it can write nothing.
    #[tokio::test(start_paused = true)]
    async fn a_cut_off_leader_is_replaced_and_fenced() {
        let (kv, _directory) = Unreliable::start().await;
        let cut = Unreliable::over(kv.inner().clone());
        let tasks = Tasks::new("test");
        let one = candidate(&cut, 1, &tasks).await;
        let two = candidate(&kv, 2, &tasks).await;
        let first = one.campaign().await.unwrap();
        cut.set(Trouble::Hang);
        let began = Instant::now();
        let second = two.campaign().await.unwrap();
        assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
        timeout(Duration::from_secs(1), first.lost()).await.expect("it knows by itself");
        second.txn(write("two")).await.unwrap();
        cut.set(Trouble::None);
        let error = first.txn(write("one")).await.unwrap_err();
        assert!(matches!(error, LeadershipError::Fenced { .. }), "{error}");
        assert_eq!(&*kv.get("written").await.unwrap().unwrap().value, b"two");

        second.resign().await.unwrap();
        let third = one.campaign().await.unwrap();
        third.txn(write("three")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_lease_loses_the_role() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let one = candidate(&kv, 1, &tasks).await;
        let first = one.campaign().await.unwrap();
        kv.revoke_lease(one.session().current_lease().await.unwrap()).await.unwrap();
        first.lost().await;
        let again = one.campaign().await.unwrap();
        again.txn(write("again")).await.unwrap();
        assert!(first.txn(write("before")).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_key_loses_the_role() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let leader = candidate(&kv, 1, &tasks).await.campaign().await.unwrap();
        kv.delete("session/rootcoord".to_owned()).await.unwrap();
        leader.lost().await;
        assert!(leader.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_does_not_hide_a_victory() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let one = candidate(&kv, 1, &tasks).await;
        kv.set(Trouble::LoseAnswers(1));
        let leader = one.campaign().await.unwrap();
        let key = kv.get("session/rootcoord").await.unwrap().unwrap();
        assert_eq!(key.create_revision, leader.revision());
        leader.txn(write("won")).await.unwrap();
    }
}
