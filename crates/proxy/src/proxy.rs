//! What a proxy works with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redkite_catalog::MetadataView;
use redkite_cluster::Kv;
use redkite_runtime::HybridClock;
use redkite_service::{DataCoord, Error, QueryCoord, RootCoord, ShardDirectory};
use redkite_types::limits;

use crate::flush::Flushes;
use crate::nodes::Nodes;
use crate::read::iterator::Iterators;
use crate::read::plan_cache::PlanCache;
use crate::write::number::Numbers;

/// A source of primary keys for `autoID` fields.
#[async_trait]
pub trait AutoIds: Send + Sync {
    /// The first of `count` consecutive ids that nobody else ever gets.
    async fn allocate(&self, count: u32) -> Result<i64, Error>;
}

/// Limits and times of a proxy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How stale a read of level Bounded may be. Longer costs freshness, shorter costs waiting for
    /// shards whose clocks lag. Milvus: `common.gracefulTime`.
    pub graceful_time: Duration,
    /// Largest `limit`, `offset` and `limit + offset`. Milvus: `quotaAndLimits.limits.topK`.
    pub max_top_k: u64,
    /// Most query vectors in one search. Milvus: `quotaAndLimits.limits.nq`.
    pub max_nq: u64,
    /// Largest result, bytes. Milvus: `quotaAndLimits.limits.maxOutputSize`.
    pub max_output_bytes: usize,
    /// How long a call of a shard is repeated that finds no leader, or a failing one. Longer lets clients
    /// wait through longer troubles, shorter tells them sooner.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            graceful_time: Duration::from_secs(5),
            max_top_k: limits::MAX_TOP_K,
            max_nq: limits::MAX_NQ,
            max_output_bytes: limits::MAX_OUTPUT_BYTES,
            patience: Duration::from_secs(30),
        }
    }
}

/// What comes with a request besides its message.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// Database named in the metadata of the call; empty if none is.
    pub database: String,
}

impl RequestContext {
    /// The database meant by a request that may name one itself.
    #[must_use]
    pub fn database<'a>(&'a self, requested: &'a str) -> &'a str {
        [requested, &self.database, redkite_catalog::DEFAULT_DATABASE]
            .into_iter()
            .find(|name| !name.is_empty())
            .expect("the default database has a name")
    }
}

/// Everything a proxy is made of.
#[derive(Clone)]
pub struct ProxyParts {
    /// The watched metadata.
    pub metadata: MetadataView,
    /// The metastore, asked only to confirm that something is really missing.
    pub kv: Arc<dyn Kv>,
    /// Databases, collections, partitions, aliases.
    pub root: Arc<dyn RootCoord>,
    /// Indexes and compaction.
    pub data: Arc<dyn DataCoord>,
    /// Load and release, resource groups.
    pub query: Arc<dyn QueryCoord>,
    /// Leaders of shards.
    pub shards: Arc<dyn ShardDirectory>,
    /// Who is alive, and where.
    pub nodes: Arc<dyn Nodes>,
    /// Primary keys for `autoID` fields.
    pub ids: Arc<dyn AutoIds>,
    /// The present, for bounded reads and expiry.
    pub clock: Arc<HybridClock>,
    /// Limits and times.
    pub settings: Settings,
}

/// Answers Milvus's requests.
pub struct Proxy {
    pub(crate) parts: ProxyParts,
    pub(crate) plans: PlanCache,
    pub(crate) iterators: Iterators,
    pub(crate) flushes: Flushes,
    pub(crate) numbers: Numbers,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("settings", &self.parts.settings).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy made of these parts.
    #[must_use]
    pub fn new(parts: ProxyParts) -> Self {
        Self {
            parts,
            plans: PlanCache::default(),
            iterators: Iterators::default(),
            flushes: Flushes::default(),
            numbers: Numbers::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_the_database_before_the_connection() {
        let context = RequestContext { database: "connection".to_owned() };
        assert_eq!(context.database("request"), "request");
        assert_eq!(context.database(""), "connection");
        assert_eq!(RequestContext::default().database(""), "default");
    }
}
