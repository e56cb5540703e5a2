//! The query coordinator's loop: resource groups, replicas, holds, serving views, loaded marks.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use redkite_catalog::Metadata;
use redkite_types::{CollectionId, NodeId, SegmentId};
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::{Driver, PLANS_IN_A_ROW, Pace, run, settle};
use crate::balance::usage::Usages;
use crate::environment::Environment;
use crate::nodes::RoleNodes;
use crate::plan::fleet::Fleet;
use crate::plan::{resource_groups, serving};
use crate::query::QuerySettings;
use crate::writer::WriteError;

/// Starts the loop.
pub(crate) fn spawn(
    environment: &Environment,
    settings: &QuerySettings,
    usages: watch::Receiver<Arc<Usages>>,
) {
    let pace =
        Pace { debounce: settings.debounce, review: settings.review_interval, nudge: Notify::new().into() };
    let driver = QueryDriver {
        environment: environment.clone(),
        usages,
        failures: BTreeSet::new(),
        fleet: Fleet::default(),
        tallied: false,
    };
    let environment = environment.clone();
    environment.tasks.clone().spawn("querycoord", |stopping| run(driver, environment, pace, stopping));
}

struct QueryDriver {
    environment: Environment,
    usages: watch::Receiver<Arc<Usages>>,
    fleet: Fleet,
    /// Segments that nodes cannot open; each is told of once.
    failures: BTreeSet<(NodeId, CollectionId, SegmentId)>,
    /// Whether it is known what every node is to hold.
    tallied: bool,
}

#[async_trait]
impl Driver for QueryDriver {
    const NAME: &'static str = "querycoord";

    async fn round(&mut self, dirty: &BTreeSet<CollectionId>) -> Result<(), WriteError> {
        let nodes = self.environment.query_nodes();
        self.regroup(&nodes).await?;
        self.tally_everything().await;
        for collection in dirty {
            // It may be that others have changed the holds.
            self.tally(*collection);
            let plan = |metadata: &Metadata| serving::plan(metadata, *collection, &self.fleet);
            settle(&self.environment, *collection, plan).await?;
            self.tally(*collection);
        }
        self.report_failures();
        Ok(())
    }
}

impl QueryDriver {
    /// Groups come first: a new node must not be given segments of the default group before it goes elsewhere.
    async fn regroup(&mut self, nodes: &RoleNodes) -> Result<(), WriteError> {
        for _ in 0..PLANS_IN_A_ROW {
            let steps = self.environment.view.read(|metadata| resource_groups::plan(metadata, nodes));
            if steps.is_empty() {
                break;
            }
            self.environment.commit_all(steps).await?;
        }
        let usages = self.usages.borrow().clone();
        let now = self.environment.clock.tick();
        let fleet = &mut self.fleet;
        self.environment.view.read(|metadata| fleet.regroup(metadata, nodes));
        fleet.memory = usages.iter().map(|(node, usage)| (*node, usage.said.memory)).collect();
        fleet.now = now;
        Ok(())
    }

    /// Before anything is placed it must be known who has how much, of collections that nobody looks at now, too.
    async fn tally_everything(&mut self) {
        if std::mem::replace(&mut self.tallied, true) {
            return;
        }
        let held = |metadata: &Metadata| -> BTreeSet<_> {
            metadata.holds.keys().map(|(_, collection)| *collection).collect()
        };
        for collection in self.environment.view.read(held) {
            self.tally(collection);
            tokio::task::yield_now().await;
        }
    }

    fn tally(&mut self, collection: CollectionId) {
        self.environment.view.read(|metadata| self.fleet.usage.refresh(metadata, collection));
    }

    fn report_failures(&mut self) {
        let mut failures = BTreeSet::new();
        let known = &self.failures;
        self.environment.view.read(|metadata| {
            for ((node, collection), held) in &metadata.held {
                for (segment, reason) in &held.failures {
                    let failure = (*node, *collection, *segment);
                    if !known.contains(&failure) {
                        warn!(
                            node = node.0,
                            collection = collection.0,
                            segment = segment.0,
                            reason,
                            "segment not loaded"
                        );
                    }
                    failures.insert(failure);
                }
            }
        });
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("redkite_querycoord_unloadable_segments").set(failures.len() as f64);
        self.failures = failures;
    }
}
