//! How do a log file's bytes lie?
//!
//! A file is a header and frames, all numbers little-endian.
//!
//! ```text
//! header (64 bytes): magic 8 | version u32 | ordinal u16, zero u16 | collection i64 | epoch u64
//!                    | first lsn u64 | zeros 20 | crc32c u32 of the 60 bytes before
//! frame:             crc32c u32 | length u32 | lsn u64 | durable u64 | payload (length bytes)
//! ```
//!
//! A frame's CRC covers the payload, then length, lsn, durable, then the header's CRC, so that a frame
//! of another file is not valid here. `durable` is the position up to which everything was synced when
//! the frame was written. A *mark* is a frame of length `u32::MAX` without payload: it only says
//! `durable`. It is written, not synced, after a sync when nothing else waits, and overwritten by the next frame.

use std::path::{Path, PathBuf};

use redkite_types::{CollectionId, Epoch, Lsn, ShardId};

use crate::WalError;

/// Version of the layout above.
pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"RKSHLOG\n";

/// Bytes of a file before its first frame.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes of a frame before its payload.
pub(super) const FRAME_BYTES: usize = 24;
const MARK: u32 = u32::MAX;

/// What a file says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileHeader {
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    pub(super) first: Lsn,
}

/// Mixed into every frame's CRC: identifies the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seed(u32);

impl FileHeader {
    /// The header's bytes, and the seed of the file's frames.
    pub(super) fn encode(&self) -> ([u8; HEADER_BYTES], Seed) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.shard.ordinal.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.shard.collection.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        (bytes, Seed(crc))
    }

    /// Reads the header of `file`, of which `bytes` are the first.
    pub(super) fn decode(file: &Path, bytes: &[u8]) -> Result<(Self, Seed), WalError> {
        let corrupt = |detail: &str| WalError::corrupt(file, 0, detail);
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(corrupt("the file header is cut short"));
        };
        if &bytes[0..8] != MAGIC {
            return Err(corrupt("this is not a log file"));
        }
        let crc = u32_at(bytes, 60);
        if crc32c::crc32c(&bytes[..60]) != crc {
            return Err(corrupt("the file header's checksum is wrong"));
        }
        let found = u32_at(bytes, 8);
        if found != VERSION {
            return Err(WalError::Format { file: file.to_owned(), found, supported: VERSION });
        }
        let shard = ShardId {
            collection: CollectionId(u64_at(bytes, 16).cast_signed()),
            ordinal: u16::from_le_bytes([bytes[12], bytes[13]]),
        };
        let header = Self { shard, epoch: Epoch(u64_at(bytes, 24)), first: Lsn(u64_at(bytes, 32)) };
        Ok((header, Seed(crc)))
    }
}

/// A frame without its payload's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    crc: u32,
    length: u32,
    /// Position of the record; of a mark, 0.
    pub(super) lsn: Lsn,
    /// Everything up to here was synced when this was written.
    pub(super) durable: Lsn,
}

impl Frame {
    /// The frame of a record whose payload has `length` bytes and the CRC `payload_crc`.
    pub(super) fn record(seed: Seed, length: u32, payload_crc: u32, lsn: Lsn, durable: Lsn) -> Self {
        Self { crc: 0, length, lsn, durable }.sealed(seed, payload_crc)
    }

    /// A mark.
    pub(super) fn mark(seed: Seed, durable: Lsn) -> Self {
        Self { crc: 0, length: MARK, lsn: Lsn(0), durable }.sealed(seed, 0)
    }

    fn sealed(mut self, seed: Seed, payload_crc: u32) -> Self {
        self.crc = self.checksum(seed, payload_crc);
        self
    }

    fn checksum(&self, seed: Seed, payload_crc: u32) -> u32 {
        let crc = crc32c::crc32c_append(payload_crc, &self.encode()[4..]);
        crc32c::crc32c_append(crc, &seed.0.to_le_bytes())
    }

    pub(super) fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[0..4].copy_from_slice(&self.crc.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable.0.to_le_bytes());
        bytes
    }

    /// Takes the bytes for a frame; whether they are one, only [`Frame::is_valid`] tells.
    pub(super) fn decode(bytes: &[u8; FRAME_BYTES]) -> Self {
        Self {
            crc: u32_at(bytes, 0),
            length: u32_at(bytes, 4),
            lsn: Lsn(u64_at(bytes, 8)),
            durable: Lsn(u64_at(bytes, 16)),
        }
    }

    pub(super) fn is_mark(&self) -> bool {
        self.length == MARK
    }

    /// Bytes of payload that follow.
    pub(super) fn payload_bytes(&self) -> usize {
        if self.is_mark() { 0 } else { self.length as usize }
    }

    /// Bytes from the beginning of this frame to that of the next.
    pub(super) fn stride(&self) -> u64 {
        (FRAME_BYTES + self.payload_bytes()) as u64
    }

    pub(super) fn is_valid(&self, seed: Seed, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes() && self.crc == self.checksum(seed, crc32c::crc32c(payload))
    }
}

/// Name of the file whose first record is at `first`.
pub(super) fn file_name(first: Lsn) -> String {
    format!("{:020}.log", first.0)
}

/// The position in a file's name, if it is a log file's.
pub(super) fn parse_file_name(path: &Path) -> Option<Lsn> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let valid = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if valid { digits.parse().ok() } else { None }
}

/// Where a file is written before it is complete.
pub(super) fn unfinished(file: &Path) -> PathBuf {
    file.with_extension("new")
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

    const HEADER: FileHeader = FileHeader {
        shard: ShardId { collection: CollectionId(449), ordinal: 3 },
        epoch: Epoch(7),
        first: Lsn(42),
    };

    /// Changing the layout without its version fails here.
    #[test]
    fn bytes_are_golden() {
        let (header, seed) = HEADER.encode();
        let mut bytes = header.to_vec();
        let payload = b"payload";
        let crc = crc32c::crc32c(payload);
        bytes.extend(Frame::record(seed, 7, crc, Lsn(42), Lsn(41)).encode());
        bytes.extend(payload);
        bytes.extend(Frame::mark(seed, Lsn(42)).encode());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../../tests/golden/v1.hex").trim());
    }

    #[test]
    fn headers_and_names_round_trip() {
        let (bytes, seed) = HEADER.encode();
        assert_eq!(FileHeader::decode(Path::new("x"), &bytes).unwrap(), (HEADER, seed));
        assert_eq!(parse_file_name(Path::new(&file_name(Lsn(42)))), Some(Lsn(42)));
        for name in ["42.log", "00000000000000000042.new", "0000000000000000004x.log", "notes"] {
            assert_eq!(parse_file_name(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let (bytes, _) = HEADER.encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(Path::new("x"), &damaged).is_err(), "bit {bit}");
        }
    }
}
