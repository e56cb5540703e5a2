//! What can one atomic transaction say, and what are its limits?

use std::collections::HashSet;

use bytes::Bytes;
use redkite_types::Revision;

use super::{KeyValue, KvError, LeaseId};

/// Most operations, and most compares, and most reads, of one transaction: etcd's default `--max-txn-ops`.
pub const MAX_TXN_OPS: usize = 128;

/// Most bytes of keys and values in one transaction: etcd's default `--max-request-bytes` of 1.5 MiB
/// less room for the encoding.
pub const MAX_TXN_BYTES: usize = 1_536_000;

/// A condition on one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// What must hold for it.
    pub condition: Condition,
}

/// What a [`Compare`] asks. An absent key has revisions and version 0 and equals no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// The key exists.
    Exists,
    /// The key does not exist.
    Absent,
    /// The key was created by this revision.
    CreateRevision(Revision),
    /// The key was last written by this revision.
    ModRevision(Revision),
    /// The key was put so many times since its creation.
    Version(u64),
    /// The key has this value.
    Value(Bytes),
}

impl Compare {
    /// `key` exists.
    pub fn exists(key: impl Into<String>) -> Self {
        Self { key: key.into(), condition: Condition::Exists }
    }

    /// `key` does not exist.
    pub fn absent(key: impl Into<String>) -> Self {
        Self { key: key.into(), condition: Condition::Absent }
    }

    /// `key` was created by `revision`.
    pub fn create_revision(key: impl Into<String>, revision: Revision) -> Self {
        Self { key: key.into(), condition: Condition::CreateRevision(revision) }
    }

    /// `key` was last written by `revision` (0: does not exist).
    pub fn mod_revision(key: impl Into<String>, revision: Revision) -> Self {
        Self { key: key.into(), condition: Condition::ModRevision(revision) }
    }

    /// `key` was put `version` times since its creation (0: does not exist).
    pub fn version(key: impl Into<String>, version: u64) -> Self {
        Self { key: key.into(), condition: Condition::Version(version) }
    }

    /// `key` has `value`.
    pub fn value(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), condition: Condition::Value(value.into()) }
    }

    /// `key` is as `entry` was read: absent, or last written by the same revision.
    pub fn unchanged(key: impl Into<String>, entry: Option<&KeyValue>) -> Self {
        Self::mod_revision(key, entry.map_or(Revision(0), |entry| entry.mod_revision))
    }

    /// Whether the condition holds for the entry now under the key.
    #[must_use]
    pub fn holds(&self, entry: Option<&KeyValue>) -> bool {
        match &self.condition {
            Condition::Exists => entry.is_some(),
            Condition::Absent => entry.is_none(),
            Condition::CreateRevision(wanted) => {
                entry.map_or(Revision(0), |entry| entry.create_revision) == *wanted
            }
            Condition::ModRevision(wanted) => {
                entry.map_or(Revision(0), |entry| entry.mod_revision) == *wanted
            }
            Condition::Version(wanted) => entry.map_or(0, |entry| entry.version) == *wanted,
            Condition::Value(wanted) => entry.is_some_and(|entry| entry.value == *wanted),
        }
    }
}

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// The lease it now lives under; a put without lease frees the key from an earlier one.
        lease: Option<LeaseId>,
    },
    /// Deletes a key, if it exists.
    Delete {
        /// The key.
        key: String,
    },
    /// Deletes every key that begins with the prefix.
    DeletePrefix {
        /// The prefix, not empty.
        prefix: String,
    },
}

/// A read to perform when a transaction's compares do not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// One key: zero or one entries.
    Get {
        /// The key.
        key: String,
    },
    /// Every key that begins with the prefix, sorted.
    Range {
        /// The prefix.
        prefix: String,
    },
}

/// An atomic "if all of these hold, then change that, otherwise read this".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// All must hold; none means always.
    pub compares: Vec<Compare>,
    /// The changes. No key may be written twice; a put may not fall under a delete of the same transaction.
    pub then: Vec<Op>,
    /// Performed instead when a compare does not hold.
    pub otherwise: Vec<Read>,
}

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TxnOutcome {
    /// Whether all compares held, so that `then` was applied.
    pub committed: bool,
    /// Revision of the store afterwards: that of the changes if there were any.
    pub revision: Revision,
    /// The entries found by each of `otherwise`, in their order; empty when committed.
    pub reads: Vec<Vec<KeyValue>>,
}

impl TxnOutcome {
    /// The entry found by a lone [`Read::Get`] of `otherwise`.
    #[must_use]
    pub fn into_read(self) -> Option<KeyValue> {
        self.reads.into_iter().flatten().next()
    }
}

impl Txn {
    /// An empty transaction: add to it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.then.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Adds a put under a lease.
    #[must_use]
    pub fn put_leased(mut self, key: impl Into<String>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.then.push(Op::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Adds a delete of one key.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.then.push(Op::Delete { key: key.into() });
        self
    }

    /// Adds a delete of everything under a prefix.
    #[must_use]
    pub fn delete_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.then.push(Op::DeletePrefix { prefix: prefix.into() });
        self
    }

    /// Adds a read of one key for the case that a compare does not hold.
    #[must_use]
    pub fn otherwise_get(mut self, key: impl Into<String>) -> Self {
        self.otherwise.push(Read::Get { key: key.into() });
        self
    }

    /// Adds a read of a prefix for the case that a compare does not hold.
    #[must_use]
    pub fn otherwise_range(mut self, prefix: impl Into<String>) -> Self {
        self.otherwise.push(Read::Range { prefix: prefix.into() });
        self
    }

    /// Bytes of all keys and values, as the limit counts them.
    #[must_use]
    pub fn size(&self) -> usize {
        let compares = self.compares.iter().map(|compare| {
            compare.key.len() + if let Condition::Value(value) = &compare.condition { value.len() } else { 0 }
        });
        let then = self.then.iter().map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
            Op::DeletePrefix { prefix } => prefix.len(),
        });
        let reads = self.otherwise.iter().map(|read| match read {
            Read::Get { key } => key.len(),
            Read::Range { prefix } => prefix.len(),
        });
        compares.chain(then).chain(reads).sum()
    }

    /// Checks the limits every implementation enforces before it tries anything.
    pub fn check(&self) -> Result<(), KvError> {
        let lists = [
            ("compares", self.compares.len()),
            ("operations", self.then.len()),
            ("reads", self.otherwise.len()),
        ];
        for (what, count) in lists {
            if count > MAX_TXN_OPS {
                return Err(KvError::TooManyOps { what, count, limit: MAX_TXN_OPS });
            }
        }
        let bytes = self.size();
        if bytes > MAX_TXN_BYTES {
            return Err(KvError::TooLarge { bytes, limit: MAX_TXN_BYTES });
        }
        self.check_keys()
    }

    fn check_keys(&self) -> Result<(), KvError> {
        if self.compares.iter().any(|compare| compare.key.is_empty())
            || self.otherwise.iter().any(|read| matches!(read, Read::Get { key } if key.is_empty()))
        {
            return Err(KvError::EmptyKey);
        }
        let mut put = HashSet::new();
        for op in &self.then {
            match op {
                Op::Put { key, .. } | Op::Delete { key } | Op::DeletePrefix { prefix: key }
                    if key.is_empty() =>
                {
                    return Err(KvError::EmptyKey);
                }
                Op::Put { key, .. } => {
                    if !put.insert(key.as_str()) {
                        return Err(KvError::DuplicateKey { key: key.clone() });
                    }
                }
                Op::Delete { .. } | Op::DeletePrefix { .. } => {}
            }
        }
        for op in &self.then {
            let clash = match op {
                Op::Put { .. } => None,
                Op::Delete { key } => put.get(key.as_str()),
                Op::DeletePrefix { prefix } => put.iter().find(|key| key.starts_with(prefix.as_str())),
            };
            if let Some(key) = clash {
                return Err(KvError::DuplicateKey { key: (*key).to_owned() });
            }
        }
        Ok(())
    }
}
