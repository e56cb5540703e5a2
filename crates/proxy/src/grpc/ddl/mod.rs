//! What may a client define, and what is defined? One file per kind of thing.
//!
//! A definition is checked here, carried out by a coordinator, and answered once this proxy's own view
//! shows it: the client's next request sees what it has just done.

mod alias;
mod alter;
mod balance;
mod collection;
mod compaction;
mod database;
mod flush_all;
mod index;
mod load;
mod partition;
mod resource_group;
mod segment;
mod server;

use std::sync::Arc;

use redkite_catalog::{CollectionRecord, DatabaseRecord, LoadRecord, Metadata, PartitionRecord, Record};
use redkite_proto::common::Status;
use redkite_service::{Ddl, DdlAck, Error, RequestId};
use redkite_types::CollectionId;

use crate::{Proxy, RequestContext, status};

impl Proxy {
    /// Carries out a definition of the root coordinator.
    async fn define(&self, command: Ddl) -> Result<Status, Error> {
        let id = self.request_id().await?;
        self.acknowledge(self.parts.root.execute(id, command).await?).await
    }

    /// An id that no other command of any proxy has: ids for rows are unique as well.
    async fn request_id(&self) -> Result<RequestId, Error> {
        let id = self.parts.ids.allocate(1).await?;
        Ok(RequestId(u128::from(id.unsigned_abs())))
    }

    /// Waits until the view shows what was done.
    async fn acknowledge(&self, ack: DdlAck) -> Result<Status, Error> {
        self.parts.metadata.wait_for(ack.revision).await;
        Ok(status::success())
    }

    /// The database of a request.
    async fn database(
        &self,
        context: &RequestContext,
        requested: &str,
    ) -> Result<Arc<DatabaseRecord>, Error> {
        let name = context.database(requested);
        let look = |metadata: &Metadata| metadata.database(name).map(|found| found.record.clone());
        let missing = || Error::DatabaseNotFound { database: name.to_owned() };
        self.find(DatabaseRecord::PREFIX, look).await?.ok_or_else(missing)
    }

    /// The collection with this id, in the database of a request.
    async fn collection_by_id(
        &self,
        context: &RequestContext,
        database: &str,
        id: CollectionId,
    ) -> Result<Arc<CollectionRecord>, Error> {
        let look = |metadata: &Metadata| metadata.collections.get(&id).map(|found| found.record.clone());
        let missing = || Error::CollectionNotFound {
            database: context.database(database).to_owned(),
            collection: id.to_string(),
        };
        self.find(&CollectionRecord::key(&id), look).await?.ok_or_else(missing)
    }

    /// The collection that a request names or, if it names none, has the id of.
    async fn named_or_numbered(
        &self,
        context: &RequestContext,
        database: &str,
        name: &str,
        id: i64,
    ) -> Result<Arc<CollectionRecord>, Error> {
        if name.is_empty() && id != 0 {
            return self.collection_by_id(context, database, CollectionId(id)).await;
        }
        self.collection(context, database, name).await
    }

    /// A partition, by name.
    async fn partition(
        &self,
        collection: &CollectionRecord,
        name: &str,
    ) -> Result<Option<PartitionRecord>, Error> {
        let id = collection.id;
        let look = |metadata: &Metadata| metadata.collections.get(&id)?.partition(name).cloned();
        self.find(&CollectionRecord::key(&id), look).await
    }

    /// Looks into the view; if there is nothing, looks again when the view shows the present state of
    /// the records under `key`, since a watch may lag.
    async fn find<T>(&self, key: &str, look: impl Fn(&Metadata) -> Option<T>) -> Result<Option<T>, Error> {
        if let Some(found) = self.parts.metadata.read(&look) {
            return Ok(Some(found));
        }
        let present = self.parts.kv.range(key).await;
        let present =
            present.map_err(|source| Error::Unavailable { reason: format!("metastore: {source}") })?;
        self.parts.metadata.wait_for(present.revision).await;
        Ok(self.parts.metadata.read(&look))
    }

    /// What of a collection is to be loaded, if anything.
    fn load_of(&self, collection: CollectionId) -> Option<Arc<LoadRecord>> {
        self.parts.metadata.read(|metadata| Some(metadata.loads.get(&collection)?.record.clone()))
    }
}
