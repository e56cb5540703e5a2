//! What does the metastore promise? The [`Kv`] trait, its laws and its limits.
//!
//! The laws are those of etcd, cut down to what is used. An embedded store (`embedded`) keeps
//! them in one process, etcd itself (`etcd`) among many, and one contract suite (`contract`) runs on both.
//!
//! Revisions order everything: each committed transaction that changes something takes the next
//! revision, and every key remembers the revision that created it and the one that last wrote it.

#[doc(hidden)]
pub mod contract;
pub mod embedded;
mod error;
pub mod etcd;
mod txn;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redkite_types::Revision;
use serde::{Deserialize, Serialize};

pub use embedded::{EmbeddedKv, EmbeddedSettings};
pub use error::KvError;
pub use etcd::{EtcdKv, EtcdSettings};
pub use txn::{Compare, Condition, MAX_TXN_BYTES, MAX_TXN_OPS, Op, Read, Txn, TxnOutcome};
pub use watch::{Event, Watch, WatchBatch};

/// A lease; keys put under it vanish when it ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub i64);

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A key with its value and history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value last put.
    pub value: Bytes,
    /// Revision of the put that created the key after it was last absent.
    pub create_revision: Revision,
    /// Revision of the last put.
    pub mod_revision: Revision,
    /// Number of puts since the key was created, from 1.
    pub version: u64,
    /// The lease the last put named.
    pub lease: Option<LeaseId>,
}

/// Everything under a prefix at one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeResult {
    /// Revision of the store at which `entries` is exact; a watch from the next one misses nothing.
    pub revision: Revision,
    /// The entries, sorted by the bytes of their keys.
    pub entries: Vec<KeyValue>,
}

/// The metastore.
///
/// Laws, checked by the contract suite:
///
/// - **Linearizable.** `get` and `range` MUST see every transaction that was acknowledged before the
///   call began. `range` MUST be a snapshot of one revision.
/// - **Atomic.** A transaction MUST be applied wholly or not at all, and be durable before it is
///   acknowledged. All its changes carry one revision, larger than every earlier one, also across
///   restarts. A transaction that changes nothing takes no revision.
/// - **Fail clean.** An error whose [`KvError::maybe_applied`] is false MUST mean that nothing changed
///   and nothing will.
/// - **Watches have no gaps.** A watch MUST deliver every revision `>= from` that touched its prefix
///   exactly once, in order, one batch per revision, or fail with [`KvError::Compacted`]. It SHOULD
///   report progress (a batch without events) when later revisions did not touch its prefix, so that
///   a follower can tell "nothing for me" from "not there yet".
/// - **Leases end once.** After a lease ended, by revocation or because nobody kept it alive for its
///   time to live, all keys last put under it MUST be deleted in one transaction, keep-alives and puts
///   naming it MUST fail with [`KvError::LeaseNotFound`]. A lease MUST NOT end before its time to live
///   has passed since the last acknowledged keep-alive, except by revocation or loss of the store.
///   Leases need not survive a restart of the store; keys under a lost lease MUST then be gone.
/// - **Limits** ([`MAX_TXN_OPS`], [`MAX_TXN_BYTES`], no empty key) MUST be enforced with an error.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// The entry under `key`.
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, KvError>;

    /// All entries whose key begins with `prefix` (all entries of the store for `""`).
    async fn range(&self, prefix: &str) -> Result<RangeResult, KvError>;

    /// Applies `txn.then` if all of `txn.compares` hold, else performs the reads of `txn.otherwise`.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, KvError>;

    /// Follows changes under `prefix`, beginning with revision `from`.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, KvError>;

    /// Starts a lease. Implementations may round `ttl` up (etcd: whole seconds, at least 2).
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, KvError>;

    /// Starts the lease's time to live anew; returns it.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, KvError>;

    /// Ends the lease and deletes its keys.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), KvError>;

    /// Writes one key unconditionally; returns the revision.
    async fn put(&self, key: String, value: Bytes) -> Result<Revision, KvError> {
        Ok(self.txn(Txn::new().put(key, value)).await?.revision)
    }

    /// Deletes one key, present or not; returns the store's revision afterwards.
    async fn delete(&self, key: String) -> Result<Revision, KvError> {
        Ok(self.txn(Txn::new().delete(key)).await?.revision)
    }
}
