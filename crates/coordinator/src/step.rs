//! One committed step of a plan: records to write, and the records that were relied on.

use redkite_catalog::{Entry, Record};
use redkite_cluster::kv::{Compare, MAX_TXN_OPS, Op, Txn};
use redkite_types::Revision;

/// Most operations (and compares) a step should have: the limit, less room for the fence and the
/// bookkeeping of commands.
pub(crate) const STEP_OPS: usize = MAX_TXN_OPS - 16;

/// A transaction under construction. After any prefix of a plan's steps the records are consistent.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it does, for logs and metrics.
    pub what: &'static str,
    /// The transaction.
    pub txn: Txn,
}

impl Step {
    /// Nothing yet.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, txn: Txn::new() }
    }

    /// Requires the record to be as it was read: absent, or last written by the same revision.
    pub fn relies_on<R: Record>(&mut self, key: &R::Key, entry: Option<&Entry<R>>) -> &mut Self {
        let compare = Compare::mod_revision(R::key(key), entry.map_or(Revision(0), |entry| entry.revision));
        if !self.txn.compares.contains(&compare) {
            self.txn.compares.push(compare);
        }
        self
    }

    /// Writes a record.
    pub fn put<R: Record>(&mut self, key: &R::Key, record: &R) -> &mut Self {
        self.txn.then.push(Op::Put { key: R::key(key), value: record.encode().into(), lease: None });
        self
    }

    /// Writes a record that must still be as it was read.
    pub fn replace<R: Record>(&mut self, key: &R::Key, old: Option<&Entry<R>>, new: &R) -> &mut Self {
        self.relies_on(key, old).put(key, new)
    }

    /// Deletes a record.
    pub fn delete<R: Record>(&mut self, key: &R::Key) -> &mut Self {
        self.txn.then.push(Op::Delete { key: R::key(key) });
        self
    }

    /// Whether nothing would be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.txn.then.is_empty()
    }

    /// Whether another pair of operations should go to the next step.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.txn.then.len().max(self.txn.compares.len()) + 2 > STEP_OPS || self.txn.size() > 1_000_000
    }
}

/// Collects small independent changes into as few steps as fit.
#[derive(Debug)]
pub(crate) struct Steps {
    what: &'static str,
    done: Vec<Step>,
    open: Step,
}

impl Steps {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, done: Vec::new(), open: Step::new(what) }
    }

    /// The step that takes the next change (of at most two operations).
    pub(crate) fn next(&mut self) -> &mut Step {
        if self.open.is_full() {
            self.done.push(std::mem::replace(&mut self.open, Step::new(self.what)));
        }
        &mut self.open
    }

    /// The step that takes a change of so many operations.
    pub(crate) fn next_with(&mut self, operations: usize) -> &mut Step {
        let present = self.open.txn.then.len().max(self.open.txn.compares.len());
        if !self.open.is_empty() && present + operations + 2 > STEP_OPS {
            self.done.push(std::mem::replace(&mut self.open, Step::new(self.what)));
        }
        self.next()
    }

    /// The steps, none of them empty.
    pub(crate) fn finish(mut self) -> Vec<Step> {
        if !self.open.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}
