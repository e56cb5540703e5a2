//! The root coordinator: databases, collections, partitions, aliases.
//!
//! [`ddl`] has a file per command, each a pure function from records to one transaction. The
//! coordinator gives commands their turn and commits them.

mod bootstrap;
pub mod ddl;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use redkite_service::{Ddl, DdlAck, RequestId, Result, RootCoord};
use redkite_types::limits;
use serde::{Deserialize, Serialize};

use crate::command::Commands;
use crate::environment::Environment;

/// How much may be defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RootSettings {
    /// Most databases. Milvus: `rootCoord.maxDatabaseNum`.
    pub max_database_num: usize,
    /// Most collections over all databases. Milvus: `quotaAndLimits.limits.maxCollectionNum`.
    pub max_collection_num: usize,
    /// Most partitions of a collection. Milvus: `rootCoord.maxPartitionNum`.
    pub max_partition_num: usize,
    /// Most partitions × shards over all collections. Milvus: `rootCoord.maxGeneralCapacity`.
    pub max_general_capacity: usize,
}

impl Default for RootSettings {
    fn default() -> Self {
        Self {
            max_database_num: limits::MAX_DATABASES,
            max_collection_num: limits::MAX_COLLECTIONS,
            max_partition_num: limits::MAX_PARTITIONS,
            max_general_capacity: limits::MAX_GENERAL_CAPACITY,
        }
    }
}

/// The root coordinator.
#[derive(Debug)]
pub struct RootCoordinator {
    settings: RootSettings,
    commands: Commands,
}

impl RootCoordinator {
    /// Takes over: makes sure that the default database exists, then is ready for commands.
    ///
    /// # Errors
    /// If the metastore cannot be read or written.
    pub async fn start(environment: Environment, settings: RootSettings) -> Result<Arc<Self>> {
        environment.catch_up().await?;
        bootstrap::observe_timestamps(&environment);
        bootstrap::default_database(&environment).await?;
        let commands = Commands::start("root", environment);
        Ok(Arc::new(Self { settings, commands }))
    }
}

#[async_trait]
impl RootCoord for RootCoordinator {
    async fn execute(&self, id: RequestId, command: Ddl) -> Result<DdlAck> {
        let ids = ddl::ids_needed(&command);
        self.commands.execute(id, ids, |draft| ddl::plan(draft, &self.settings, &command)).await
    }
}
