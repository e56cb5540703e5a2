//! Upsert: rows replace those with the same keys.

use std::collections::HashSet;

use redkite_catalog::CollectionRecord;
use redkite_proto::milvus::{MutationResult, UpsertRequest};
use redkite_service::{Error, WriteOp};
use redkite_types::{PrimaryKeys, Timestamp};

use super::insert::{check_schema, mutated, refuse_namespace};
use super::partial::is_partial;
use super::route::{Placement, Routed, split_batch, split_keys};
use super::rows::SentRows;
use crate::convert::keys;
use crate::define::name;
use crate::{Proxy, RequestContext, refuse};

impl Proxy {
    /// Replaces rows by primary key, or adds them.
    ///
    /// # Errors
    /// In Milvus's words, if the rows do not fit the collection or a shard refuses them.
    pub async fn upsert(
        &self,
        context: RequestContext,
        request: UpsertRequest,
    ) -> Result<MutationResult, Error> {
        name::collection(&request.collection_name)?;
        refuse_namespace(request.namespace.as_deref())?;
        let partial = is_partial(request.partial_update, &request.field_ops)?;
        let target = self.readable(&context, &request.db_name, &request.collection_name).await?;
        let collection = &target.record;
        check_schema(collection, request.schema_timestamp)?;
        let mut sent = SentRows::new(collection, request.fields_data, request.num_rows)?;
        let replaced = sent.take_keys()?;
        refuse_duplicates(&replaced)?;
        let auto_id = collection.schema.primary_key().auto_id;
        let new = if auto_id { self.new_keys(collection, sent.rows()).await? } else { replaced.clone() };
        let ids = keys::to_wire(new.clone());
        let placement = Placement::of(collection, &request.partition_name)?;
        let batch = if partial {
            let current = self.current_rows(&target, &sent, &replaced, placement).await?;
            sent.into_merged_batch(&replaced, new, &current)?
        } else {
            sent.checked(true)?.into_batch(Some(new))
        };
        let routed = split_batch(collection, batch, placement);
        let timestamp = match auto_id {
            false => {
                let upserts = routed.into_iter().map(|(shard, batches)| (shard, WriteOp::Upsert(batches)));
                self.write(collection, upserts).await?
            }
            true => self.rewrite(collection, routed, replaced, placement).await?,
        };
        let rows = request.num_rows;
        Ok(MutationResult {
            i_ds: Some(ids),
            upsert_cnt: rows.into(),
            insert_cnt: rows.into(),
            delete_cnt: rows.into(),
            ..mutated(rows, timestamp)
        })
    }

    /// Rows of `autoID` collections get new keys, maybe in other shards than the old ones: they are
    /// added first and the old ones deleted then, so that no reader ever misses an entity.
    async fn rewrite(
        &self,
        collection: &CollectionRecord,
        rows: Routed,
        replaced: PrimaryKeys,
        placement: Placement,
    ) -> Result<Timestamp, Error> {
        let inserts = rows.into_iter().map(|(shard, batches)| (shard, WriteOp::Insert(batches)));
        let inserted = self.write(collection, inserts).await?;
        let deletes = split_keys(collection, replaced)
            .into_iter()
            .map(|(shard, keys)| (shard, WriteOp::Delete { partition: placement.partition(), keys }));
        Ok(self.write(collection, deletes).await?.max(inserted))
    }
}

fn refuse_duplicates(keys: &PrimaryKeys) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(keys.len());
    if keys.iter().all(|key| seen.insert(key)) {
        return Ok(());
    }
    Err(refuse::invalid("duplicate primary keys are not allowed in the same batch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_must_be_distinct() {
        assert!(refuse_duplicates(&PrimaryKeys::Int64(vec![1, 2, 3])).is_ok());
        let twice = PrimaryKeys::VarChar(["a", "b", "a"].into_iter().collect());
        assert!(refuse_duplicates(&twice).unwrap_err().to_string().starts_with("duplicate primary keys"));
    }
}
