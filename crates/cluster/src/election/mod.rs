//! Which of several coordinators of a role is the active one, and how is an old one kept from writing?
//!
//! Candidates are sessions (`session/<role>-<id>`). Whoever creates the active key (`session/<role>`),
//! under its session's lease, is active until the key is gone. Every transaction of the active one
//! compares the revision that created the key: after another's creation no write of the old gets through,
//! however long it was paused. Milvus: active-standby, which lacks the compare.
//!
//! `sight` is what a candidate looks at, `leadership` what it wins, `record` what is remembered of it,
//! `burial` how the dead are followed without waiting for their leases.

mod burial;
mod leadership;
mod record;
mod sight;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_runtime::{Backoff, Clock, Tasks};
use redkite_types::{NodeId, Revision};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

pub use burial::{Witness, bury};
pub use leadership::{Leadership, LeadershipError};
pub use record::{ElectionRecord, Reason, history};

use crate::failpoint::{AFTER_CAMPAIGN, BEFORE_CAMPAIGN};
use crate::kv::{Compare, Event, Kv, KvError, LeaseId, Txn};
use crate::session::{Session, SessionInfo, SessionSettings, active_key, deleted};
use leadership::{Reign, pass};
use record::{KEPT, Note, Release, VERSION_KEY, release_of};
use sight::Sight;

/// How long others leave the first move to a successor that was named.
const FIRST_MOVE: Duration = Duration::from_secs(1);
/// How often one that must not become active says why.
const REMINDER: Duration = Duration::from_secs(10);
/// The part of the time to live that is given up for safety: clocks of two machines may differ in pace.
const MARGIN: u32 = 10;

/// A process that may become the active coordinator of a role. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Candidate {
    session: Arc<Session>,
    role: Arc<str>,
    active_key: Arc<str>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    /// The last reign: a key that is left of it does not begin another.
    reigned: Arc<Mutex<Option<Revision>>>,
    /// Why it must not become active.
    hindrance: Arc<watch::Sender<Option<String>>>,
}

/// What a candidate remembers from look to look.
#[derive(Debug)]
struct Vigil {
    /// Since when nobody is active.
    vacant: Instant,
    /// The note because of which the first move was left to another.
    yielded: Option<Revision>,
}

impl Candidate {
    /// Registers the session of a candidate for the role `info.server_name`. The clock is for the record.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub async fn start(
        kv: Arc<dyn Kv>,
        info: SessionInfo,
        settings: &SessionSettings,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, KvError> {
        let role: Arc<str> = info.server_name.as_str().into();
        let active_key = active_key(&role).into();
        let session = Arc::new(Session::start(kv, info, settings, tasks).await?);
        Ok(Self {
            session,
            role,
            active_key,
            clock,
            tasks: tasks.clone(),
            reigned: Arc::default(),
            hindrance: Arc::new(watch::Sender::new(None)),
        })
    }

    /// The candidate's session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Why this candidate must not become active, if there is a reason, and how that changes.
    #[must_use]
    pub fn hindrance(&self) -> watch::Receiver<Option<String>> {
        self.hindrance.subscribe()
    }

    /// Waits until this candidate is the active one. Cancel-safe: a key created by a cancelled
    /// call is found by the next.
    ///
    /// # Errors
    /// If the metastore fails in a way that trying again does not help.
    pub async fn campaign(&self) -> Result<Leadership, KvError> {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let mut vigil = Vigil { vacant: Instant::now(), yielded: None };
        loop {
            match self.try_once(&mut vigil).await {
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
    async fn try_once(&self, vigil: &mut Vigil) -> Result<Option<Leadership>, KvError> {
        let kv = self.session.kv();
        let lease = self.session.current_lease().await?;
        let sight = Sight::take(&**kv, &self.role, &self.active_key).await?;
        match &sight.active {
            // An earlier try whose answer was lost, or a campaign that was cancelled.
            Some(entry) if entry.lease == Some(lease) => {
                let reign = entry.create_revision;
                if *self.reigned.lock() == Some(reign) {
                    self.clear(reign).await?;
                    return Ok(None);
                }
                let epoch = sight.election(reign).map_or(0, |record| record.epoch);
                Ok(Some(self.lead(reign, epoch, lease, vigil.vacant, Duration::ZERO)))
            }
            Some(_) => {
                self.stand_by(&sight).await?;
                vigil.vacant = Instant::now();
                Ok(None)
            }
            None if self.outdated(&sight) => {
                tokio::time::sleep(REMINDER).await;
                Ok(None)
            }
            None if self.yields(&sight, vigil).await? => Ok(None),
            None => self.take(&sight, lease, vigil).await,
        }
    }

    /// Waits until the active key is deleted.
    async fn stand_by(&self, sight: &Sight) -> Result<(), KvError> {
        self.outdated(sight);
        deleted(&**self.session.kv(), &self.active_key, sight.revision).await
    }

    /// Deletes the key that an ended reign of this process has left.
    async fn clear(&self, reign: Revision) -> Result<(), KvError> {
        let note = Note {
            reign: reign.0,
            reason: Reason::LeaseEnded,
            from: self.session.info().server_id,
            ..Note::default()
        };
        let txn = Txn::new()
            .when(Compare::create_revision(&*self.active_key, reign))
            .delete(&*self.active_key)
            .put(Note::key(&self.role), note.to_value());
        self.session.kv().txn(txn).await.map(drop)
    }

    /// Whether a newer version has been active: what it wrote may mean nothing to this one.
    fn outdated(&self, sight: &Sight) -> bool {
        let newest = sight.newest_release();
        let outdated = release_of(&self.session.info()).is_some_and(|own| newest > Some(own));
        let said = outdated.then(|| {
            let (major, minor) = newest.unwrap_or_default();
            let own = self.session.info().version;
            format!("version {own} is older than {major}.{minor}, which the metadata was written by")
        });
        if let Some(why) = &said {
            error!(role = &*self.role, why, "refuses to become active");
        }
        self.hindrance.send_if_modified(|present| std::mem::replace(present, said.clone()) != said);
        outdated
    }

    /// Leaves the first move to whoever should follow, if it lives; whether it did.
    async fn yields(&self, sight: &Sight, vigil: &mut Vigil) -> Result<bool, KvError> {
        let own = self.session.info().server_id;
        let Some((left, note)) = sight.note() else { return Ok(false) };
        let other_first = match note.to {
            Some(to) => to != own,
            None => note.from == own && note.reason == Reason::HandedOver,
        };
        if !other_first || vigil.yielded == Some(left) {
            return Ok(false);
        }
        vigil.yielded = Some(left);
        if !self.others_live(note.to).await? {
            return Ok(false);
        }
        let created = created(&**self.session.kv(), &self.active_key, sight.revision);
        match tokio::time::timeout(FIRST_MOVE, created).await {
            Ok(created) => created?,
            Err(_) => info!(role = &*self.role, "the named successor did not take over"),
        }
        Ok(true)
    }

    /// Whether the wanted candidate has a session, or any other if none is wanted.
    async fn others_live(&self, wanted: Option<i64>) -> Result<bool, KvError> {
        let candidates = self.session.kv().range(&format!("{}-", self.active_key)).await?.entries;
        Ok(candidates.iter().any(|entry| match wanted {
            Some(id) => entry.key.ends_with(&format!("-{id}")),
            None => entry.key != self.session.key(),
        }))
    }

    /// Creates the key and the record of it.
    async fn take(
        &self,
        sight: &Sight,
        lease: LeaseId,
        vigil: &Vigil,
    ) -> Result<Option<Leadership>, KvError> {
        let info = self.session.info();
        let (record, noticed) = self.record(sight, &info, vigil);
        let epoch = record.epoch;
        let mut txn = Txn::new()
            .when(Compare::absent(&*self.active_key))
            .when(Compare::absent(ElectionRecord::key(&self.role, epoch)))
            .when(sight.version_unchanged())
            .put_leased(&*self.active_key, info.to_value(), lease)
            .put(ElectionRecord::key(&self.role, epoch), record.to_value());
        if epoch > 1 {
            // A request that was late by many elections must not use a number whose record is forgotten.
            txn = txn.when(Compare::exists(ElectionRecord::key(&self.role, epoch - 1)));
        }
        if epoch > KEPT {
            txn = txn.delete(ElectionRecord::key(&self.role, epoch - KEPT));
        }
        let own: Option<Release> = release_of(&info);
        if own > sight.newest_release() {
            txn = txn.put(VERSION_KEY, info.version);
        }
        info!(role = &*self.role, node = info.server_id, epoch, "trying to register as ACTIVE");
        pass(BEFORE_CAMPAIGN)?;
        let outcome = self.session.kv().txn(txn).await?;
        if !outcome.committed {
            return Ok(None);
        }
        pass(AFTER_CAMPAIGN)?;
        metrics::counter!(
            "redkite_elections_total", "role" => self.role.to_string(), "reason" => record.reason.as_str()
        )
        .increment(1);
        let reason = record.reason.as_str();
        let waited = record.waited;
        info!(
            role = &*self.role, node = info.server_id, epoch, revision = %outcome.revision,
            reason, by = record.by, waited, "registered as ACTIVE"
        );
        Ok(Some(self.lead(outcome.revision, epoch, lease, vigil.vacant, noticed)))
    }

    /// What is remembered of an election of this candidate, and how long its cause had been noticed before.
    fn record(&self, sight: &Sight, info: &SessionInfo, vigil: &Vigil) -> (ElectionRecord, Duration) {
        let last = sight.last();
        let note = sight.note().map(|(_, note)| note);
        let (reason, by) = match (note, last) {
            (Some(note), _) => (note.reason, note.by.clone()),
            (None, Some(_)) => (Reason::LeaseEnded, String::new()),
            (None, None) => (Reason::FirstStart, String::new()),
        };
        let noticed = Duration::from_millis(note.map_or(0, |note| note.noticed));
        let waited = noticed + vigil.vacant.elapsed();
        let record = ElectionRecord {
            epoch: last.map_or(0, |last| last.epoch) + 1,
            server_id: info.server_id,
            address: info.address.clone(),
            host: info.host_name.clone(),
            at: self.clock.now_millis(),
            previous: last.map(|last| last.server_id),
            reason,
            by,
            waited: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
        };
        (record, noticed)
    }

    fn lead(
        &self,
        revision: Revision,
        epoch: u64,
        lease: LeaseId,
        vacant: Instant,
        noticed: Duration,
    ) -> Leadership {
        *self.reigned.lock() = Some(revision);
        let leadership = Leadership::new(Reign {
            kv: self.session.kv().clone(),
            role: self.role.clone(),
            active_key: self.active_key.clone(),
            node: NodeId(self.session.info().server_id),
            revision,
            epoch,
            vacant,
            noticed,
            lease,
            held: self.session.held(),
            margin: self.session.ttl() / MARGIN,
            lost: watch::Sender::new(false),
            given_up: tokio::sync::Mutex::default(),
        });
        let guard = leadership.clone();
        self.tasks.spawn("leadership", move |stopping| guard.guard(stopping));
        leadership
    }
}

/// Waits until `key`, which did not exist at revision `seen`, is created; may return early.
async fn created(kv: &dyn Kv, key: &str, seen: Revision) -> Result<(), KvError> {
    let mut watch = kv.watch(key, Revision(seen.0 + 1)).await?;
    loop {
        let batch = watch.next().await?;
        let created = |event: &Event| matches!(event, Event::Put(entry) if entry.key == key);
        if batch.events.iter().any(created) {
            return Ok(());
        }
    }
}

/// The elections of a role that are remembered, oldest first. Records that do not parse are left out.
///
/// # Errors
/// If the metastore fails.
pub async fn elections(kv: &dyn Kv, role: &str) -> Result<Vec<ElectionRecord>, KvError> {
    let entries = kv.range(&history(role)).await?.entries;
    let record = |entry: &crate::kv::KeyValue| ElectionRecord::from_value(&entry.key, &entry.value).ok();
    Ok(entries.iter().filter_map(record).collect())
}
