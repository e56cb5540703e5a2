//! How do the objects' bytes lie?
//!
//! All numbers are little-endian. An object of a slot is a header and, unless it is a fence, frames:
//!
//! ```text
//! header (128 bytes): magic 8 | version u32 | kind u16 (1 records, 2 fence) | ordinal u16 | collection i64
//!                     | epoch u64 | writer u64 | sequence u64 | settled u64 | first lsn u64 | count u64
//!                     | bytes of frames u64 | successor: epoch u64, writer u64
//!                     | zeros 28 | crc32c u32 of the 124 bytes before
//! frame:              crc32c u32 | length u32 | payload (length bytes)
//! start (64 bytes):   magic 8 | version u32 | ordinal u16, zero u16 | collection i64 | first lsn u64
//!                     | epoch u64 | writer u64 | sequence u64 | zero u32 | crc32c u32 of the 60 bytes before
//! ```
//!
//! A frame's CRC covers the payload, then length, position, and the header's CRC. Epoch, writer and sequence
//! are those of the slot: they repeat its name. `settled` is how many slots of the term, from the
//! first on, were known to be filled when the object was made: a hole among them is damage. An
//! object of 128 bytes is a fence, a longer one has records: so a listing tells them apart.

use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use redkite_storage::layout::log::LogPath;
use redkite_types::{CollectionId, Epoch, Lsn, ShardId};

use crate::{Entry, MAX_RECORD_BYTES, Record, WalError};

/// Version of the layouts above.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"RKLOGOBJ";
const START_MAGIC: &[u8; 8] = b"RKLOGBEG";
/// Bytes of an object before its first frame; of a fence, all.
pub(super) const HEADER_BYTES: usize = 128;
const FRAME_BYTES: usize = 8;
const START_BYTES: usize = 64;
const RECORDS: u16 = 1;
const FENCE: u16 = 2;

/// One opening of a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Term {
    pub(super) epoch: Epoch,
    pub(super) writer: u64,
}

impl Term {
    /// Nobody's: its first slot holds the fence that names the first term of a log.
    pub(super) const ROOT: Self = Self { epoch: Epoch(0), writer: 0 };
}

/// A place in a log, filled at most once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot {
    pub(super) term: Term,
    pub(super) sequence: u64,
}

impl Slot {
    pub(super) fn name(self, shard: ShardId) -> String {
        let Self { term: Term { epoch, writer }, sequence } = self;
        LogPath::Slot { shard, epoch, writer, sequence }.to_string()
    }
}

/// Positions of the records of one object, first and last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) first: Lsn,
    pub(super) last: Lsn,
}

/// What an object of a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Records { span: Span, body: u64 },
    Fence { successor: Term },
}

/// What an object of a slot says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) shard: ShardId,
    pub(super) slot: Slot,
    pub(super) settled: u64,
    pub(super) content: Content,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = &mut bytes[..];
        rest.put_slice(MAGIC);
        rest.put_u32_le(VERSION);
        rest.put_u16_le(match self.content {
            Content::Records { .. } => RECORDS,
            Content::Fence { .. } => FENCE,
        });
        rest.put_u16_le(self.shard.ordinal);
        rest.put_i64_le(self.shard.collection.0);
        rest.put_u64_le(self.slot.term.epoch.0);
        rest.put_u64_le(self.slot.term.writer);
        rest.put_u64_le(self.slot.sequence);
        rest.put_u64_le(self.settled);
        match self.content {
            Content::Records { span: Span { first, last }, body } => {
                rest.put_u64_le(first.0);
                rest.put_u64_le(last.0 + 1 - first.0);
                rest.put_u64_le(body);
            }
            Content::Fence { successor } => {
                rest.put_bytes(0, 24);
                rest.put_u64_le(successor.epoch.0);
                rest.put_u64_le(successor.writer);
            }
        }
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the object in `slot`, whose first bytes these are, and checks that it belongs there.
    pub(super) fn decode(shard: ShardId, slot: Slot, bytes: &[u8]) -> Result<Self, WalError> {
        let name = slot.name(shard);
        let file = Path::new(&name);
        let header = checked(file, bytes, HEADER_BYTES, MAGIC)?;
        let content = match u16::from_le_bytes([header[12], header[13]]) {
            RECORDS => {
                let (first, count, body) = (u64_at(header, 56), u64_at(header, 64), u64_at(header, 72));
                if first == 0 || count == 0 || first.checked_add(count).is_none() {
                    return Err(WalError::corrupt(file, 56, format!("{count} records from {first}")));
                }
                Content::Records { span: Span { first: Lsn(first), last: Lsn(first + count - 1) }, body }
            }
            FENCE => Content::Fence {
                successor: Term { epoch: Epoch(u64_at(header, 80)), writer: u64_at(header, 88) },
            },
            kind => return Err(WalError::corrupt(file, 12, format!("unknown kind {kind}"))),
        };
        let term = Term { epoch: Epoch(u64_at(header, 24)), writer: u64_at(header, 32) };
        let found = Self {
            shard: shard_at(header),
            slot: Slot { term, sequence: u64_at(header, 40) },
            settled: u64_at(header, 48),
            content,
        };
        if (found.shard, found.slot) != (shard, slot) {
            let other = found.slot.name(found.shard);
            return Err(WalError::corrupt(file, 16, format!("this is {other}")));
        }
        Ok(found)
    }

    /// The positions of its records.
    pub(super) fn span(&self) -> Result<Span, WalError> {
        match self.content {
            Content::Records { span, .. } => Ok(span),
            Content::Fence { .. } => Err(self.corrupt("a fence where records belong")),
        }
    }

    pub(super) fn corrupt(&self, detail: &str) -> WalError {
        WalError::corrupt(Path::new(&self.slot.name(self.shard)), 12, detail)
    }
}

/// The bytes of a fence.
pub(super) fn fence(shard: ShardId, slot: Slot, settled: u64, successor: Term) -> Bytes {
    let header = Header { shard, slot, settled, content: Content::Fence { successor } };
    Bytes::copy_from_slice(&header.encode())
}

/// A record on its way into an object.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    record: Record,
    length: u32,
    crc: u32,
}

impl Payload {
    pub(super) fn new(record: Record) -> Self {
        let crc = record.parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let length = u32::try_from(record.len()).expect("checked to be no longer than a record may be");
        Self { record, length, crc }
    }

    /// Bytes of its frame.
    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_BYTES + self.length as usize
    }
}

/// The bytes of an object with records.
pub(super) fn records<'a>(
    shard: ShardId,
    slot: Slot,
    settled: u64,
    span: Span,
    payloads: impl Iterator<Item = &'a Payload> + Clone,
) -> Bytes {
    let body: usize = payloads.clone().map(Payload::frame_bytes).sum();
    let header = Header { shard, slot, settled, content: Content::Records { span, body: body as u64 } };
    let header = header.encode();
    let seed = u32_at(&header, HEADER_BYTES - 4);
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + body);
    bytes.put_slice(&header);
    for (lsn, payload) in (span.first.0..).zip(payloads) {
        bytes.put_u32_le(frame_crc(seed, payload.crc, payload.length, Lsn(lsn)));
        bytes.put_u32_le(payload.length);
        payload.record.parts.iter().for_each(|part| bytes.put_slice(part));
    }
    bytes.freeze()
}

fn frame_crc(seed: u32, payload_crc: u32, length: u32, lsn: Lsn) -> u32 {
    let crc = crc32c::crc32c_append(payload_crc, &length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &lsn.0.to_le_bytes());
    crc32c::crc32c_append(crc, &seed.to_le_bytes())
}

/// All records of the object in `slot`, every byte checked.
pub(super) fn entries(shard: ShardId, slot: Slot, bytes: &Bytes) -> Result<(Span, Vec<Entry>), WalError> {
    let name = slot.name(shard);
    let corrupt = |offset: usize, detail: String| WalError::corrupt(Path::new(&name), offset as u64, detail);
    let header = Header::decode(shard, slot, bytes)?;
    let span = header.span()?;
    let seed = u32_at(bytes, HEADER_BYTES - 4);
    if let Content::Records { body, .. } = header.content
        && body != (bytes.len() - HEADER_BYTES) as u64
    {
        let found = bytes.len() - HEADER_BYTES;
        return Err(corrupt(bytes.len(), format!("{found} bytes of records instead of {body}")));
    }
    let mut entries = Vec::new();
    let mut at = HEADER_BYTES;
    for lsn in (span.first.0..=span.last.0).map(Lsn) {
        let damaged = || corrupt(at, format!("record {lsn} is damaged"));
        let frame: &[u8; FRAME_BYTES] = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(damaged)?;
        let length = u32_at(frame, 4);
        let end = at + FRAME_BYTES + length as usize;
        if length as usize > MAX_RECORD_BYTES || end > bytes.len() {
            return Err(damaged());
        }
        let payload = bytes.slice(at + FRAME_BYTES..end);
        if u32_at(frame, 0) != frame_crc(seed, crc32c::crc32c(&payload), length, lsn) {
            return Err(damaged());
        }
        entries.push(Entry { lsn, payload });
        at = end;
    }
    if at != bytes.len() {
        return Err(corrupt(at, "bytes behind the last record".to_owned()));
    }
    Ok((span, entries))
}

/// Where a log begins: everything before was truncated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Start {
    /// The first record kept, or the next to be written.
    pub(super) first: Lsn,
    /// The slot that holds it, or will.
    pub(super) slot: Slot,
}

impl Start {
    /// Of a log that was never truncated.
    pub(super) const ROOT: Self = Self { first: Lsn(1), slot: Slot { term: Term::ROOT, sequence: 0 } };

    pub(super) fn name(shard: ShardId, first: Lsn) -> String {
        LogPath::Start { shard, first }.to_string()
    }

    pub(super) fn encode(&self, shard: ShardId) -> Bytes {
        let mut bytes = BytesMut::with_capacity(START_BYTES);
        bytes.put_slice(START_MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u16_le(shard.ordinal);
        bytes.put_u16_le(0);
        bytes.put_i64_le(shard.collection.0);
        bytes.put_u64_le(self.first.0);
        bytes.put_u64_le(self.slot.term.epoch.0);
        bytes.put_u64_le(self.slot.term.writer);
        bytes.put_u64_le(self.slot.sequence);
        bytes.put_u32_le(0);
        bytes.put_u32_le(crc32c::crc32c(&bytes));
        bytes.freeze()
    }

    pub(super) fn decode(shard: ShardId, first: Lsn, bytes: &[u8]) -> Result<Self, WalError> {
        let name = Self::name(shard, first);
        let file = Path::new(&name);
        let bytes = checked(file, bytes, START_BYTES, START_MAGIC)?;
        let found = ShardId {
            collection: CollectionId(u64_at(bytes, 16).cast_signed()),
            ordinal: u16::from_le_bytes([bytes[12], bytes[13]]),
        };
        let term = Term { epoch: Epoch(u64_at(bytes, 32)), writer: u64_at(bytes, 40) };
        let start = Self { first: Lsn(u64_at(bytes, 24)), slot: Slot { term, sequence: u64_at(bytes, 48) } };
        if (found, start.first) != (shard, first) {
            let other = Self::name(found, start.first);
            return Err(WalError::corrupt(file, 12, format!("this is {other}")));
        }
        Ok(start)
    }
}

/// The first `length` bytes, if magic, checksum and version are right.
fn checked<'a>(file: &Path, bytes: &'a [u8], length: usize, magic: &[u8; 8]) -> Result<&'a [u8], WalError> {
    let corrupt = |detail: &str| Err(WalError::corrupt(file, 0, detail));
    let Some(header) = bytes.get(..length) else { return corrupt("the header is cut short") };
    if &header[..8] != magic {
        return corrupt("this is not an object of a log");
    }
    if crc32c::crc32c(&header[..length - 4]) != u32_at(header, length - 4) {
        return corrupt("the header's checksum is wrong");
    }
    match u32_at(header, 8) {
        VERSION => Ok(header),
        found => Err(WalError::Format { file: file.to_owned(), found, supported: VERSION }),
    }
}

fn shard_at(header: &[u8]) -> ShardId {
    ShardId {
        collection: CollectionId(u64_at(header, 16).cast_signed()),
        ordinal: u16::from_le_bytes([header[14], header[15]]),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId { collection: CollectionId(449), ordinal: 3 };
    const SLOT: Slot = Slot { term: Term { epoch: Epoch(7), writer: 0xfeed }, sequence: 5 };

    fn object() -> Bytes {
        let payloads =
            [Payload::new("payload".into()), Payload::new(Record::new(vec!["a".into(), "b".into()]))];
        records(SHARD, SLOT, 4, Span { first: Lsn(42), last: Lsn(43) }, payloads.iter())
    }

    fn start() -> Start {
        Start { first: Lsn(42), slot: SLOT }
    }

    /// Changing a layout without its version fails here.
    #[test]
    fn bytes_are_golden() {
        let successor = Term { epoch: Epoch(8), writer: 0xbeef };
        let fence = fence(SHARD, Slot { sequence: 6, ..SLOT }, 6, successor);
        let lines: Vec<String> = [object(), fence, start().encode(SHARD)]
            .iter()
            .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        let golden: Vec<&str> = include_str!("../../tests/golden/object-v1.hex").lines().collect();
        assert_eq!(lines, golden);
    }

    /// Objects of every released version must be readable for ever.
    #[test]
    fn golden_objects_are_read() {
        let bytes = |line: &str| -> Bytes {
            let digits: Vec<u8> = line.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
            digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<_>>().into()
        };
        let objects: Vec<_> = include_str!("../../tests/golden/object-v1.hex").lines().map(bytes).collect();
        let (span, read) = entries(SHARD, SLOT, &objects[0]).unwrap();
        assert_eq!((span.first, read.len()), (Lsn(42), 2));
        let fence = Header::decode(SHARD, Slot { sequence: 6, ..SLOT }, &objects[1]).unwrap();
        let successor = Term { epoch: Epoch(8), writer: 0xbeef };
        assert_eq!((fence.settled, fence.content), (6, Content::Fence { successor }));
        assert_eq!(Start::decode(SHARD, Lsn(42), &objects[2]).unwrap(), start());
    }

    #[test]
    fn objects_round_trip() {
        let (span, read) = entries(SHARD, SLOT, &object()).unwrap();
        assert_eq!(span, Span { first: Lsn(42), last: Lsn(43) });
        let payloads: Vec<_> = read.iter().map(|entry| &entry.payload[..]).collect();
        assert_eq!(payloads, [&b"payload"[..], b"ab"]);
        assert_eq!(Start::decode(SHARD, Lsn(42), &start().encode(SHARD)).unwrap(), start());
        let error = entries(SHARD, Slot { sequence: 6, ..SLOT }, &object()).unwrap_err();
        assert!(error.to_string().contains(&SLOT.name(SHARD)), "{error}");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let refused = |bytes: Vec<u8>| entries(SHARD, SLOT, &bytes.into()).is_err();
        let whole = object();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(damaged), "bit {bit}");
        }
        for end in 0..whole.len() {
            assert!(refused(whole[..end].to_vec()), "cut at {end}");
        }
        assert!(refused([&whole[..], b"x"].concat()));
        let whole = start().encode(SHARD);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Start::decode(SHARD, Lsn(42), &damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn later_formats_are_refused() {
        let mut bytes = object().to_vec();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        let error = entries(SHARD, SLOT, &bytes.into()).unwrap_err();
        assert!(matches!(error, WalError::Format { found: 2, supported: 1, .. }), "{error}");
    }
}
