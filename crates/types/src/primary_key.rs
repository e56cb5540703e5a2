//! Primary keys, single and in columns.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::column::VarColumn;
use crate::{ColumnData, DataType, DataView, bulk};

/// One primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PrimaryKey {
    /// Of an Int64 field.
    Int64(i64),
    /// Of a VarChar field.
    VarChar(String),
}

/// One primary key, borrowed. Keys of one collection all have the same variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrimaryKeyRef<'a> {
    /// Of an Int64 field.
    Int64(i64),
    /// Of a VarChar field.
    VarChar(&'a str),
}

impl PrimaryKeyRef<'_> {
    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> PrimaryKey {
        match self {
            Self::Int64(key) => PrimaryKey::Int64(key),
            Self::VarChar(key) => PrimaryKey::VarChar(key.to_owned()),
        }
    }

    /// A hash that is the same in every process and release: it decides the shard of a row.
    ///
    /// Source: FNV-1a (64 bit) over the key's bytes, finished with the 64-bit mixer of MurmurHash3.
    #[must_use]
    pub fn stable_hash(self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut feed = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        match self {
            Self::Int64(key) => feed(&key.to_le_bytes()),
            Self::VarChar(key) => feed(key.as_bytes()),
        }
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash
    }

    /// The shard, of `shards`, that rows with this key belong to.
    #[must_use]
    pub fn shard(self, shards: u16) -> u16 {
        u16::try_from(self.stable_hash() % u64::from(shards.max(1))).expect("remainder of a u16")
    }
}

impl PrimaryKey {
    /// A borrowed copy.
    #[must_use]
    pub fn as_ref(&self) -> PrimaryKeyRef<'_> {
        match self {
            Self::Int64(key) => PrimaryKeyRef::Int64(*key),
            Self::VarChar(key) => PrimaryKeyRef::VarChar(key),
        }
    }
}

impl fmt::Display for PrimaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int64(key) => fmt::Display::fmt(key, f),
            Self::VarChar(key) => f.write_str(key),
        }
    }
}

/// A column of primary keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PrimaryKeys {
    /// Of an Int64 field.
    Int64(#[serde(with = "bulk")] Vec<i64>),
    /// Of a VarChar field.
    VarChar(VarColumn),
}

impl PrimaryKeys {
    /// No keys of this field type (Int64 or VarChar; any other type counts as VarChar).
    #[must_use]
    pub fn empty(data_type: DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Int64(Vec::new()),
            _ => Self::VarChar(VarColumn::new()),
        }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Int64(keys) => keys.len(),
            Self::VarChar(keys) => keys.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Int64(keys) => keys.len() * 8,
            Self::VarChar(keys) => keys.memory_bytes(),
        }
    }

    /// The key at a position.
    #[must_use]
    pub fn get(&self, position: usize) -> PrimaryKeyRef<'_> {
        match self {
            Self::Int64(keys) => PrimaryKeyRef::Int64(keys[position]),
            Self::VarChar(keys) => PrimaryKeyRef::VarChar(keys.str(position)),
        }
    }

    /// Appends a key of the column's own type.
    ///
    /// # Panics
    /// If the key is of the other type.
    pub fn push(&mut self, key: PrimaryKeyRef<'_>) {
        match (self, key) {
            (Self::Int64(keys), PrimaryKeyRef::Int64(key)) => keys.push(key),
            (Self::VarChar(keys), PrimaryKeyRef::VarChar(key)) => keys.push(key.as_bytes()),
            _ => panic!("primary key of another type"),
        }
    }

    /// The keys in order.
    pub fn iter(&self) -> impl Iterator<Item = PrimaryKeyRef<'_>> {
        (0..self.len()).map(|position| self.get(position))
    }

    /// The keys held by a primary key column; `None` if it is neither Int64 nor VarChar.
    #[must_use]
    pub fn from_column(data: &ColumnData) -> Option<Self> {
        match data {
            ColumnData::Int64(keys) => Some(Self::Int64(keys.clone())),
            ColumnData::VarChar(keys) => Some(Self::VarChar(keys.clone())),
            _ => None,
        }
    }
}

impl<'a> DataView<'a> {
    /// The primary key in a row of a primary key column.
    ///
    /// # Panics
    /// If the column is neither Int64 nor VarChar.
    #[must_use]
    pub fn primary_key(&self, row: usize) -> PrimaryKeyRef<'a> {
        match self {
            DataView::Int64(keys) => PrimaryKeyRef::Int64(keys[row]),
            DataView::VarChar(keys) => PrimaryKeyRef::VarChar(keys.str(row)),
            other => panic!("{} is no primary key type", other.data_type()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_never_changes() {
        // Rows live in the shard this hash chose when they were written.
        assert_eq!(PrimaryKeyRef::Int64(1).stable_hash(), 16_245_046_547_314_724_497);
        assert_eq!(PrimaryKeyRef::VarChar("redkite").stable_hash(), 14_219_673_052_486_827_875);
    }
}
