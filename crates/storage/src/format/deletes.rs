//! Delete files: which keys, or which rows of a segment, are deleted since when?
//!
//! ```text
//! 0   magic "RKDELETE", version u32, kind u32, count u64, bytes of the last block u64
//! 32  timestamps u64 × count
//!     kind 1: partitions i64 × count (−1 for all), Int64 keys i64 × count
//!     kind 2: partitions i64 × count (−1 for all), VarChar keys: offsets u64 × (count + 1), then bytes
//!     kind 3: rows u32 × count
//! end CRC32C u32 of everything before
//! ```
//! Numbers are little-endian. Delete files are small and read whole.

use redkite_types::{DataType, PartitionId, PrimaryKeyRef, PrimaryKeys, Timestamp, VarColumn};

use super::DELETES_VERSION;
use super::footer::corrupt;
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"RKDELETE";
const HEADER: usize = 32;
const INT64_KEYS: u32 = 1;
const VARCHAR_KEYS: u32 = 2;
const ROWS: u32 = 3;
const EVERY_PARTITION: i64 = -1;

/// Deletes by primary key: the rows with this key that are older than the timestamp are gone.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyDeletes {
    /// The keys; ascending in files.
    pub keys: PrimaryKeys,
    /// When each was deleted.
    pub timestamps: Vec<Timestamp>,
    /// In which partition each was deleted; `None` for all.
    pub partitions: Vec<Option<PartitionId>>,
}

/// Deletes by position in one segment.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RowDeletes {
    /// The rows; ascending and without repetitions in files.
    pub rows: Vec<u32>,
    /// Since when each is deleted.
    pub timestamps: Vec<Timestamp>,
}

impl KeyDeletes {
    /// No deletes of keys of a type.
    #[must_use]
    pub fn empty(key_type: DataType) -> Self {
        Self { keys: PrimaryKeys::empty(key_type), timestamps: Vec::new(), partitions: Vec::new() }
    }

    /// Adds a delete.
    ///
    /// # Panics
    /// If the key is of another type.
    pub fn push(&mut self, key: PrimaryKeyRef<'_>, timestamp: Timestamp, partition: Option<PartitionId>) {
        self.keys.push(key);
        self.timestamps.push(timestamp);
        self.partitions.push(partition);
    }

    /// The deletes in order.
    pub fn iter(&self) -> impl Iterator<Item = (PrimaryKeyRef<'_>, Timestamp, Option<PartitionId>)> {
        let rest = self.timestamps.iter().zip(&self.partitions);
        self.keys.iter().zip(rest).map(|(key, (timestamp, partition))| (key, *timestamp, *partition))
    }

    /// Number of deletes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// A delete file's content, sorted by (key, timestamp).
    ///
    /// # Panics
    /// If there is not one timestamp and partition per key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert_eq!(self.keys.len(), self.timestamps.len(), "one timestamp per deleted key");
        assert_eq!(self.keys.len(), self.partitions.len(), "one partition per deleted key");
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        order.sort_by_key(|at| (self.keys.get(*at), self.timestamps[*at], self.partitions[*at]));
        let timestamps = order.iter().map(|at| self.timestamps[*at]);
        let partition = |at: &usize| self.partitions[*at].map_or(EVERY_PARTITION, |partition| partition.0);
        let mut body: Vec<i64> = order.iter().map(partition).collect();
        match &self.keys {
            PrimaryKeys::Int64(keys) => {
                body.extend(order.iter().map(|at| keys[*at]));
                encode(INT64_KEYS, timestamps, bytemuck::cast_slice(&body), &[])
            }
            PrimaryKeys::VarChar(keys) => {
                let keys: VarColumn = order.iter().map(|at| keys.get(*at)).collect();
                let view = keys.view();
                body.extend_from_slice(bytemuck::cast_slice(view.offsets()));
                encode(VARCHAR_KEYS, timestamps, bytemuck::cast_slice(&body), view.bytes())
            }
        }
    }

    /// Reads a delete file's content; `path` is for messages.
    ///
    /// # Errors
    /// If it is damaged, of a later version or another kind.
    pub fn decode(path: &str, bytes: &[u8]) -> Result<Self> {
        let frame = Frame::read(path, bytes)?;
        if ![INT64_KEYS, VARCHAR_KEYS].contains(&frame.kind) {
            return Err(corrupt(path, 12, format!("kind {} is no delete file by key", frame.kind)));
        }
        let (partitions, keys) = frame.body.split_at_checked(frame.count * 8).unwrap_or_default();
        let partitions = frame.numbers(partitions, frame.count, i64::from_le_bytes)?;
        let partition = |id: i64| (id != EVERY_PARTITION).then_some(PartitionId(id));
        let keys = match frame.kind {
            INT64_KEYS => PrimaryKeys::Int64(frame.numbers(keys, frame.count, i64::from_le_bytes)?),
            _ => PrimaryKeys::VarChar(frame.texts(keys)?),
        };
        let partitions = partitions.into_iter().map(partition).collect();
        Ok(Self { keys, timestamps: frame.timestamps, partitions })
    }
}

impl RowDeletes {
    /// Number of deleted rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A delete file's content, sorted by row.
    ///
    /// # Panics
    /// If there is not one timestamp per row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert_eq!(self.rows.len(), self.timestamps.len(), "one timestamp per deleted row");
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|at| (self.rows[*at], self.timestamps[*at]));
        // A row is deleted since its first delete.
        order.dedup_by_key(|at| self.rows[*at]);
        let rows: Vec<u32> = order.iter().map(|at| self.rows[*at]).collect();
        encode(ROWS, order.iter().map(|at| self.timestamps[*at]), bytemuck::cast_slice(&rows), &[])
    }

    /// Reads a delete file's content; `path` is for messages.
    ///
    /// # Errors
    /// If it is damaged, of a later version or another kind.
    pub fn decode(path: &str, bytes: &[u8]) -> Result<Self> {
        let frame = Frame::read(path, bytes)?;
        if frame.kind != ROWS {
            return Err(corrupt(path, 12, format!("kind {} is no delete file by row", frame.kind)));
        }
        let rows = frame.numbers(frame.body, frame.count, u32::from_le_bytes)?;
        Ok(Self { rows, timestamps: frame.timestamps })
    }
}

fn encode(
    kind: u32,
    timestamps: impl ExactSizeIterator<Item = Timestamp>,
    body: &[u8],
    texts: &[u8],
) -> Vec<u8> {
    let count = timestamps.len();
    let mut bytes = Vec::with_capacity(HEADER + count * 8 + body.len() + texts.len() + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&DELETES_VERSION.to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&(count as u64).to_le_bytes());
    bytes.extend_from_slice(&(texts.len() as u64).to_le_bytes());
    timestamps.for_each(|timestamp| bytes.extend_from_slice(&timestamp.0.to_le_bytes()));
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(texts);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// A delete file, checked, with its timestamps read.
struct Frame<'a> {
    path: &'a str,
    kind: u32,
    count: usize,
    text_bytes: usize,
    timestamps: Vec<Timestamp>,
    /// What follows the timestamps.
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    fn read(path: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let size = bytes.len();
        if size < HEADER + 4 || bytes[..8] != MAGIC {
            return Err(corrupt(path, 0, "not a delete file".to_owned()));
        }
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let found = number(8);
        if found == 0 || found > DELETES_VERSION {
            return Err(Error::UnsupportedVersion {
                path: path.to_owned(),
                found,
                supported: DELETES_VERSION,
            });
        }
        if crc32c::crc32c(&bytes[..size - 4]) != number(size - 4) {
            return Err(corrupt(path, size as u64 - 4, "checksum does not match".to_owned()));
        }
        let fits = |value: u64| usize::try_from(value).ok().filter(|value| *value <= size);
        let (Some(count), Some(text_bytes)) = (fits(long(16)), fits(long(24))) else {
            return Err(corrupt(path, 16, "counts exceed the file".to_owned()));
        };
        let mut frame = Self { path, kind: number(12), count, text_bytes, timestamps: Vec::new(), body: &[] };
        let rest = &bytes[HEADER..size - 4];
        let stamps = frame.numbers(rest.get(..count * 8).unwrap_or(rest), count, u64::from_le_bytes)?;
        frame.timestamps = stamps.into_iter().map(Timestamp).collect();
        frame.body = &rest[count * 8..];
        Ok(frame)
    }

    /// `count` numbers that fill `bytes`.
    fn numbers<const N: usize, T>(
        &self,
        bytes: &[u8],
        count: usize,
        read: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let (chunks, rest) = bytes.as_chunks::<N>();
        if chunks.len() != count || !rest.is_empty() {
            let problem = format!("{} bytes for {count} numbers of {N}", bytes.len());
            return Err(corrupt(self.path, HEADER as u64, problem));
        }
        Ok(chunks.iter().map(|chunk| read(*chunk)).collect())
    }

    fn texts(&self, bytes: &[u8]) -> Result<VarColumn> {
        let split = bytes.len().checked_sub(self.text_bytes);
        let Some((ends, texts)) = split.map(|split| bytes.split_at(split)) else {
            return Err(corrupt(self.path, 24, "keys exceed the file".to_owned()));
        };
        let ends = self.numbers(ends, self.count + 1, u64::from_le_bytes)?;
        if ends[0] != 0 || !ends.is_sorted() || ends[self.count] != texts.len() as u64 {
            return Err(corrupt(self.path, HEADER as u64, "bad key offsets".to_owned()));
        }
        let at = |end: u64| usize::try_from(end).expect("inside the file");
        Ok(ends.windows(2).map(|pair| &texts[at(pair[0])..at(pair[1])]).collect())
    }
}
