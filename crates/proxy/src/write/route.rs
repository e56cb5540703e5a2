//! Which shard gets which row?

use std::collections::BTreeMap;

use futures::future::{BoxFuture, try_join_all};
use redkite_catalog::CollectionRecord;
use redkite_service::{Error, Shard, WriteAck, WriteOp, WriteRequest};
use redkite_types::{Batch, FieldId, PartitionId, PrimaryKeys, ShardId, Timestamp};

use crate::collection::written_partition;
use crate::leader::{ShardCall, of_writes};
use crate::read::partition_key::partition_of;
use crate::write::number::Numbered;
use crate::{Proxy, refuse};

/// Which partition rows go to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Placement {
    /// All to this one.
    Partition(PartitionId),
    /// Each by the value of this field.
    ByKey(FieldId),
}

impl Placement {
    /// Where rows of a write go that names this partition, or none.
    pub(crate) fn of(collection: &CollectionRecord, partition: &str) -> Result<Self, Error> {
        match collection.schema.partition_key() {
            None => Ok(Self::Partition(written_partition(collection, partition)?)),
            Some(_) if !partition.is_empty() => Err(refuse::named_partition()),
            Some(key) => Ok(Self::ByKey(key.id)),
        }
    }

    /// The one partition that is written; `None` if rows of one key may be in any.
    pub(crate) fn partition(self) -> Option<PartitionId> {
        match self {
            Self::Partition(partition) => Some(partition),
            Self::ByKey(_) => None,
        }
    }

    fn split(self, collection: &CollectionRecord, batch: Batch) -> Vec<(PartitionId, Batch)> {
        let field = match self {
            Self::Partition(partition) => return vec![(partition, batch)],
            Self::ByKey(field) => field,
        };
        let values = batch.column(field).expect("a batch holds every stored field").data.view();
        let mut rows: BTreeMap<PartitionId, Vec<usize>> = BTreeMap::new();
        for row in 0..batch.rows {
            rows.entry(partition_of(collection, values.primary_key(row))).or_default().push(row);
        }
        rows.into_iter().map(|(partition, rows)| (partition, batch.take(&rows))).collect()
    }
}

/// Rows by shard, then by partition.
pub(crate) type Routed = Vec<(ShardId, Vec<(PartitionId, Batch)>)>;

/// The rows of each shard that gets any, by partition. What goes to one place is passed on as it is.
pub(crate) fn split_batch(collection: &CollectionRecord, batch: Batch, placement: Placement) -> Routed {
    if collection.shards == 1 {
        let shard = ShardId { collection: collection.id, ordinal: 0 };
        return vec![(shard, placement.split(collection, batch))];
    }
    let key = collection.schema.primary_key().id;
    let view = batch.column(key).expect("a batch holds every stored field").data.view();
    let ordinals = (0..batch.rows).map(|row| view.primary_key(row).shard(collection.shards));
    positions(collection, ordinals)
        .map(|(shard, rows)| (shard, placement.split(collection, batch.take(&rows))))
        .collect()
}

/// The keys of each shard that has any.
pub(crate) fn split_keys(collection: &CollectionRecord, keys: PrimaryKeys) -> Vec<(ShardId, PrimaryKeys)> {
    if collection.shards == 1 {
        let shard = ShardId { collection: collection.id, ordinal: 0 };
        return vec![(shard, keys)];
    }
    let take = |rows: Vec<usize>| match &keys {
        PrimaryKeys::Int64(keys) => PrimaryKeys::Int64(rows.into_iter().map(|row| keys[row]).collect()),
        PrimaryKeys::VarChar(keys) => {
            PrimaryKeys::VarChar(rows.into_iter().map(|row| keys.get(row)).collect())
        }
    };
    let ordinals = keys.iter().map(|key| key.shard(collection.shards));
    positions(collection, ordinals).map(|(shard, rows)| (shard, take(rows))).collect()
}

/// The positions of each shard, from the shard of each position; shards without any are left out.
fn positions(
    collection: &CollectionRecord,
    ordinals: impl Iterator<Item = u16>,
) -> impl Iterator<Item = (ShardId, Vec<usize>)> {
    let mut rows = vec![Vec::new(); collection.shards.into()];
    ordinals.enumerate().for_each(|(row, ordinal)| rows[usize::from(ordinal)].push(row));
    collection.shard_ids().zip(rows).filter(|(_, rows)| !rows.is_empty())
}

struct Write {
    numbered: Numbered,
    shard: ShardId,
    schema_version: u32,
    op: WriteOp,
}

impl ShardCall for Write {
    type Answer = WriteAck;

    fn call<'a>(&'a self, _: ShardId, leader: &'a dyn Shard) -> BoxFuture<'a, Result<WriteAck, Error>> {
        leader.write(WriteRequest {
            shard: self.shard,
            id: self.numbered.id(),
            schema_version: self.schema_version,
            // A copy is a small part of what a write costs, and a leader that moves costs no client an error.
            op: self.op.clone(),
        })
    }

    fn is_repeated(&self, error: &Error) -> bool {
        of_writes(error)
    }
}

impl Proxy {
    /// Writes to several shards at once; the latest timestamp. Each write is atomic, all together are not.
    pub(crate) async fn write(
        &self,
        collection: &CollectionRecord,
        writes: impl IntoIterator<Item = (ShardId, WriteOp)>,
    ) -> Result<Timestamp, Error> {
        let write = |(shard, op)| self.write_shard(shard, collection.schema.version, op);
        let written = try_join_all(writes.into_iter().map(write)).await?;
        Ok(written.into_iter().max().unwrap_or_default())
    }

    async fn write_shard(
        &self,
        shard: ShardId,
        schema_version: u32,
        op: WriteOp,
    ) -> Result<Timestamp, Error> {
        let numbered = self.numbers.number(shard, |shard| self.has_collection_of(shard)).await;
        let ack = self.ask_leader(shard, &Write { numbered, shard, schema_version, op }).await?;
        self.parts.clock.observe(ack.timestamp);
        Ok(ack.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use redkite_catalog::PartitionRecord;
    use redkite_types::{Column, ColumnData, DataType, FieldSchema};

    use super::*;
    use crate::testing;

    const PARTITION: Placement = Placement::Partition(PartitionId(70));

    fn collection(shards: u16) -> CollectionRecord {
        let key = FieldSchema { primary_key: true, ..testing::field("id", DataType::Int64) };
        let tenant = FieldSchema { partition_key: true, ..testing::field("tenant", DataType::Int64) };
        CollectionRecord { shards, ..testing::with_fields([key, tenant]) }
    }

    fn batch() -> Batch {
        Batch::new(vec![
            Column::new(FieldId(100), ColumnData::Int64((0..100).collect())),
            Column::new(FieldId(101), ColumnData::Int64((0..100).map(|key| key % 7).collect())),
        ])
    }

    #[test]
    fn rows_and_keys_go_to_the_same_shards() {
        let collection = collection(3);
        let rows = split_batch(&collection, batch(), PARTITION);
        let keys = split_keys(&collection, PrimaryKeys::Int64((0..100).collect()));
        assert_eq!(rows.len(), 3);
        for ((shard, batches), (key_shard, keys)) in rows.iter().zip(&keys) {
            assert_eq!(shard, key_shard);
            assert_eq!(batches.len(), 1);
            assert_eq!(batches[0].1.primary_keys(FieldId(100)).as_ref(), Some(keys));
            assert!(keys.iter().all(|key| key.shard(3) == shard.ordinal));
        }
        assert_eq!(keys.iter().map(|(_, keys)| keys.len()).sum::<usize>(), 100);
    }

    #[test]
    fn one_shard_gets_the_batch_as_it_is() {
        let collection = collection(1);
        let shard = ShardId { collection: collection.id, ordinal: 0 };
        assert_eq!(split_batch(&collection, batch(), PARTITION), [(shard, vec![(PartitionId(70), batch())])]);
    }

    #[test]
    fn a_partition_key_spreads_rows() {
        let mut collection = collection(1);
        collection.partitions = (0..4)
            .map(|n| PartitionRecord {
                id: PartitionId(n),
                name: format!("_default_{n}"),
                created_at: Timestamp::ZERO,
            })
            .collect();
        let routed = split_batch(&collection, batch(), Placement::of(&collection, "").unwrap());
        let batches = &routed[0].1;
        assert_eq!(batches.iter().map(|(_, batch)| batch.rows).sum::<usize>(), 100);
        for (partition, batch) in batches {
            let tenants = batch.column(FieldId(101)).unwrap().data.view();
            assert!(
                (0..batch.rows).all(|row| partition_of(&collection, tenants.primary_key(row)) == *partition)
            );
        }
        let refused = Placement::of(&collection, "p").unwrap_err().to_string();
        assert!(refused.starts_with("not support manually specifying the partition names"));
    }
}
