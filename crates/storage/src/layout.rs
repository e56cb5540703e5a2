//! Which object holds what? Names of objects, and back.
//!
//! ```text
//! segments/<collection>/<segment>/data.rks              rows, sorted by (primary key, timestamp)
//! segments/<collection>/<segment>/deletes-<through>.rkd  which of them are deleted, and when
//! indexes/<collection>/<segment>/<index>-<build>.rki     an index over one of its columns
//! deltas/<shard>/<from>-<through>.rkd                    deletes of a stretch of a shard's log
//! wal/<shard>/…                                          the log itself: see [`log`]
//! ```

pub mod log;

use std::fmt;
use std::str::FromStr;

use redkite_types::{CollectionId, IndexId, Lsn, SegmentId, ShardId, TaskId, Timestamp};

use crate::Error;

/// The name of an object, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectPath {
    /// Rows of a segment ([`crate::format::SegmentFile`]).
    SegmentData {
        /// Collection of the segment.
        collection: CollectionId,
        /// The segment.
        segment: SegmentId,
    },
    /// Deleted rows of a segment ([`crate::format::RowDeletes`]).
    SegmentDeletes {
        /// Collection of the segment.
        collection: CollectionId,
        /// The segment.
        segment: SegmentId,
        /// Every delete up to here is in it.
        through: Timestamp,
    },
    /// An index over a column of a segment.
    Index {
        /// Collection of the segment.
        collection: CollectionId,
        /// The segment.
        segment: SegmentId,
        /// The definition.
        index: IndexId,
        /// The task that built it: a second try never writes the object of the first.
        build: TaskId,
    },
    /// Deletes of a stretch of a shard's log ([`crate::format::KeyDeletes`]).
    Delta {
        /// The shard.
        shard: ShardId,
        /// First log position.
        from: Lsn,
        /// Last log position.
        through: Lsn,
        /// Makes the name new: a flush that is repeated after a crash never writes the object of the first.
        id: i64,
    },
}

impl ObjectPath {
    /// The collection the object belongs to: when it is gone, so is the object.
    #[must_use]
    pub fn collection(&self) -> CollectionId {
        match self {
            Self::SegmentData { collection, .. }
            | Self::SegmentDeletes { collection, .. }
            | Self::Index { collection, .. } => *collection,
            Self::Delta { shard, .. } => shard.collection,
        }
    }

    /// The segment the object belongs to; deltas belong to a shard instead.
    #[must_use]
    pub fn segment(&self) -> Option<SegmentId> {
        match self {
            Self::SegmentData { segment, .. }
            | Self::SegmentDeletes { segment, .. }
            | Self::Index { segment, .. } => Some(*segment),
            Self::Delta { .. } => None,
        }
    }
}

/// Prefix of all data and delete files of a collection.
#[must_use]
pub fn segments_of(collection: CollectionId) -> String {
    format!("segments/{collection}/")
}

/// Prefix of all index files of a collection.
#[must_use]
pub fn indexes_of(collection: CollectionId) -> String {
    format!("indexes/{collection}/")
}

/// Prefix of all delta files of a shard.
#[must_use]
pub fn deltas_of(shard: ShardId) -> String {
    format!("deltas/{shard}/")
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentData { collection, segment } => {
                write!(f, "segments/{collection}/{segment}/data.rks")
            }
            Self::SegmentDeletes { collection, segment, through } => {
                write!(f, "segments/{collection}/{segment}/deletes-{through}.rkd")
            }
            Self::Index { collection, segment, index, build } => {
                write!(f, "indexes/{collection}/{segment}/{index}-{build}.rki")
            }
            Self::Delta { shard, from, through, id } => {
                write!(f, "deltas/{shard}/{from}-{through}-{id}.rkd")
            }
        }
    }
}

impl FromStr for ObjectPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        parse(path)
            // Only the spelling that is written counts: `01` or `+1` name other objects.
            .filter(|parsed| parsed.to_string() == path)
            .ok_or_else(|| Error::InvalidPath { path: path.to_owned(), reason: "not a name of the layout" })
    }
}

fn parse(path: &str) -> Option<ObjectPath> {
    let mut parts = path.split('/');
    let (room, owner) = (parts.next()?, parts.next()?);
    let (middle, last) = (parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    match (room, last) {
        ("segments", Some("data.rks")) => {
            Some(ObjectPath::SegmentData { collection: owner.parse().ok()?, segment: middle.parse().ok()? })
        }
        ("segments", Some(file)) => Some(ObjectPath::SegmentDeletes {
            collection: owner.parse().ok()?,
            segment: middle.parse().ok()?,
            through: Timestamp(file.strip_prefix("deletes-")?.strip_suffix(".rkd")?.parse().ok()?),
        }),
        ("indexes", Some(file)) => {
            let (index, build) = file.strip_suffix(".rki")?.split_once('-')?;
            Some(ObjectPath::Index {
                collection: owner.parse().ok()?,
                segment: middle.parse().ok()?,
                index: index.parse().ok()?,
                build: build.parse().ok()?,
            })
        }
        ("deltas", None) => {
            let (from, rest) = middle.strip_suffix(".rkd")?.split_once('-')?;
            let (through, id) = rest.split_once('-')?;
            Some(ObjectPath::Delta {
                shard: owner.parse().ok()?,
                from: from.parse().ok()?,
                through: through.parse().ok()?,
                id: id.parse().ok()?,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let (collection, segment) = (CollectionId(7), SegmentId(449));
        let shard = ShardId { collection, ordinal: 2 };
        for (path, name) in [
            (ObjectPath::SegmentData { collection, segment }, "segments/7/449/data.rks"),
            (
                ObjectPath::SegmentDeletes { collection, segment, through: Timestamp(99) },
                "segments/7/449/deletes-99.rkd",
            ),
            (
                ObjectPath::Index { collection, segment, index: IndexId(3), build: TaskId(12) },
                "indexes/7/449/3-12.rki",
            ),
            (ObjectPath::Delta { shard, from: Lsn(1), through: Lsn(80), id: 5 }, "deltas/7-2/1-80-5.rkd"),
        ] {
            assert_eq!(path.to_string(), name);
            assert_eq!(name.parse::<ObjectPath>().unwrap(), path);
            assert_eq!(path.collection(), collection);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "segments/7/449",
            "segments/7/449/data.rks/x",
            "segments/07/449/data.rks",
            "segments/7/x/data.rks",
            "segments/7/449/deletes-.rkd",
            "indexes/7/449/3.rki",
            "deltas/7/1-2.rkd",
            "deltas/7-0/1-2",
            "other/1/2/data.rks",
        ] {
            assert!(name.parse::<ObjectPath>().is_err(), "{name}");
        }
    }
}
