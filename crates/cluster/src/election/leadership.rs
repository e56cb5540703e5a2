//! The right of the active one to write, until it ends in one of four ways: given up, not renewed in time,
//! taken by another, or found lost by a write.

use std::sync::Arc;
use std::time::Duration;

use redkite_runtime::failpoint::{Failpoint, reach};
use redkite_runtime::{Backoff, Stopping};
use redkite_types::{NodeId, Revision};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::record::{Note, Reason};
use crate::failpoint::{AFTER_RESIGN, AFTER_WRITE, BEFORE_RESIGN, BEFORE_WRITE};
use crate::kv::{Compare, Event, Kv, KvError, LeaseId, Read, Txn, TxnOutcome};
use crate::session::Held;

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
#[derive(Clone)]
pub struct Leadership(Arc<Reign>);

/// What all clones share.
pub(super) struct Reign {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) role: Arc<str>,
    pub(super) active_key: Arc<str>,
    pub(super) node: NodeId,
    pub(super) revision: Revision,
    pub(super) epoch: u64,
    /// When the candidate first saw that nobody was active.
    pub(super) vacant: Instant,
    /// What passed before that, as whoever noticed a death has told.
    pub(super) noticed: Duration,
    pub(super) lease: LeaseId,
    pub(super) held: watch::Receiver<Option<Held>>,
    /// So long before the lease can have ended the role is given up: what was begun before is then over.
    pub(super) margin: Duration,
    pub(super) lost: watch::Sender<bool>,
    /// Whether it was given up: whoever does so first says why.
    pub(super) given_up: tokio::sync::Mutex<bool>,
}

/// Passes a place at which tests end the process, or make a write fail as if its answer had been lost.
pub(super) fn pass(point: Failpoint) -> Result<(), KvError> {
    reach(point).map_err(|triggered| KvError::Unknown { source: triggered.into() })
}

impl std::fmt::Debug for Leadership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reign { role, node, revision, epoch, .. } = &*self.0;
        f.debug_struct("Leadership")
            .field("role", role)
            .field("node", node)
            .field("revision", revision)
            .field("epoch", epoch)
            .finish_non_exhaustive()
    }
}

impl Leadership {
    pub(super) fn new(reign: Reign) -> Self {
        Self(Arc::new(reign))
    }

    /// The revision at which this candidate became active; rises with every change of the active one.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.0.role
    }

    /// Counts the elections of the role; 0 if this one was won by a version that did not count.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// How long the role has been without an active one that serves, until now.
    #[must_use]
    pub fn since_vacant(&self) -> Duration {
        self.0.noticed + self.0.vacant.elapsed()
    }

    /// Whether the role may be lost: known to be, or the lease may have ended. Asked before every write and
    /// before every answer of a coordinator, so that a process that was paused finds out before it speaks.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        if !*self.0.lost.borrow() && self.left().is_zero() {
            self.lose("not renewed in time");
        }
        *self.0.lost.borrow()
    }

    /// How long it surely lasts if it is not renewed.
    #[must_use]
    pub fn left(&self) -> Duration {
        let Reign { held, lease, margin, .. } = &*self.0;
        match *held.borrow() {
            Some(held) if held.lease == *lease => {
                held.until.saturating_duration_since(Instant::now()).saturating_sub(*margin)
            }
            _ => Duration::ZERO,
        }
    }

    /// Waits until the role is lost.
    pub async fn lost(&self) {
        // The sender lives in `self`.
        let _ = self.0.lost.subscribe().wait_for(|lost| *lost).await;
    }

    fn lose(&self, why: &str) {
        if !self.0.lost.send_replace(true) {
            warn!(role = &*self.0.role, epoch = self.0.epoch, revision = %self.0.revision, why, "no longer active");
        }
    }

    fn fenced(&self) -> LeadershipError {
        LeadershipError::Fenced { role: (*self.0.role).to_owned() }
    }

    /// Applies a transaction if its compares hold and this candidate is still the active one. Of
    /// the limits, one compare and one read are used up.
    ///
    /// # Errors
    /// [`LeadershipError::Fenced`] if the role is lost: nothing was applied.
    pub async fn txn(&self, txn: Txn) -> Result<TxnOutcome, LeadershipError> {
        if self.is_lost() {
            return Err(self.fenced());
        }
        pass(BEFORE_WRITE)?;
        match self.fence(txn).await? {
            Some(outcome) => {
                if outcome.committed {
                    pass(AFTER_WRITE)?;
                }
                Ok(outcome)
            }
            None => {
                self.lose("another is active");
                Err(self.fenced())
            }
        }
    }

    /// Applies a transaction during this reign; `None` if it is over.
    async fn fence(&self, mut txn: Txn) -> Result<Option<TxnOutcome>, KvError> {
        let Reign { kv, active_key, revision, .. } = &*self.0;
        txn.compares.push(Compare::create_revision(&**active_key, *revision));
        txn.otherwise.push(Read::Get { key: (**active_key).to_owned() });
        let mut outcome = kv.txn(txn).await?;
        if outcome.committed {
            return Ok(Some(outcome));
        }
        let active = outcome.reads.pop().unwrap_or_default();
        Ok(active.iter().any(|entry| entry.create_revision == *revision).then_some(outcome))
    }

    /// Gives the role up because the process stops: a standby takes over at once. The session stays.
    ///
    /// # Errors
    /// If the metastore fails: then the role ends with the lease. [`LeadershipError::Fenced`] never: then it
    /// is given up already.
    pub async fn resign(&self) -> Result<(), KvError> {
        self.end(Reason::Stopped, "", None).await
    }

    /// Gives the role up because `by` asked for it; `to` gets the first chance to follow.
    ///
    /// # Errors
    /// As [`Leadership::resign`].
    pub async fn hand_over(&self, by: &str, to: Option<NodeId>) -> Result<(), KvError> {
        self.end(Reason::HandedOver, by, to).await
    }

    /// Gives up what may be lost already, so that nobody waits for the lease if it is not.
    ///
    /// # Errors
    /// As [`Leadership::resign`].
    pub async fn withdraw(&self) -> Result<(), KvError> {
        self.end(Reason::LeaseEnded, "", None).await
    }

    async fn end(&self, reason: Reason, by: &str, to: Option<NodeId>) -> Result<(), KvError> {
        let mut given_up = self.0.given_up.lock().await;
        if *given_up {
            return Ok(());
        }
        // From here on nothing else is written in this reign.
        self.0.lost.send_replace(true);
        let Reign { role, active_key, node, revision, .. } = &*self.0;
        let note = Note {
            reign: revision.0,
            reason,
            by: by.to_owned(),
            from: node.0,
            to: to.map(|node| node.0),
            noticed: 0,
        };
        let txn = Txn::new().delete(&**active_key).put(Note::key(role), note.to_value());
        pass(BEFORE_RESIGN)?;
        self.fence(txn).await?;
        pass(AFTER_RESIGN)?;
        *given_up = true;
        Ok(())
    }

    /// Notices the end, so that it is known without a write.
    pub(super) async fn guard(self, stopping: Stopping) {
        let why = tokio::select! {
            biased;
            () = stopping.wait() => return,
            () = self.lost() => return,
            () = self.expired() => "not renewed in time",
            () = self.replaced() => "another is active",
        };
        self.lose(why);
    }

    /// Waits until the lease may end before long.
    async fn expired(&self) {
        let mut held = self.0.held.clone();
        loop {
            held.mark_unchanged();
            let left = self.left();
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = sleep_until(Instant::now() + left) => {}
                changed = held.changed() => if changed.is_err() {
                    // The session was dropped: nobody renews the lease, but it lives for a while.
                    return sleep_until(Instant::now() + left).await;
                }
            }
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
                    warn!(key = &*self.0.active_key, %error, "watch of the active key broke");
                    backoff.wait().await;
                }
            }
        }
    }

    async fn watch_key(&self) -> Result<(), KvError> {
        let Reign { kv, active_key, revision, .. } = &*self.0;
        let now = kv.txn(Txn::new()).await?.revision;
        let entry = kv.get(active_key).await?;
        if entry.is_none_or(|entry| entry.create_revision != *revision) {
            return Ok(());
        }
        let mut watch = kv.watch(active_key, Revision(now.0 + 1)).await?;
        loop {
            let batch = watch.next().await?;
            let gone = |event: &Event| match event {
                Event::Put(entry) => *entry.key == **active_key && entry.create_revision != *revision,
                Event::Delete { key } => **key == **active_key,
            };
            if batch.events.iter().any(gone) {
                return Ok(());
            }
        }
    }
}
