//! The data coordinator's loop: shard leaders, results of tasks, switches, new tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use redkite_catalog::{Metadata, TaskKind, TaskOutcome};
use redkite_cluster::kv::Txn;
use redkite_types::{CollectionId, TaskId, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Driver, Pace, run, settle};
use crate::command::millis;
use crate::data::{DataSettings, Merges};
use crate::environment::{Environment, IdPool};
use crate::nodes::NodeSet;
use crate::plan::work::{self, Avoid, Work};
use crate::plan::{deltas, dropped, index_files, results, shards, switch};
use crate::step::Step;
use crate::writer::WriteError;

/// Ids reserved at once for tasks and the segments they make.
const IDS_AT_ONCE: u32 = 256;
/// How long the progress of a finished compaction can be asked for.
const COMPACTIONS_REMEMBERED: std::time::Duration = std::time::Duration::from_secs(3600);

/// Starts the loop.
pub(crate) fn spawn(
    environment: &Environment,
    settings: &DataSettings,
    merges: &Arc<RwLock<Merges>>,
    promised: &Arc<Notify>,
) {
    let pace =
        Pace { debounce: settings.debounce, review: settings.review_interval, nudge: promised.clone() };
    let driver = DataDriver {
        environment: environment.clone(),
        settings: settings.clone(),
        merges: merges.clone(),
        backlog: BTreeMap::new(),
        ids: IdPool::new(0, 0),
        avoid: Avoid::default(),
        avoid_since: Instant::now(),
    };
    let environment = environment.clone();
    environment.tasks.clone().spawn("datacoord", |stopping| run(driver, environment, pace, stopping));
}

struct DataDriver {
    environment: Environment,
    settings: DataSettings,
    merges: Arc<RwLock<Merges>>,
    /// Useful work per collection, waiting for a free slot.
    backlog: BTreeMap<CollectionId, Vec<Work>>,
    ids: IdPool,
    /// What failed since `avoid_since`.
    avoid: Avoid,
    avoid_since: Instant,
}

#[async_trait]
impl Driver for DataDriver {
    const NAME: &'static str = "datacoord";

    async fn round(&mut self, dirty: &BTreeSet<CollectionId>) -> Result<(), WriteError> {
        self.forgive();
        let nodes = self.environment.nodes.watch().borrow().clone();
        for collection in dirty {
            self.learn_from_failures(*collection).await?;
            let clock = self.environment.clock.clone();
            let plan = |metadata: &Metadata| next(metadata, *collection, &nodes, clock.tick());
            settle(&self.environment, *collection, plan).await?;
        }
        let orphans = self.environment.view.read(results::orphans);
        self.environment.commit_all(orphans).await?;
        self.forget_compactions().await?;
        self.refresh(dirty);
        self.assign(&nodes).await
    }
}

/// The next steps for one collection. One concern at a time: each plans on the records that the one
/// before has left.
pub(crate) fn next(
    metadata: &Metadata,
    collection: CollectionId,
    nodes: &NodeSet,
    now: Timestamp,
) -> Vec<Step> {
    let concerns: [&dyn Fn() -> Vec<Step>; 7] = [
        &|| dropped::collection(metadata, collection),
        &|| shards::plan(metadata, collection, &nodes.streaming),
        &|| dropped::partitions(metadata, collection, now),
        &|| results::plan(metadata, collection, &nodes.data, now),
        &|| index_files::plan(metadata, collection),
        &|| switch::plan(metadata, collection, now),
        &|| deltas::prune(metadata, collection),
    ];
    concerns.iter().map(|plan| plan()).find(|steps| !steps.is_empty()).unwrap_or_default()
}

impl DataDriver {
    /// Lets failed work be tried again after a while.
    fn forgive(&mut self) {
        if self.avoid_since.elapsed() >= self.settings.retry_failed_after {
            self.avoid = Avoid::default();
            self.avoid_since = Instant::now();
        }
    }

    /// Notes failed tasks before their results are taken away.
    async fn learn_from_failures(&mut self, collection: CollectionId) -> Result<(), WriteError> {
        let failed = self.environment.view.read(|metadata| failures(metadata, collection));
        for (task, kind, reason) in failed {
            warn!(task = task.0, ?kind, reason, "task failed");
            metrics::counter!("redkite_datacoord_failed_tasks_total").increment(1);
            match kind {
                TaskKind::Compact { sources, target, .. } => {
                    self.avoid.segments.extend(sources);
                    let promise = self.merges.read().with_failed(target);
                    if let Some((id, record)) = promise {
                        let value = serde_json::to_vec(&record).expect("records are plain data");
                        self.environment.commit(Txn::new().put(Merges::key(id), value)).await?;
                        self.merges.write().insert(id, record);
                    }
                }
                TaskKind::FoldDeletes { shard, .. } => {
                    self.avoid.shards.insert(shard);
                }
                TaskKind::BuildIndex { .. } => {}
            }
        }
        Ok(())
    }

    async fn forget_compactions(&mut self) -> Result<(), WriteError> {
        let now = self.environment.clock.now().physical();
        let horizon = Timestamp::from_physical(now.saturating_sub(millis(COMPACTIONS_REMEMBERED)));
        let old = {
            let merges = self.merges.read();
            self.environment.view.read(|metadata| merges.forgettable(metadata, horizon))
        };
        for id in old {
            self.environment.commit(Txn::new().delete(Merges::key(id))).await?;
            self.merges.write().remove(id);
        }
        Ok(())
    }

    /// Works out anew what would be useful for these collections.
    fn refresh(&mut self, collections: &BTreeSet<CollectionId>) {
        let now = self.environment.clock.now();
        let merges = self.merges.read();
        for collection in collections {
            let wanted = self.environment.view.read(|metadata| {
                work::wanted(metadata, *collection, &merges, &self.avoid, &self.settings, now)
            });
            if wanted.is_empty() {
                self.backlog.remove(collection);
            } else {
                self.backlog.insert(*collection, wanted);
            }
        }
        let waiting: usize = self.backlog.values().map(Vec::len).sum();
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("redkite_datacoord_waiting_work").set(waiting as f64);
    }

    /// Gives work to nodes that have time for it.
    async fn assign(&mut self, nodes: &NodeSet) -> Result<(), WriteError> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        let slots = self.settings.tasks_per_node.max(1);
        // A task needs an id for itself and perhaps one for its segment.
        if self.ids.left() < 2 * slots * nodes.data.open().len() {
            self.ids = IdPool::new(self.environment.ids.reserve(IDS_AT_ONCE).await?, IDS_AT_ONCE);
        }
        let now = self.environment.clock.tick();
        let chosen = self
            .environment
            .view
            .read(|metadata| work::schedule(metadata, &self.backlog, &nodes.data, slots, &mut self.ids, now));
        let collections: BTreeSet<_> = chosen.iter().map(|(collection, _)| *collection).collect();
        let steps: Vec<_> = chosen.into_iter().map(|(_, step)| step).collect();
        if !steps.is_empty() {
            info!(tasks = steps.len(), "tasks given out");
        }
        self.environment.commit_all(steps).await?;
        self.refresh(&collections);
        Ok(())
    }
}

fn failures(metadata: &Metadata, collection: CollectionId) -> Vec<(TaskId, TaskKind, String)> {
    let results = metadata.results.values();
    results
        .filter_map(|result| {
            let task = metadata.tasks.get(&result.id)?;
            match &result.outcome {
                TaskOutcome::Failed { reason } if super::collection_of(task) == collection => {
                    Some((task.id, task.kind.clone(), reason.clone()))
                }
                _ => None,
            }
        })
        .collect()
}
