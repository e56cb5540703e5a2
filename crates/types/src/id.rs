//! Newtypes for every identifier: swapping two arguments must not compile.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(/// A database.
    DatabaseId(i64));
id!(/// A collection; never reused, also not after a drop.
    CollectionId(i64));
id!(/// A partition of a collection; unique over all collections.
    PartitionId(i64));
id!(/// A field of a schema. User fields start at [`FieldId::FIRST_USER`].
    FieldId(i64));
id!(/// An index definition on one field of a collection.
    IndexId(i64));
id!(/// A segment: growing rows under this id become one immutable file set under the same id.
    SegmentId(i64));
id!(/// A process (or, in standalone, the one process) that holds shards or segments.
    NodeId(i64));
id!(/// A background task of the data coordinator.
    TaskId(i64));
id!(/// One run of a proxy: drawn at random when it starts, so that no two ever number the same writes.
    ProxyRun(u64));
id!(/// One whole copy of what is loaded of a collection; never reused, also not by other collections.
    ReplicaId(i64));
id!(/// Which leadership of a shard or coordinator wrote something; higher fences lower.
    Epoch(u64));
id!(/// Position of a record in a shard's log; dense from 1, 0 means "before the first record".
    Lsn(u64));
id!(/// Revision of the metastore; every committed transaction has its own.
    Revision(i64));

impl FieldId {
    /// Milvus: the hidden `RowID` system field.
    pub const ROW_ID: Self = Self(0);
    /// Milvus: the hidden `Timestamp` system field, one insert timestamp per row.
    pub const TIMESTAMP: Self = Self(1);
    /// Id of the first field a user declares.
    pub const FIRST_USER: Self = Self(100);
}

impl Lsn {
    /// The next position.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One shard of a collection: a log with one writer.
///
/// Milvus: virtual channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// The collection the shard belongs to.
    pub collection: CollectionId,
    /// Position among the collection's shards, from 0.
    pub ordinal: u16,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.collection, self.ordinal)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardId({self})")
    }
}

/// The text is not `<collection>-<ordinal>`.
#[derive(Debug, thiserror::Error)]
#[error("shard id {0:?} is not <collection>-<ordinal>")]
pub struct ParseShardIdError(String);

impl FromStr for ShardId {
    type Err = ParseShardIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseShardIdError(text.to_owned());
        let (collection, ordinal) = text.rsplit_once('-').ok_or_else(error)?;
        Ok(Self {
            collection: collection.parse().map_err(|_| error())?,
            ordinal: ordinal.parse().map_err(|_| error())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_id_round_trips_through_text() {
        let shard = ShardId { collection: CollectionId(449_300_000_000_000_001), ordinal: 3 };
        assert_eq!(shard.to_string().parse::<ShardId>().unwrap(), shard);
        assert!("12".parse::<ShardId>().is_err());
    }
}
