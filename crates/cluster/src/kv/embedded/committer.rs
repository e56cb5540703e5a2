//! In which order do transactions happen, and when are they durable?
//!
//! One task takes them from the queue. Whatever waits when it is free is applied, one after the other,
//! to one redb transaction; its commit makes all of them durable; then watches and callers learn.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use redkite_runtime::blocking;
use redkite_runtime::failpoint::{Triggered, reach};
use redkite_types::Revision;
use tokio::sync::{mpsc, oneshot};

use super::database::{Database, Tables, panic_message};
use super::heal::Outage;
use super::{Shared, Slot};
use crate::failpoint::{AFTER_COMMIT, BEFORE_COMMIT};
use crate::kv::{Event, KeyValue, KvError, LeaseId, Op, Read, Txn, TxnOutcome};

pub(super) type Reply = oneshot::Sender<Result<TxnOutcome, KvError>>;

/// What the committer is asked.
#[derive(Debug)]
pub(super) enum Request {
    Txn { txn: Txn, reply: Reply },
    EndLease { lease: LeaseId, reply: Option<Reply> },
}

/// Most requests per commit: bounds how long the first of them waits.
const GROUP: usize = 512;

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    /// The last revision; while a group is applied or after it failed, perhaps not durable.
    pub(super) revision: i64,
    /// The last revision that is durable.
    pub(super) durable: i64,
    /// The keys of each lease that has any.
    pub(super) leased: HashMap<LeaseId, BTreeSet<String>>,
    /// Set while no writes are taken.
    pub(super) outage: Option<Outage>,
}

/// What applying a group produced, not yet durable.
struct Applied {
    answers: Vec<Result<TxnOutcome, KvError>>,
    revisions: Vec<Vec<Event>>,
}

/// A failed group, and whether it may be durable nevertheless.
struct Failed {
    cause: KvError,
    maybe_applied: bool,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, revision: Revision) -> Self {
        let revision = revision.0;
        Self { shared, revision, durable: revision, leased: HashMap::new(), outage: None }
    }

    /// Serves the queue until nobody can send any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.recv().await {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(request) = queue.try_recv()
            {
                group.push(request);
            }
            self = blocking(move || {
                self.serve(group);
                self
            })
            .await;
        }
    }

    fn serve(&mut self, group: Vec<Request>) {
        self.heal();
        let answers = match &self.outage {
            Some(outage) => {
                let refusal = || KvError::ReadOnly {
                    path: self.shared.path.clone(),
                    cause: outage.cause.clone(),
                    disk_full: outage.disk_full,
                };
                group.iter().map(|_| Err(refusal())).collect()
            }
            None => self.commit(&group),
        };
        for (request, answer) in group.into_iter().zip(answers) {
            if let Request::Txn { reply, .. } | Request::EndLease { reply: Some(reply), .. } = request {
                // The caller may have given up; its transaction is done all the same.
                let _ = reply.send(answer);
            }
        }
    }

    pub(super) fn commit(&mut self, group: &[Request]) -> Vec<Result<TxnOutcome, KvError>> {
        let shared = self.shared.clone();
        let slot = shared.database.read();
        let Slot::Open(database) = &*slot else {
            return group.iter().map(|_| Err(KvError::Closed)).collect();
        };
        let result = catch_unwind(AssertUnwindSafe(|| self.commit_unguarded(database, group)))
            .unwrap_or_else(|panic| {
                let detail = panic_message(&*panic);
                let cause = KvError::Corrupt { path: shared.path.clone(), detail };
                Err(Failed { cause, maybe_applied: true })
            });
        match result {
            Ok(applied) => {
                self.durable = self.revision;
                shared.history.publish(applied.revisions);
                applied.answers
            }
            Err(failed) => self.fail(group.len(), &failed),
        }
    }

    fn commit_unguarded(&mut self, database: &Database, group: &[Request]) -> Result<Applied, Failed> {
        let clean = |cause: KvError| Failed { cause, maybe_applied: false };
        let started = Instant::now();
        let txn = database.write().map_err(clean)?;
        let mut tables = database.tables(&txn).map_err(clean)?;
        let applied = self.apply(&mut tables, group).map_err(|error| clean(database.error(error)))?;
        drop(tables);
        if applied.revisions.is_empty() {
            txn.abort().map_err(|error| clean(database.error(error)))?;
        } else {
            let triggered = |triggered: Triggered| database.error(redb::Error::Io(triggered.into()));
            reach(BEFORE_COMMIT).map_err(triggered).map_err(clean)?;
            txn.commit().map_err(|error| Failed { cause: database.error(error), maybe_applied: true })?;
            reach(AFTER_COMMIT).map_err(|cause| Failed { cause: triggered(cause), maybe_applied: true })?;
            metrics::histogram!("redkite_metastore_commit_seconds").record(started.elapsed());
            metrics::counter!("redkite_metastore_revisions_total").increment(applied.revisions.len() as u64);
        }
        Ok(applied)
    }

    /// Stops writing: memory and disk may differ now, and only opening anew tells.
    fn fail(&mut self, count: usize, failed: &Failed) -> Vec<Result<TxnOutcome, KvError>> {
        let (cause, disk_full) = (failed.cause.cause(), failed.cause.disk_full());
        tracing::error!(path = %self.shared.path.display(), %cause, "metastore takes no more writes");
        self.outage = Some(Outage::new(cause.clone(), disk_full));
        let answer = || {
            Err(KvError::Storage {
                path: self.shared.path.clone(),
                source: cause.clone().into(),
                maybe_applied: failed.maybe_applied,
                disk_full,
            })
        };
        (0..count).map(|_| answer()).collect()
    }

    fn apply(&mut self, tables: &mut Tables<'_>, group: &[Request]) -> Result<Applied, redb::Error> {
        let mut applied = Applied { answers: Vec::with_capacity(group.len()), revisions: Vec::new() };
        for request in group {
            let mut events = Vec::new();
            let revision = self.revision + 1;
            let answer = match request {
                Request::Txn { txn, .. } => self.apply_txn(tables, txn, revision, &mut events)?,
                Request::EndLease { lease, .. } => {
                    self.end_lease(tables, *lease, &mut events)?;
                    Ok((true, Vec::new()))
                }
            };
            if !events.is_empty() {
                self.revision = revision;
                applied.revisions.push(events);
            }
            let revision = Revision(self.revision);
            applied.answers.push(answer.map(|(committed, reads)| TxnOutcome { committed, revision, reads }));
        }
        if !applied.revisions.is_empty() {
            tables.set_revision(self.revision)?;
        }
        Ok(applied)
    }

    #[expect(clippy::type_complexity, reason = "an outcome without its revision, used once")]
    fn apply_txn(
        &mut self,
        tables: &mut Tables<'_>,
        txn: &Txn,
        revision: i64,
        events: &mut Vec<Event>,
    ) -> Result<Result<(bool, Vec<Vec<KeyValue>>), KvError>, redb::Error> {
        for compare in &txn.compares {
            if !compare.holds(tables.get(&compare.key)?.as_ref()) {
                let reads = txn.otherwise.iter().map(|read| perform(tables, read));
                return Ok(Ok((false, reads.collect::<Result<_, _>>()?)));
            }
        }
        // Before the first change: a refused transaction must leave nothing behind.
        for op in &txn.then {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.shared.leases.is_live(*lease)
            {
                return Ok(Err(KvError::LeaseNotFound { lease: *lease }));
            }
        }
        for op in &txn.then {
            self.change(tables, op, Revision(revision), events)?;
        }
        Ok(Ok((true, Vec::new())))
    }

    fn change(
        &mut self,
        tables: &mut Tables<'_>,
        op: &Op,
        revision: Revision,
        events: &mut Vec<Event>,
    ) -> Result<(), redb::Error> {
        match op {
            Op::Put { key, value, lease } => {
                let old = tables.get(key)?;
                let entry = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                    mod_revision: revision,
                    version: old.as_ref().map_or(1, |old| old.version + 1),
                    lease: *lease,
                };
                let old_lease = old.and_then(|old| old.lease);
                tables.put(&entry, old_lease.is_some())?;
                self.detach(key, old_lease);
                if let Some(lease) = lease {
                    self.leased.entry(*lease).or_default().insert(key.clone());
                }
                events.push(Event::Put(entry));
            }
            Op::Delete { key } => self.remove(tables, key, events)?,
            Op::DeletePrefix { prefix } => {
                for key in tables.keys(prefix)? {
                    self.remove(tables, &key, events)?;
                }
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        tables: &mut Tables<'_>,
        key: &str,
        events: &mut Vec<Event>,
    ) -> Result<(), redb::Error> {
        if let Some(old) = tables.delete(key)? {
            self.detach(key, old.lease);
            events.push(Event::Delete { key: key.to_owned() });
        }
        Ok(())
    }

    fn detach(&mut self, key: &str, lease: Option<LeaseId>) {
        if let Some(lease) = lease
            && let Some(keys) = self.leased.get_mut(&lease)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.leased.remove(&lease);
            }
        }
    }

    fn end_lease(
        &mut self,
        tables: &mut Tables<'_>,
        lease: LeaseId,
        events: &mut Vec<Event>,
    ) -> Result<(), redb::Error> {
        for key in self.leased.remove(&lease).unwrap_or_default() {
            self.remove(tables, &key, events)?;
        }
        Ok(())
    }
}

fn perform(tables: &Tables<'_>, read: &Read) -> Result<Vec<KeyValue>, redb::Error> {
    match read {
        Read::Get { key } => Ok(tables.get(key)?.into_iter().collect()),
        Read::Range { prefix } => tables.range(prefix),
    }
}
