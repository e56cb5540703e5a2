//! Loops that keep planning: they wake when records or nodes change, gather changes for a moment, and
//! carry out what the plans say for the collections concerned. When everything has to be looked at, as after
//! taking over, that is done some collections at a time, and what changes meanwhile comes first.

pub(crate) mod data;
pub(crate) mod garbage;
pub(crate) mod query;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
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

/// Collections looked at in one round if nothing is known to have changed: what has changed meanwhile does
/// not wait for all of a hundred thousand.
const REVIEWED_AT_ONCE: usize = 64;

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
    /// What is left to look at since everything was to be.
    review: BTreeSet<CollectionId>,
    /// The last one reviewed: a review that begins anew goes on from there, so that all have their turn.
    reviewed: Option<CollectionId>,
}

impl Dirty {
    fn note(&mut self, environment: &Environment, changes: Option<Arc<[Change]>>) {
        match changes {
            None => self.everything = true,
            Some(changes) => environment.view.read(|metadata| {
                // Any collection may have replicas in the group.
                let of_all = |change: &Change| matches!(change, Change::ResourceGroup(_) | Change::Drain(_));
                self.everything |= changes.iter().any(of_all);
                self.collections.extend(changes.iter().filter_map(|change| concerned(metadata, change)));
            }),
        }
    }

    /// What the next round is about: what has changed, and a part of the rest if everything may have.
    fn take(&mut self, environment: &Environment) -> BTreeSet<CollectionId> {
        if std::mem::take(&mut self.everything) {
            self.review = environment.view.read(all);
        }
        let mut collections = std::mem::take(&mut self.collections);
        self.review.retain(|collection| !collections.contains(collection));
        while collections.len() < REVIEWED_AT_ONCE {
            let Some(next) = self.next_to_review() else { break };
            self.review.remove(&next);
            self.reviewed = Some(next);
            collections.insert(next);
        }
        collections
    }

    fn next_to_review(&self) -> Option<CollectionId> {
        let after = self.reviewed.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.review.range((after, Bound::Unbounded));
        later.next().or_else(|| self.review.first()).copied()
    }
}

/// Runs a driver until the component stops or another coordinator takes over.
pub(crate) async fn run<D: Driver>(mut driver: D, environment: Environment, pace: Pace, stopping: Stopping) {
    let mut changes = environment.view.changes();
    let mut nodes = environment.nodes.watch();
    let mut dirty = Dirty { everything: true, ..Dirty::default() };
    let started = Instant::now();
    let mut first_review = true;
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
        if first_review && dirty.review.is_empty() {
            first_review = false;
            info!(loop_name = D::NAME, took = ?started.elapsed(), "everything looked at");
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
    if !dirty.review.is_empty() {
        return glance(changes, nodes, pace, environment, dirty).await;
    }
    tokio::select! {
        // Records change all the time: what is rare comes first.
        biased;
        Ok(()) = nodes.changed() => dirty.everything = true,
        () = pace.nudge.notified() => dirty.everything = true,
        some = changes.next() => dirty.note(environment, some),
        () = tokio::time::sleep(pace.review) => dirty.everything = true,
    }
    let deadline = Instant::now() + pace.debounce;
    while let Ok(more) = timeout_at(deadline, changes.next()).await {
        dirty.note(environment, more);
    }
}

/// Takes what has changed without waiting for more.
async fn glance(
    changes: &mut Changes,
    nodes: &mut tokio::sync::watch::Receiver<Arc<crate::nodes::NodeSet>>,
    pace: &Pace,
    environment: &Environment,
    dirty: &mut Dirty,
) {
    while let Some(some) = changes.next().now_or_never() {
        dirty.note(environment, some);
    }
    let nodes_changed = nodes.has_changed().unwrap_or(false);
    nodes.mark_unchanged();
    dirty.everything |= nodes_changed || pace.nudge.notified().now_or_never().is_some();
    tokio::task::yield_now().await;
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
pub(crate) fn all(metadata: &Metadata) -> BTreeSet<CollectionId> {
    let mut ids: BTreeSet<_> = metadata.collections.keys().copied().collect();
    ids.extend(metadata.dropped.keys().copied());
    ids.extend(metadata.loads.keys().copied());
    ids.extend(metadata.holds.keys().map(|(_, collection)| *collection));
    ids.extend(metadata.views.keys().map(|(shard, _)| shard.collection));
    ids.extend(metadata.replicas.keys().copied());
    ids.extend(metadata.moves.keys().map(|(collection, _)| *collection));
    ids.extend(metadata.stays.keys().map(|(collection, _)| *collection));
    ids.extend(metadata.tasks.values().map(|task| collection_of(task)));
    ids
}

/// The collection that a change is about.
pub(crate) fn concerned(metadata: &Metadata, change: &Change) -> Option<CollectionId> {
    match change {
        Change::Database(_)
        | Change::Name(_)
        | Change::ResourceGroup(_)
        | Change::Moved(_)
        | Change::Drain(_)
        | Change::Balance(_) => None,
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
        Change::Move((id, _)) | Change::Stay((id, _)) => Some(*id),
        Change::Task(task) | Change::TaskResult(task) => {
            metadata.tasks.get(task).map(|task| collection_of(task))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_goes_round_and_lets_others_in() {
        let ids = |range: std::ops::Range<i64>| range.map(CollectionId).collect::<BTreeSet<_>>();
        let mut dirty = Dirty { review: ids(0..10), reviewed: Some(CollectionId(7)), ..Dirty::default() };
        let mut turns = Vec::new();
        while let Some(next) = dirty.next_to_review() {
            dirty.review.remove(&next);
            dirty.reviewed = Some(next);
            turns.push(next.0);
        }
        assert_eq!(turns, [8, 9, 0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
