//! The query coordinator: load and release, replicas and resource groups, placement of sealed segments,
//! serving views, evenly loaded nodes.
//!
//! Commands change what should be loaded; `plan::serving` makes the rest follow.

mod load;
mod release;
mod replicas;
mod resource_group;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redkite_runtime::units;
use redkite_service::{
    BalanceAnswer, BalanceCommand, DdlAck, NewLoad, PlacementCommand, QueryCoord, RequestId, Result,
    SegmentsDirectory, ShardDirectory,
};
use redkite_types::{CollectionId, PartitionId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

use crate::balance::{self, BalancingSettings, balancer, leaders, usage};
use crate::command::{Commands, Draft};
use crate::drive;
use crate::environment::Environment;

/// Fewest and most ids reserved for the replicas of one load. More replicas than nodes are of no use.
const REPLICA_IDS: (u32, u32) = (64, 4096);

/// Settings of the query coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuerySettings {
    /// Changes that arrive within this time are planned together.
    #[serde(with = "units::millis")]
    pub debounce: Duration,
    /// How often everything is looked at again.
    #[serde(with = "units::seconds")]
    pub review_interval: Duration,
    /// How long a release waits for the views to follow before it answers anyway.
    #[serde(with = "units::seconds")]
    pub release_patience: Duration,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(2),
            review_interval: Duration::from_secs(30),
            release_patience: Duration::from_secs(10),
        }
    }
}

/// The query coordinator.
#[derive(Debug)]
pub struct QueryCoordinator {
    environment: Environment,
    settings: QuerySettings,
    commands: Commands,
    balance: Arc<balance::Shared>,
}

impl QueryCoordinator {
    /// Takes over: continues what the records say is going on, then is ready for commands.
    ///
    /// # Errors
    /// If the metastore cannot be read.
    pub async fn start(
        environment: Environment,
        settings: QuerySettings,
        balancing: watch::Receiver<BalancingSettings>,
        segments: Arc<dyn SegmentsDirectory>,
        shards: Arc<dyn ShardDirectory>,
    ) -> Result<Arc<Self>> {
        environment.catch_up().await?;
        let commands = Commands::start("query", environment.clone());
        let (told, usages) = watch::channel(Arc::default());
        let asking = environment.clone();
        environment.tasks.spawn("usage", |stopping| usage::follow(asking, segments, told, stopping));
        drive::query::spawn(&environment, &settings, usages.clone());
        let balance = balance::Shared::new(environment.clone(), balancing, usages);
        let shared = balance.clone();
        environment.tasks.spawn("balance", |stopping| balancer::run(shared, stopping));
        let shared = balance.clone();
        environment.tasks.spawn("leader-balance", |stopping| leaders::run(shared, shards, stopping));
        Ok(Arc::new(Self { environment, settings, commands, balance }))
    }

    /// Waits until no view names segments of the partitions.
    async fn views_without(&self, collection: CollectionId, partitions: &[PartitionId]) {
        let view = &self.environment.view;
        let mut changes = view.changes();
        let named = || {
            view.read(|metadata| {
                metadata
                    .views_of(collection)
                    .flat_map(|(_, view)| &view.segments)
                    .any(|entry| partitions.contains(&entry.partition))
            })
        };
        while named() {
            changes.any().await;
        }
    }
}

#[async_trait]
impl QueryCoord for QueryCoordinator {
    async fn load(&self, id: RequestId, load: NewLoad) -> Result<DdlAck> {
        let nodes = self.environment.query_nodes();
        let ids = load.replicas.clamp(REPLICA_IDS.0, REPLICA_IDS.1);
        self.commands.execute(id, ids, |draft| load::plan(draft, &load, &nodes)).await
    }

    async fn place(&self, id: RequestId, command: PlacementCommand) -> Result<DdlAck> {
        use PlacementCommand::{
            CreateResourceGroup, DropResourceGroup, TransferNodes, TransferReplicas, UpdateResourceGroups,
        };

        let nodes = &self.environment.query_nodes();
        let plan = |draft: &mut Draft<'_>| match &command {
            CreateResourceGroup { name, config } => resource_group::create(draft, name, config, nodes),
            UpdateResourceGroups { configs } => resource_group::update(draft, configs, nodes),
            DropResourceGroup { name } => resource_group::drop_group(draft, name, nodes),
            TransferNodes { source, target, nodes: number } => {
                resource_group::transfer_nodes(draft, source, target, *number, nodes)
            }
            TransferReplicas { collection, source, target, replicas } => {
                replicas::transfer(draft, *collection, source, target, *replicas)
            }
        };
        self.commands.execute(id, 0, plan).await
    }

    async fn balance(&self, command: BalanceCommand) -> Result<BalanceAnswer> {
        self.balance.carry_out(command).await
    }

    async fn release(
        &self,
        id: RequestId,
        collection: CollectionId,
        partitions: Vec<PartitionId>,
    ) -> Result<DdlAck> {
        let ack = self.commands.execute(id, 0, |draft| release::plan(draft, collection, &partitions)).await?;
        let withdrawn = self.views_without(collection, &partitions);
        if tokio::time::timeout(self.settings.release_patience, withdrawn).await.is_err() {
            warn!(collection = collection.0, "views still name released partitions");
        }
        Ok(DdlAck { revision: self.environment.view.revision().max(ack.revision), ..ack })
    }
}
