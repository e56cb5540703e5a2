//! The data coordinator: index definitions, shard leaders, the life of segments.
//!
//! Commands are here; what follows from records by itself is planned in `plan` and driven by
//! `drive`.

mod index_definitions;
mod merges;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use redkite_catalog::{CollectionRecord, Record};
use redkite_cluster::kv::{Compare, Txn};
use redkite_service::{CompactionProgress, DataCoord, DdlAck, Error, NewIndex, RequestId, Result};
use redkite_storage::ObjectStore;
use redkite_types::{CollectionId, IndexId, SegmentId, TaskId};
use tokio::sync::Notify;
use tracing::info;

pub(crate) use merges::{CompactionRecord, Merges, PromisedMerge};
pub use settings::{CompactionSettings, DataSettings, FoldSettings, GarbageSettings};

use crate::command::Commands;
use crate::drive;
use crate::environment::{Commit, Environment, IdPool};
use crate::plan::busy::Busy;
use crate::plan::compaction;
use crate::writer::WriteError;

/// Most merges that one command promises, so that the promise fits into a transaction; the rest is for
/// the next one.
const MAX_MERGES: u32 = 500;

/// The data coordinator.
#[derive(Debug)]
pub struct DataCoordinator {
    environment: Environment,
    settings: DataSettings,
    commands: Commands,
    merges: Arc<RwLock<Merges>>,
    /// Tells the loop that a compaction was promised.
    promised: Arc<Notify>,
    /// Taken for the length of one compaction command.
    compacting: tokio::sync::Mutex<()>,
}

impl DataCoordinator {
    /// Takes over: continues what the records say is going on, then is ready for commands.
    ///
    /// # Errors
    /// If the metastore cannot be read.
    pub async fn start(
        environment: Environment,
        store: Arc<dyn ObjectStore>,
        settings: DataSettings,
    ) -> Result<Arc<Self>> {
        environment.catch_up().await?;
        let entries = environment.kv.range(merges::PREFIX).await.map_err(WriteError::Kv)?.entries;
        let merges = Arc::new(RwLock::new(Merges::recall(&entries)));
        let commands = Commands::start("data", environment.clone());
        let promised = Arc::new(Notify::new());
        drive::data::spawn(&environment, &settings, &merges, &promised);
        drive::garbage::spawn(&environment, store, &settings.gc);
        let compacting = tokio::sync::Mutex::default();
        Ok(Arc::new(Self { environment, settings, commands, merges, promised, compacting }))
    }

    /// Promises the merges that leave as few segments as possible.
    async fn promise(&self, request: RequestId, collection: CollectionId) -> Result<(TaskId, usize)> {
        self.environment.catch_up().await?;
        let count = MAX_MERGES + 1;
        let first = self.environment.ids.reserve(count).await.map_err(WriteError::Kv)?;
        let mut ids = IdPool::new(first, count);
        let id = TaskId(ids.take().ok_or_else(|| Error::internal("no ids reserved"))?);
        let record = self.planned(request, collection, &mut ids)?;
        let merges = record.merges.len();
        if merges == 0 {
            return Ok((id, 0));
        }
        let value = serde_json::to_vec(&record).map_err(Error::internal)?;
        let exists = Compare::exists(CollectionRecord::key(&collection));
        match self.environment.commit(Txn::new().when(exists).put(Merges::key(id), value)).await? {
            Commit::Applied(_) => {}
            Commit::Conflict => return Err(not_found(collection)),
        }
        self.merges.write().insert(id, record);
        self.promised.notify_one();
        info!(collection = collection.0, compaction = id.0, merges, "compaction promised");
        Ok((id, merges))
    }

    fn planned(
        &self,
        request: RequestId,
        collection: CollectionId,
        ids: &mut IdPool,
    ) -> Result<CompactionRecord> {
        let now = self.environment.clock.tick();
        let merges = self.merges.read();
        let groups = self.environment.view.read(|metadata| {
            if !metadata.collections.contains_key(&collection) {
                return Err(not_found(collection));
            }
            let mut busy = Busy::in_collection(metadata, collection);
            for (group, _) in merges.pending(metadata, collection) {
                busy.compacting.extend(group.sources);
            }
            Ok(compaction::manual(metadata, collection, &busy.compacting, &self.settings.compaction, now))
        })?;
        drop(merges);
        let promised = groups.into_iter().map_while(|group| {
            let compaction::Group { shard, partition, sources } = group;
            Some(PromisedMerge { shard, partition, sources, target: SegmentId(ids.take()?) })
        });
        Ok(CompactionRecord {
            request: Merges::request(request),
            collection,
            merges: promised.collect(),
            failed: std::collections::BTreeSet::new(),
            created_at: now,
        })
    }
}

fn not_found(collection: CollectionId) -> Error {
    Error::CollectionNotFound { database: String::new(), collection: collection.to_string() }
}

#[async_trait]
impl DataCoord for DataCoordinator {
    async fn create_index(&self, id: RequestId, index: NewIndex) -> Result<DdlAck> {
        self.commands.execute(id, 1, |draft| index_definitions::create(draft, &index)).await
    }

    async fn alter_index(
        &self,
        id: RequestId,
        collection: CollectionId,
        name: String,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<DdlAck> {
        let plan = |draft: &mut crate::command::Draft<'_>| {
            index_definitions::alter(draft, collection, &name, &set, &delete)
        };
        self.commands.execute(id, 0, plan).await
    }

    async fn drop_index(&self, id: RequestId, collection: CollectionId, index: IndexId) -> Result<DdlAck> {
        self.commands.execute(id, 0, |draft| index_definitions::drop(draft, collection, index)).await
    }

    async fn compact(&self, id: RequestId, collection: CollectionId) -> Result<(TaskId, usize)> {
        let _turn = self.compacting.lock().await;
        let answered = self.merges.read().of_request(id);
        match answered {
            Some(answer) => Ok(answer),
            None => self.promise(id, collection).await,
        }
    }

    async fn compaction(&self, compaction: TaskId) -> Result<CompactionProgress> {
        let merges = self.merges.read();
        Ok(self.environment.view.read(|metadata| merges.progress(metadata, compaction)))
    }
}
