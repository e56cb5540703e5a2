//! Loops that keep planning: they wake when records or nodes change, gather changes for a moment, and
//! carry out what the plans say for the collections concerned.

pub(crate) mod data;
pub(crate) mod garbage;
pub(crate) mod query;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redkite_catalog::{Change, Changes, Metadata};
use redkite_runtime::{Backoff, Stopping};
use redkite_types::CollectionId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::environment::Environment;
use crate::plan::busy::collection_of;
use crate::step::Step;
use crate::writer::WriteError;

/// Plans of one collection in a row before others get their turn: far more than any chain of plans is
/// long, so that a plan that never ends is seen.
const PLANS_IN_A_ROW: usize = 64;

/// One kind of loop.
#[async_trait]
pub(crate) trait Driver: Send + 'static {
    /// Its name in logs and metrics.
    const NAME: &'static str;

    /// Carries out what is to be done for these collections.
    async fn round(&mut self, dirty: &BTreeSet<CollectionId>) -> Result<(), WriteError>;
}

/// When a loop wakes.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) debounce: Duration,
    pub(crate) review: Duration,
    pub(crate) nudge: Arc<Notify>,
}

/// What has changed since the last round.
#[derive(Debug, Default)]
struct Dirty {
    everything: bool,
    collections: BTreeSet<CollectionId>,
}

impl Dirty {
    fn note(&mut self, environment: &Environment, changes: Option<Arc<[Change]>>) {
        match changes {
            None => self.everything = true,
            Some(changes) => environment.view.read(|metadata| {
                // Any collection may have replicas in the group.
                self.everything |= changes.iter().any(|change| matches!(change, Change::ResourceGroup(_)));
                self.collections.extend(changes.iter().filter_map(|change| concerned(metadata, change)));
            }),
        }
    }

    fn take(&mut self, environment: &Environment) -> BTreeSet<CollectionId> {
        let Self { everything, mut collections } = std::mem::take(self);
        if everything {
            environment.view.read(|metadata| collections.extend(all(metadata)));
        }
        collections
    }
}

/// Runs a driver until the component stops or another coordinator takes over.
pub(crate) async fn run<D: Driver>(mut driver: D, environment: Environment, pace: Pace, stopping: Stopping) {
    let mut changes = environment.view.changes();
    let mut nodes = environment.nodes.watch();
    let mut dirty = Dirty { everything: true, ..Dirty::default() };
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        let collections = dirty.take(&environment);
        let began = Instant::now();
        let Some(outcome) = stopping.race(driver.round(&collections)).await else { return };
        metrics::histogram!("redkite_coordinator_round_seconds", "loop" => D::NAME)
            .record(began.elapsed().as_secs_f64());
        match outcome {
            Ok(()) => backoff.reset(),
            Err(WriteError::Fenced { role }) => {
                info!(loop_name = D::NAME, role, "deposed, loop ends");
                return;
            }
            Err(WriteError::Kv(error)) => {
                warn!(loop_name = D::NAME, %error, "metastore failed, trying again");
                dirty.everything = true;
                if stopping.race(backoff.wait()).await.is_none() {
                    return;
                }
                continue;
            }
        }
        let woken = stopping.race(wait(&mut changes, &mut nodes, &pace, &environment, &mut dirty));
        if woken.await.is_none() {
            return;
        }
    }
}

async fn wait(
    changes: &mut Changes,
    nodes: &mut tokio::sync::watch::Receiver<Arc<crate::nodes::NodeSet>>,
    pace: &Pace,
    environment: &Environment,
    dirty: &mut Dirty,
) {
    tokio::select! {
        some = changes.next() => dirty.note(environment, some),
        Ok(()) = nodes.changed() => dirty.everything = true,
        () = pace.nudge.notified() => dirty.everything = true,
        () = tokio::time::sleep(pace.review) => dirty.everything = true,
    }
    let deadline = Instant::now() + pace.debounce;
    while let Ok(more) = timeout_at(deadline, changes.next()).await {
        dirty.note(environment, more);
    }
}

/// Commits what `plan` says for one collection until it says nothing more.
pub(crate) async fn settle(
    environment: &Environment,
    collection: CollectionId,
    plan: impl Fn(&Metadata) -> Vec<Step> + Send,
) -> Result<(), WriteError> {
    for _ in 0..PLANS_IN_A_ROW {
        let steps = environment.view.read(&plan);
        if steps.is_empty() {
            return Ok(());
        }
        environment.commit_all(steps).await?;
    }
    warn!(collection = collection.0, "plans do not come to an end");
    Ok(())
}

/// Every collection of which there is anything.
fn all(metadata: &Metadata) -> BTreeSet<CollectionId> {
    let mut ids: BTreeSet<_> = metadata.collections.keys().copied().collect();
    ids.extend(metadata.dropped.keys().copied());
    ids.extend(metadata.loads.keys().copied());
    ids.extend(metadata.holds.keys().map(|(_, collection)| *collection));
    ids.extend(metadata.views.keys().map(|(shard, _)| shard.collection));
    ids.extend(metadata.replicas.keys().copied());
    ids.extend(metadata.tasks.values().map(|task| collection_of(task)));
    ids
}

/// The collection that a change is about.
fn concerned(metadata: &Metadata, change: &Change) -> Option<CollectionId> {
    match change {
        Change::Database(_) | Change::Name(_) | Change::ResourceGroup(_) => None,
        Change::Collection(id)
        | Change::Dropped(id)
        | Change::Indexes(id)
        | Change::Load(id)
        | Change::Replicas(id) => Some(*id),
        Change::Assignment(shard) | Change::Shard(shard) | Change::Checkpoint(shard) => {
            Some(shard.collection)
        }
        Change::Segment((id, _)) | Change::Hold((_, id)) | Change::Held((_, id)) => Some(*id),
        Change::View((shard, _)) => Some(shard.collection),
        Change::Task(task) | Change::TaskResult(task) => {
            metadata.tasks.get(task).map(|task| collection_of(task))
        }
    }
}
