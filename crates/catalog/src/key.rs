//! How records are found: typed keys and their text.

use redkite_types::{CollectionId, DatabaseId, NodeId, ReplicaId, SegmentId, ShardId, TaskId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    BalanceRecord, CollectionRecord, CopyKey, DatabaseRecord, DrainRecord, DroppedRecord, HeldRecord,
    HoldRecord, IndexesRecord, LoadRecord, MoveRecord, MovedRecord, NameRecord, ReplicasRecord,
    ResourceGroupRecord, SegmentRecord, ServingView, ShardAssignment, ShardCheckpoint, ShardStatus,
    StayRecord, TaskRecord, TaskResult,
};

/// The identity of a record within its table, as text without the table's prefix.
pub trait Key: Clone + Ord + std::fmt::Debug + Send + Sync + 'static {
    /// The text.
    fn encode(&self) -> String;
    /// The key with this text.
    fn decode(text: &str) -> Option<Self>;
}

macro_rules! plain_keys {
    ($($name:ty),*) => { $(
        impl Key for $name {
            fn encode(&self) -> String {
                self.to_string()
            }
            fn decode(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )* };
}

plain_keys!(CollectionId, DatabaseId, NodeId, ReplicaId, SegmentId, ShardId, TaskId, String);

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self) -> String {
        format!("{}/{}", self.0.encode(), self.1.encode())
    }

    fn decode(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('/')?;
        Some((A::decode(first)?, B::decode(second)?))
    }
}

/// A type of record: where it is kept and how it is written.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its identity.
    type Key: Key;
    /// The table's prefix, ending in `/`.
    const PREFIX: &'static str;

    /// The full key of a record.
    fn key(key: &Self::Key) -> String {
        format!("{}{}", Self::PREFIX, key.encode())
    }

    /// The value as it is stored.
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("records are plain data with text keys")
    }

    /// The stored value as a record.
    ///
    /// # Errors
    /// If the value is not a record of this type.
    fn decode(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

macro_rules! records {
    ($($record:ty, $key:ty, $prefix:literal;)*) => { $(
        impl Record for $record {
            type Key = $key;
            const PREFIX: &'static str = $prefix;
        }
    )* };
}

records! {
    DatabaseRecord, DatabaseId, "db/";
    NameRecord, (DatabaseId, String), "name/";
    CollectionRecord, CollectionId, "collection/";
    DroppedRecord, CollectionId, "dropped/";
    IndexesRecord, CollectionId, "index/";
    ShardAssignment, ShardId, "shard/";
    ShardStatus, ShardId, "shard-status/";
    ShardCheckpoint, ShardId, "checkpoint/";
    SegmentRecord, (CollectionId, SegmentId), "segment/";
    TaskRecord, TaskId, "task/";
    TaskResult, TaskId, "task-result/";
    LoadRecord, CollectionId, "load/";
    HoldRecord, (NodeId, CollectionId), "hold/";
    HeldRecord, (NodeId, CollectionId), "held/";
    ServingView, (ShardId, ReplicaId), "view/";
    ReplicasRecord, CollectionId, "replica/";
    ResourceGroupRecord, String, "resource-group/";
    MoveRecord, CopyKey, "move/";
    StayRecord, CopyKey, "stay/";
    MovedRecord, String, "moved/";
    DrainRecord, NodeId, "drain/";
    BalanceRecord, String, "balance/";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        let key = (CollectionId(7), SegmentId(9));
        assert_eq!(SegmentRecord::key(&key), "segment/7/9");
        assert_eq!(<(CollectionId, SegmentId)>::decode("7/9"), Some(key));
        let name = (DatabaseId(1), "a/b".to_owned());
        assert_eq!(<(DatabaseId, String)>::decode(&name.encode()), Some(name));
    }
}
