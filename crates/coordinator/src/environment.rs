//! What every coordinator is given: records, a way to write, ids, time, nodes.

use std::sync::Arc;

use async_trait::async_trait;
use redkite_catalog::MetadataView;
use redkite_cluster::ids::IdAllocator;
use redkite_cluster::kv::{Kv, KvError, Txn};
use redkite_runtime::{HybridClock, Tasks};
use redkite_types::Revision;

use crate::nodes::{LiveNode, LiveNodes, RoleNodes};
use crate::step::Step;
use crate::writer::{MetaWriter, WriteError};

/// Source of ids that are unique over the whole cluster and never reused.
#[async_trait]
pub trait Ids: Send + Sync + 'static {
    /// The first of `count` consecutive ids, all reserved for the caller.
    async fn reserve(&self, count: u32) -> Result<i64, KvError>;
}

#[async_trait]
impl Ids for IdAllocator {
    async fn reserve(&self, count: u32) -> Result<i64, KvError> {
        self.take(count).await
    }
}

/// Ids that have been reserved, so that pure functions can name new things.
#[derive(Clone, Debug)]
pub struct IdPool {
    next: i64,
    end: i64,
}

impl IdPool {
    /// The ids from `first` on.
    #[must_use]
    pub fn new(first: i64, count: u32) -> Self {
        Self { next: first, end: first + i64::from(count) }
    }

    /// An unused id; `None` when the pool is exhausted.
    pub fn take(&mut self) -> Option<i64> {
        (self.next < self.end).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// How many ids are left.
    #[must_use]
    pub fn left(&self) -> usize {
        usize::try_from(self.end - self.next).unwrap_or(0)
    }
}

/// What every coordinator is given. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// The watched records.
    pub view: MetadataView,
    /// The metastore, for reading.
    pub kv: Arc<dyn Kv>,
    /// The metastore, for writing while active.
    pub writer: Arc<dyn MetaWriter>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
    /// Timestamps of commands.
    pub clock: Arc<HybridClock>,
    /// Nodes that are alive.
    pub nodes: Arc<dyn LiveNodes>,
    /// Where background loops run.
    pub tasks: Tasks,
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Applied at this revision, which the view shows.
    Applied(Revision),
    /// Something it relied on has changed; the view shows it now.
    Conflict,
}

impl Environment {
    /// The query nodes; those that are being drained count as stopping.
    pub(crate) fn query_nodes(&self) -> RoleNodes {
        let nodes = self.nodes.watch().borrow().clone();
        self.view.read(|metadata| {
            let drained = |node| metadata.drains.contains_key(&node);
            let live = nodes.query.alive();
            live.map(|(node, live)| {
                (node, LiveNode { stopping: live.stopping || drained(node), ..live.clone() })
            })
            .collect()
        })
    }

    /// Commits a transaction, then waits until the view shows its effect, or what prevented it.
    pub(crate) async fn commit(&self, txn: Txn) -> Result<Commit, WriteError> {
        let outcome = self.writer.txn(txn).await?;
        self.view.wait_for(outcome.revision).await;
        Ok(if outcome.committed { Commit::Applied(outcome.revision) } else { Commit::Conflict })
    }

    /// Commits steps in order until one conflicts; whether all were applied.
    pub(crate) async fn commit_all(&self, steps: Vec<Step>) -> Result<bool, WriteError> {
        for step in steps {
            let what = step.what;
            match self.commit(step.txn).await? {
                Commit::Applied(revision) => {
                    metrics::counter!("redkite_coordinator_steps_total", "step" => what).increment(1);
                    tracing::debug!(step = what, revision = revision.0, "step committed");
                }
                Commit::Conflict => {
                    metrics::counter!("redkite_coordinator_conflicts_total", "step" => what).increment(1);
                    tracing::debug!(step = what, "records changed meanwhile, planning again");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Waits until the view shows everything that is committed at this moment.
    pub(crate) async fn catch_up(&self) -> Result<Revision, WriteError> {
        // A transaction without changes takes no revision and tells the present one.
        let revision = self.writer.txn(Txn::new()).await?.revision;
        self.view.wait_for(revision).await;
        Ok(revision)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
