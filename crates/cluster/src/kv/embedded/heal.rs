//! How does the store come back after a write failed, for instance because the disk was full?
//!
//! After a failure nobody knows whether the last group is on disk, and redb takes no more calls. While
//! the outage lasts, transactions are refused; every so often the first of them has the file opened
//! again, which tells. If the failed group turns out to be durable, watches are made to list again.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use redkite_types::Revision;

use super::Slot;
use super::committer::{Committer, Request};
use super::database::{Database, Reopened};
use crate::kv::{KvError, LeaseId};

/// Opening checks the whole file: not for every refused transaction.
const PAUSE: Duration = Duration::from_secs(1);

/// Why no writes are taken, and until when not to look whether they can be.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) cause: String,
    pub(super) disk_full: bool,
    next_try: Instant,
}

impl Outage {
    pub(super) fn new(cause: String, disk_full: bool) -> Self {
        Self { cause, disk_full, next_try: Instant::now() + PAUSE }
    }
}

impl Committer {
    /// Ends an outage if it can be ended.
    pub(super) fn heal(&mut self) {
        match &mut self.outage {
            Some(outage) if outage.next_try <= Instant::now() => outage.next_try = Instant::now() + PAUSE,
            _ => return,
        }
        match self.open_again() {
            Ok(revision) => {
                tracing::warn!(path = %self.shared.path.display(), %revision, "metastore takes writes again");
                self.outage = None;
                self.end_dead_leases();
            }
            Err(error) => {
                tracing::error!(path = %self.shared.path.display(), %error, "metastore not opened again");
            }
        }
    }

    fn open_again(&mut self) -> Result<Revision, KvError> {
        let shared = self.shared.clone();
        let mut slot = shared.database.write();
        if matches!(*slot, Slot::Closed) {
            return Err(KvError::Closed);
        }
        // Closed first: the file can be open only once.
        let opening = "the metastore is being opened again".to_owned();
        *slot = Slot::Broken { cause: opening, disk_full: false };
        let opened = Database::reopen(&shared.path, shared.cache_bytes).and_then(|opened| {
            let path = shared.path.clone();
            let (found, durable) = (opened.revision.0, self.durable);
            let detail = || format!("it is at revision {found}, but {durable} was durable");
            if found < durable { Err(KvError::Corrupt { path, detail: detail() }) } else { Ok(opened) }
        });
        let Reopened { database, revision, leased } =
            opened.inspect_err(|error| *slot = Slot::broken_by(error))?;
        *slot = Slot::Open(database);
        if revision.0 != self.durable {
            shared.history.restart(revision);
        }
        self.revision = revision.0;
        self.durable = revision.0;
        self.leased = by_lease(leased);
        Ok(revision)
    }

    /// Leases may have ended while their keys could not be deleted.
    fn end_dead_leases(&mut self) {
        let is_dead = |lease: &&LeaseId| !self.shared.leases.is_live(**lease);
        let dead = self.leased.keys().filter(is_dead);
        let group: Vec<_> = dead.map(|lease| Request::EndLease { lease: *lease, reply: None }).collect();
        if !group.is_empty() {
            self.commit(&group);
        }
    }
}

fn by_lease(leased: Vec<(String, LeaseId)>) -> HashMap<LeaseId, BTreeSet<String>> {
    let mut keys: HashMap<LeaseId, BTreeSet<String>> = HashMap::new();
    for (key, lease) in leased {
        keys.entry(lease).or_default().insert(key);
    }
    keys
}
