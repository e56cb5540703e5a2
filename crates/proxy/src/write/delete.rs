//! Delete, by primary key or by filter.

use std::sync::Arc;

use futures::future::try_join_all;
use redkite_catalog::CollectionRecord;
use redkite_proto::milvus::{DeleteRequest, MutationResult};
use redkite_query::{Plan, PlanPurpose};
use redkite_service::{Consistency, Error, RetrieveRequest, WriteOp};
use redkite_types::{PartitionId, PrimaryKeyRef, PrimaryKeys, ShardId, Timestamp, VarColumn};

use super::insert::refuse_namespace;
use super::route::split_keys;
use crate::collection::{Readable, expired_before, written_partition};
use crate::define::name;
use crate::{Proxy, RequestContext, refuse};

/// Keys that are deleted in one write: a filter may find more than one record of the log can hold.
const CHUNK_BYTES: usize = 8 << 20;

/// The keys in order, so many bytes of them at a time.
fn chunks(keys: &PrimaryKeys, bytes: usize) -> impl Iterator<Item = PrimaryKeys> {
    let mut keys = keys.iter().peekable();
    std::iter::from_fn(move || {
        let mut chunk = match keys.peek()? {
            PrimaryKeyRef::Int64(_) => PrimaryKeys::Int64(Vec::new()),
            PrimaryKeyRef::VarChar(_) => PrimaryKeys::VarChar(VarColumn::new()),
        };
        let mut taken = 0;
        while taken < bytes
            && let Some(key) = keys.next()
        {
            taken += match key {
                PrimaryKeyRef::Int64(_) => size_of::<i64>(),
                PrimaryKeyRef::VarChar(text) => size_of::<u64>() + text.len(),
            };
            chunk.push(key);
        }
        Some(chunk)
    })
}

impl Proxy {
    /// Deletes rows by primary key, or those that satisfy a filter.
    ///
    /// # Errors
    /// In Milvus's words: a bad filter, or a shard that refuses.
    pub async fn delete(
        &self,
        context: RequestContext,
        request: DeleteRequest,
    ) -> Result<MutationResult, Error> {
        name::collection(&request.collection_name)?;
        refuse_namespace(request.namespace.as_deref())?;
        let target = self.readable(&context, &request.db_name, &request.collection_name).await?;
        let purpose = PlanPurpose::Delete;
        let plan = self.plans.plan(&target.record, &request.expr, request.expr_template_values, purpose)?;
        if plan.always_true() {
            let what = format!("delete plan can't be empty or always true : {}", request.expr);
            return Err(refuse::invalid(what));
        }
        let partition = match request.partition_name.as_str() {
            "" => None,
            _ if target.record.schema.partition_key().is_some() => return Err(refuse::named_partition()),
            name => Some(written_partition(&target.record, name)?),
        };
        let (deleted, timestamp) = match plan.primary_keys() {
            Some(keys) => {
                let count = keys.len();
                let writes = split_keys(&target.record, keys)
                    .into_iter()
                    .map(|(shard, keys)| (shard, WriteOp::Delete { partition, keys }));
                (count, self.write(&target.record, writes).await?)
            }
            None => self.delete_found(&target, partition, plan).await?,
        };
        Ok(MutationResult {
            status: Some(redkite_proto::common::Status::default()),
            // Milvus sends ids without a list: clients tell the count from a list by it.
            i_ds: Some(redkite_proto::schema::IDs { id_field: None }),
            acknowledged: true,
            delete_cnt: i64::try_from(deleted).unwrap_or(i64::MAX),
            timestamp: timestamp.0,
            ..MutationResult::default()
        })
    }

    /// Deletes what a filter finds; number of rows found, and when the last ones were deleted.
    async fn delete_found(
        &self,
        target: &Readable,
        partition: Option<PartitionId>,
        plan: Arc<Plan>,
    ) -> Result<(usize, Timestamp), Error> {
        let names: Vec<String> = partition
            .and_then(|id| target.record.partition_by_id(id))
            .map(|partition| partition.name.clone())
            .into_iter()
            .collect();
        let request = Arc::new(RetrieveRequest {
            collection: target.record.id,
            schema_version: target.record.schema.version,
            partitions: target.loaded_partitions(&names)?,
            filter: Some(plan),
            output: Vec::new(),
            limit: None,
            consistency: Consistency::Strong,
            ignore_growing: false,
            expired_before: expired_before(&target.record, self.parts.clock.now()),
        });
        let shards = target.record.shard_ids();
        let deletes =
            shards.map(|shard| self.delete_found_in(&target.record, shard, partition, request.clone()));
        let deleted = try_join_all(deletes).await?;
        let count = deleted.iter().map(|(count, _)| count).sum();
        Ok((count, deleted.into_iter().map(|(_, timestamp)| timestamp).max().unwrap_or_default()))
    }

    async fn delete_found_in(
        &self,
        collection: &CollectionRecord,
        shard: ShardId,
        partition: Option<PartitionId>,
        request: Arc<RetrieveRequest>,
    ) -> Result<(usize, Timestamp), Error> {
        let found = self.retrieve_shard(shard, request).await?;
        let keys: PrimaryKeys = found.part.ids;
        if keys.is_empty() {
            return Ok((0, found.read_timestamp));
        }
        let count = keys.len();
        let mut timestamp = found.read_timestamp;
        for keys in chunks(&keys, CHUNK_BYTES) {
            timestamp = self.write(collection, [(shard, WriteOp::Delete { partition, keys })]).await?;
        }
        Ok((count, timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_deleted_in_chunks() {
        let ints = PrimaryKeys::Int64((0..10).collect());
        let lengths: Vec<_> = chunks(&ints, 32).map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [4, 4, 2]);
        let texts = PrimaryKeys::VarChar(["a", "bb", "ccc"].into_iter().collect());
        let chunked: Vec<_> = chunks(&texts, 10).collect();
        let text = |texts: &[&str]| PrimaryKeys::VarChar(texts.iter().collect());
        assert_eq!(chunked, [text(&["a", "bb"]), text(&["ccc"])]);
        assert_eq!(chunks(&PrimaryKeys::Int64(Vec::new()), 32).count(), 0);
    }
}
