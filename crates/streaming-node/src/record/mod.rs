//! What does a shard's log say? The versioned format of its records.
//!
//! ```text
//! byte  0       format version (2)
//! byte  1       kind: 1 insert, 2 upsert, 3 delete
//! bytes 2..8    zero
//! bytes 8..16   timestamp
//! bytes 16..40  id of the write: proxy, sequence, settled below (not in version 1)
//! then          insert, upsert: u32 parts, each: i64 partition, batch
//!               delete: u8 whether one partition is meant, i64 that partition, keys
//! ```
//!
//! Numbers are little-endian; columns are raw arrays ([`columns`]), so that writing a batch is a few
//! large copies. Callers encode before they queue a write; the shard's one writer only adds the
//! timestamp.

mod columns;

#[cfg(test)]
mod tests;

use redkite_service::{WriteId, WriteOp};
use redkite_types::{PartitionId, ProxyRun, Timestamp};

use columns::{Reader, Writer};

const VERSION: u8 = 2;
/// Its records do not say which write they are.
const WITHOUT_ID: u8 = 1;
const TIMESTAMP: std::ops::Range<usize> = 8..16;

const INSERT: u8 = 1;
const UPSERT: u8 = 2;
const DELETE: u8 = 3;

/// A record that does not parse. The log's checksums hold, so it was written by other code.
#[derive(Debug, thiserror::Error)]
#[error("log record does not parse at byte {offset}: {problem}")]
pub struct RecordError {
    /// Where in the record.
    pub offset: usize,
    /// What is wrong there.
    pub problem: String,
}

/// A write as it goes to the log.
#[derive(Debug)]
pub(crate) struct EncodedWrite(Vec<u8>);

impl EncodedWrite {
    /// Encodes a write that has no timestamp yet.
    #[must_use]
    pub(crate) fn new(id: WriteId, op: &WriteOp) -> Self {
        let kind = match op {
            WriteOp::Insert(_) => INSERT,
            WriteOp::Upsert(_) => UPSERT,
            WriteOp::Delete { .. } => DELETE,
        };
        let mut writer = Writer::with_capacity(96 + size_hint(op));
        writer.bytes(&[VERSION, kind, 0, 0, 0, 0, 0, 0]);
        writer.u64(0);
        writer.u64(id.proxy.0);
        writer.u64(id.sequence);
        writer.u64(id.settled_below);
        match op {
            WriteOp::Insert(parts) | WriteOp::Upsert(parts) => {
                writer.count(parts.len());
                for (partition, batch) in parts {
                    writer.i64(partition.0);
                    writer.batch(batch);
                }
            }
            WriteOp::Delete { partition, keys } => {
                writer.u8(u8::from(partition.is_some()));
                writer.i64(partition.unwrap_or_default().0);
                writer.keys(keys);
            }
        }
        Self(writer.finish())
    }

    /// Size of the record.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The finished record.
    #[must_use]
    pub(crate) fn stamped(mut self, timestamp: Timestamp) -> Vec<u8> {
        self.0[TIMESTAMP].copy_from_slice(&timestamp.0.to_le_bytes());
        self.0
    }
}

fn size_hint(op: &WriteOp) -> usize {
    match op {
        WriteOp::Insert(parts) | WriteOp::Upsert(parts) => {
            parts.iter().map(|(_, batch)| batch.memory_bytes() + 64 + 48 * batch.columns.len()).sum()
        }
        WriteOp::Delete { keys, .. } => keys.len() * 16,
    }
}

/// A record read back.
#[derive(Debug, PartialEq)]
pub(crate) struct DecodedWrite {
    pub(crate) timestamp: Timestamp,
    /// Records of version 1 have none.
    pub(crate) id: Option<WriteId>,
    pub(crate) op: WriteOp,
}

/// Reads a record back.
///
/// # Errors
/// If it is of an unknown version or damaged.
pub(crate) fn decode(record: &[u8]) -> Result<DecodedWrite, RecordError> {
    let mut reader = Reader::new(record);
    let version = reader.u8()?;
    if !matches!(version, WITHOUT_ID | VERSION) {
        return Err(reader.problem(format!("format version {version}, this build reads up to {VERSION}")));
    }
    let kind = reader.u8()?;
    reader.take(TIMESTAMP.start - 2)?;
    let timestamp = Timestamp(reader.u64()?);
    let id = (version != WITHOUT_ID).then(|| id(&mut reader)).transpose()?;
    let op = match kind {
        INSERT => WriteOp::Insert(parts(&mut reader)?),
        UPSERT => WriteOp::Upsert(parts(&mut reader)?),
        DELETE => {
            let limited = reader.u8()? != 0;
            let partition = PartitionId(reader.i64()?);
            WriteOp::Delete { partition: limited.then_some(partition), keys: reader.keys()? }
        }
        other => return Err(reader.problem(format!("unknown kind {other}"))),
    };
    reader.end()?;
    Ok(DecodedWrite { timestamp, id, op })
}

fn id(reader: &mut Reader<'_>) -> Result<WriteId, RecordError> {
    let proxy = ProxyRun(reader.u64()?);
    Ok(WriteId { proxy, sequence: reader.u64()?, settled_below: reader.u64()? })
}

fn parts(reader: &mut Reader<'_>) -> Result<Vec<(PartitionId, redkite_types::Batch)>, RecordError> {
    let count = reader.count()?;
    (0..count).map(|_| Ok((PartitionId(reader.i64()?), reader.batch()?))).collect()
}
