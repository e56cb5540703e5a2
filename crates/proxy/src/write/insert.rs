//! Insert.

use redkite_catalog::CollectionRecord;
use redkite_proto::milvus::{InsertRequest, MutationResult};
use redkite_service::{Error, WriteOp};
use redkite_types::{PrimaryKeys, Timestamp};

use super::route::{Placement, split_batch};
use super::rows::{SentRows, generated_keys};
use crate::convert::keys;
use crate::define::name;
use crate::{Proxy, RequestContext, refuse};

impl Proxy {
    /// Adds rows.
    ///
    /// # Errors
    /// In Milvus's words, if the rows do not fit the collection or a shard refuses them.
    pub async fn insert(
        &self,
        context: RequestContext,
        request: InsertRequest,
    ) -> Result<MutationResult, Error> {
        name::collection(&request.collection_name)?;
        refuse_namespace(request.namespace.as_deref())?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        check_schema(&collection, request.schema_timestamp)?;
        let sent = SentRows::new(&collection, request.fields_data, request.num_rows)?;
        let (needs_keys, rows) = (sent.needs_keys(), sent.rows());
        let checked = sent.checked(needs_keys)?;
        let keys = if needs_keys { Some(self.new_keys(&collection, rows).await?) } else { None };
        let batch = checked.into_batch(keys);
        let placement = Placement::of(&collection, &request.partition_name)?;
        let key = collection.schema.primary_key().id;
        let ids = keys::column_to_wire(batch.column(key).expect("a batch holds every field").data.view());
        let writes = split_batch(&collection, batch, placement)
            .into_iter()
            .map(|(shard, batches)| (shard, WriteOp::Insert(batches)));
        let timestamp = self.write(&collection, writes).await?;
        Ok(MutationResult {
            i_ds: Some(ids),
            insert_cnt: request.num_rows.into(),
            ..mutated(request.num_rows, timestamp)
        })
    }

    /// Keys for rows of an `autoID` collection.
    pub(crate) async fn new_keys(
        &self,
        collection: &CollectionRecord,
        rows: usize,
    ) -> Result<PrimaryKeys, Error> {
        let count = u32::try_from(rows).expect("rows are counted in 32 bits on the wire");
        let first = self.parts.ids.allocate(count).await?;
        Ok(generated_keys(collection.schema.primary_key().data_type, first, rows))
    }
}

/// The client has seen the schema that the rows are checked against.
pub(crate) fn check_schema(collection: &CollectionRecord, seen: u64) -> Result<(), Error> {
    if seen != 0 && seen != collection.updated_at.0 {
        return Err(Error::SchemaMismatch { collection: collection.name.clone() });
    }
    Ok(())
}

pub(crate) fn refuse_namespace(namespace: Option<&str>) -> Result<(), Error> {
    match namespace {
        None => Ok(()),
        Some(_) => Err(refuse::unsupported("namespaces")),
    }
}

/// The answer to a write of all `rows`.
pub(crate) fn mutated(rows: u32, timestamp: Timestamp) -> MutationResult {
    MutationResult {
        status: Some(redkite_proto::common::Status::default()),
        succ_index: (0..rows).collect(),
        acknowledged: true,
        timestamp: timestamp.0,
        ..MutationResult::default()
    }
}
