//! What is in etcd? Keys, leases and history, at one revision after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use redkite_cluster::KvError;
use redkite_cluster::kv::{Event, KeyValue, LeaseId, Op, RangeResult, Read, Txn, TxnOutcome, WatchBatch};
use redkite_types::Revision;
use tokio::time::Instant;

/// The store of one etcd.
#[derive(Debug)]
pub(super) struct Store {
    revision: i64,
    entries: BTreeMap<String, KeyValue>,
    leases: BTreeMap<LeaseId, Lease>,
    next_lease: i64,
    history: VecDeque<Past>,
    /// Revision of the front of the history.
    oldest: i64,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
    keys: BTreeSet<String>,
}

/// What one revision changed, and when.
#[derive(Debug)]
struct Past {
    at: Instant,
    events: Arc<[Event]>,
}

impl Store {
    pub(super) fn new() -> Self {
        let (entries, leases) = (BTreeMap::new(), BTreeMap::new());
        // etcd begins at 1.
        Self { revision: 1, entries, leases, next_lease: 1000, history: VecDeque::new(), oldest: 2 }
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    pub(super) fn get(&self, key: &str) -> Option<KeyValue> {
        self.entries.get(key).cloned()
    }

    pub(super) fn range(&self, prefix: &str) -> RangeResult {
        RangeResult { revision: self.revision(), entries: self.under(prefix).cloned().collect() }
    }

    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a KeyValue> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        self.entries
            .range::<str, _>(from)
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.key.starts_with(prefix))
    }

    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome, KvError> {
        txn.check()?;
        for op in &txn.then {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.contains_key(lease)
            {
                return Err(KvError::LeaseNotFound { lease: *lease });
            }
        }
        if !txn.compares.iter().all(|compare| compare.holds(self.entries.get(&compare.key))) {
            let reads = txn.otherwise.iter().map(|read| match read {
                Read::Get { key } => self.get(key).into_iter().collect(),
                Read::Range { prefix } => self.under(prefix).cloned().collect(),
            });
            let reads = reads.collect();
            return Ok(TxnOutcome { committed: false, revision: self.revision(), reads });
        }
        let next = Revision(self.revision + 1);
        let mut events = Vec::new();
        for op in &txn.then {
            match op {
                Op::Put { key, value, lease } => {
                    let before = self.entries.get(key);
                    let entry = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: before.map_or(next, |before| before.create_revision),
                        mod_revision: next,
                        version: before.map_or(0, |before| before.version) + 1,
                        lease: *lease,
                    };
                    self.forget_lease(key);
                    if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
                        lease.keys.insert(key.clone());
                    }
                    self.entries.insert(key.clone(), entry.clone());
                    events.push(Event::Put(entry));
                }
                Op::Delete { key } => events.extend(self.delete(key)),
                Op::DeletePrefix { prefix } => {
                    let keys: Vec<_> = self.under(prefix).map(|entry| entry.key.clone()).collect();
                    events.extend(keys.iter().filter_map(|key| self.delete(key)));
                }
            }
        }
        self.record(events);
        Ok(TxnOutcome { committed: true, revision: self.revision(), reads: Vec::new() })
    }

    fn delete(&mut self, key: &str) -> Option<Event> {
        self.forget_lease(key);
        self.entries.remove(key).map(|entry| Event::Delete { key: entry.key })
    }

    /// The key no longer lives under the lease it lived under.
    fn forget_lease(&mut self, key: &str) {
        let lease = self.entries.get(key).and_then(|entry| entry.lease);
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.remove(key);
        }
    }

    fn record(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.revision += 1;
            self.history.push_back(Past { at: Instant::now(), events: events.into() });
        }
    }

    pub(super) fn grant(&mut self, ttl: Duration) -> LeaseId {
        let id = LeaseId(self.next_lease);
        self.next_lease += 1;
        self.leases.insert(id, Lease { ttl, deadline: Instant::now() + ttl, keys: BTreeSet::new() });
        id
    }

    pub(super) fn keep_alive(&mut self, id: LeaseId) -> Result<Duration, KvError> {
        let lease = self.leases.get_mut(&id).ok_or(KvError::LeaseNotFound { lease: id })?;
        lease.deadline = Instant::now() + lease.ttl;
        Ok(lease.ttl)
    }

    pub(super) fn revoke(&mut self, id: LeaseId) -> Result<(), KvError> {
        let lease = self.leases.remove(&id).ok_or(KvError::LeaseNotFound { lease: id })?;
        let events = lease.keys.iter().filter_map(|key| self.delete(key)).collect();
        self.record(events);
        Ok(())
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.deadline).min()
    }

    /// Ends the leases whose time has come.
    pub(super) fn expire(&mut self) -> Vec<LeaseId> {
        let now = Instant::now();
        let ended: Vec<_> =
            self.leases.iter().filter(|(_, lease)| lease.deadline <= now).map(|(id, _)| *id).collect();
        for id in &ended {
            // It is there.
            let _ = self.revoke(*id);
        }
        ended
    }

    /// All leases begin anew, as after the election of another leader among etcd's members.
    pub(super) fn extend_leases(&mut self) {
        let now = Instant::now();
        self.leases.values_mut().for_each(|lease| lease.deadline = now + lease.ttl);
    }

    /// Forgets the history up to and including `through`.
    pub(super) fn compact(&mut self, through: Revision) {
        while self.oldest <= through.0 && self.history.pop_front().is_some() {
            self.oldest += 1;
        }
    }

    /// Whether a watch may begin here.
    pub(super) fn check_watch(&self, from: Revision) -> Result<(), KvError> {
        match from.0 < self.oldest {
            // What was never there is not lost.
            true if from.0 <= 1 && self.oldest == 2 => Ok(()),
            true => Err(KvError::Compacted { requested: from, oldest: Revision(self.oldest) }),
            false => Ok(()),
        }
    }

    /// The next batch of a watch from `next` on, and when it came to be: changes, else progress, else nothing.
    pub(super) fn scan(&self, prefix: &str, next: i64) -> Result<Option<(WatchBatch, Instant)>, KvError> {
        self.check_watch(Revision(next))?;
        let next = next.max(self.oldest);
        let skip = usize::try_from(next - self.oldest).unwrap_or(usize::MAX);
        for (revision, past) in (next..).zip(self.history.iter().skip(skip)) {
            let events: Vec<_> =
                past.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
            if !events.is_empty() {
                return Ok(Some((WatchBatch { revision: Revision(revision), events }, past.at)));
            }
        }
        let progress = || WatchBatch { revision: self.revision(), events: Vec::new() };
        Ok((self.revision >= next).then(|| (progress(), Instant::now())))
    }
}
