//! Which objects are a shard's log?
//!
//! ```text
//! wal/<shard>/<epoch>-<writer>/<sequence>   a slot: records, or the fence that ends its term
//! wal/<shard>/start/<lsn>                   where the log begins since its last truncation
//! ```
//!
//! Numbers are padded with zeros so that a listing is in their order; the writer is hexadecimal.

use std::fmt;
use std::str::FromStr;

use redkite_types::{Epoch, Lsn, ShardId};

use crate::Error;

/// Prefix of the logs of all shards.
pub const LOGS: &str = "wal/";

/// The name of an object of a log, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogPath {
    /// A place that one object takes, once and for all.
    Slot {
        /// Whose log it is.
        shard: ShardId,
        /// Under which epoch the log was opened.
        epoch: Epoch,
        /// By whom: a number that every opening draws.
        writer: u64,
        /// Which place among those of this opening, from 0.
        sequence: u64,
    },
    /// Where the log begins.
    Start {
        /// Whose log it is.
        shard: ShardId,
        /// The first record kept.
        first: Lsn,
    },
}

impl LogPath {
    /// Whose log it is.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Slot { shard, .. } | Self::Start { shard, .. } => *shard,
        }
    }
}

/// Prefix of all objects of a shard's log.
#[must_use]
pub fn log_of(shard: ShardId) -> String {
    format!("{LOGS}{shard}/")
}

/// Whose log is in a folder of [`LOGS`].
#[must_use]
pub fn shard_of(folder: &str) -> Option<ShardId> {
    folder.strip_prefix(LOGS)?.strip_suffix('/')?.parse().ok()
}

/// Prefix of the objects that say where a shard's log begins.
#[must_use]
pub fn starts_of(shard: ShardId) -> String {
    format!("{LOGS}{shard}/start/")
}

impl fmt::Display for LogPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot { shard, epoch, writer, sequence } => {
                write!(f, "{LOGS}{shard}/{:020}-{writer:016x}/{sequence:020}", epoch.0)
            }
            Self::Start { shard, first } => write!(f, "{LOGS}{shard}/start/{:020}", first.0),
        }
    }
}

impl FromStr for LogPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        parse(path)
            .filter(|parsed| parsed.to_string() == path)
            .ok_or_else(|| Error::InvalidPath { path: path.to_owned(), reason: "not an object of a log" })
    }
}

fn parse(path: &str) -> Option<LogPath> {
    let mut parts = path.strip_prefix(LOGS)?.split('/');
    let (shard, room, number) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?.parse().ok()?);
    if parts.next().is_some() {
        return None;
    }
    if room == "start" {
        return Some(LogPath::Start { shard, first: Lsn(number) });
    }
    let (epoch, writer) = room.split_once('-')?;
    let writer = u64::from_str_radix(writer, 16).ok()?;
    Some(LogPath::Slot { shard, epoch: epoch.parse().ok()?, writer, sequence: number })
}

#[cfg(test)]
mod tests {
    use redkite_types::CollectionId;

    use super::*;

    #[test]
    fn names_round_trip() {
        let shard = ShardId { collection: CollectionId(7), ordinal: 2 };
        for (path, name) in [
            (
                LogPath::Slot { shard, epoch: Epoch(12), writer: 0xab, sequence: 3 },
                "wal/7-2/00000000000000000012-00000000000000ab/00000000000000000003",
            ),
            (LogPath::Start { shard, first: Lsn(81) }, "wal/7-2/start/00000000000000000081"),
        ] {
            assert_eq!(path.to_string(), name);
            assert_eq!(name.parse::<LogPath>().unwrap(), path);
            assert!(name.starts_with(&log_of(shard)));
        }
        assert!("wal/7-2/start/00000000000000000081".starts_with(&starts_of(shard)));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "wal/7-2/start/81",
            "wal/7-2/start",
            "wal/7/start/00000000000000000081",
            "wal/7-2/00000000000000000012-00000000000000AB/00000000000000000003",
            "wal/7-2/00000000000000000012-00000000000000ab/3",
            "wal/7-2/00000000000000000012/00000000000000000003",
            "deltas/7-2/1-2.rkd",
        ] {
            assert!(name.parse::<LogPath>().is_err(), "{name}");
        }
    }
}
