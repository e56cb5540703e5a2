//! The file of a scalar index: a header, then sections.
//!
//! Everything is little-endian. The header is
//! ```text
//! 0   magic "RKSCALAR"
//! 8   version u32      12 kind u32
//! 16  data type i32    20 reserved u32
//! 24  rows u64         32 entries u64
//! 40  six sections: offset u64, length u64, crc32c u32, reserved u32
//! 184 crc32c of bytes 0..184, u32
//! ```
//! Sections start at multiples of 64, so that a mapped file is read as numbers in place. A new layout
//! takes a new version; version 1 files stay readable.

use std::ops::Range;

/// The only version so far.
pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RKSCALAR";
const SECTIONS_AT: usize = 40;
const SECTION_BYTES: usize = 24;
const CHECKSUM_AT: usize = SECTIONS_AT + Section::COUNT * SECTION_BYTES;
const HEADER_BYTES: usize = CHECKSUM_AT + 4;
const ALIGNMENT: usize = 64;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Bit per row: has a value (u64 words). Empty when all rows have.
    Valid,
    /// Sorted values: order-preserving u64 keys of numbers, or entries + 1 offsets of texts.
    Values,
    /// Texts back to back.
    Text,
    /// Where the rows of each value are; see the kinds.
    Places,
    /// Row offsets (u32).
    Rows,
    /// Bitmaps (u64 words).
    Words,
}

impl Section {
    pub(super) const COUNT: usize = 6;
}

/// Bytes that are no scalar index, or a damaged one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScalarFormatError {
    /// The file is shorter than it says.
    #[error("scalar index is cut off: {needed} bytes needed at offset {offset}")]
    CutOff {
        /// Where it should go on.
        offset: usize,
        /// How much is missing there.
        needed: usize,
    },
    /// The file starts with something else.
    #[error("not a scalar index: magic number is wrong")]
    Magic,
    /// Written by a later release.
    #[error("scalar index has version {0}, newest known is {VERSION}")]
    Version(u32),
    /// A checksum is wrong.
    #[error("scalar index is damaged: checksum of {length} bytes at offset {offset} is wrong")]
    Checksum {
        /// Where the damaged part starts.
        offset: usize,
        /// How long it is.
        length: usize,
    },
    /// The parts contradict each other.
    #[error("scalar index is damaged: {what}, offset {offset}")]
    Inconsistent {
        /// How.
        what: &'static str,
        /// In which part.
        offset: usize,
    },
}

/// The fixed facts of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) data_type: i32,
    pub(super) rows: u64,
    pub(super) entries: u64,
}

/// Where each section is, by `Section as usize`.
pub(super) type Sections = [Range<usize>; Section::COUNT];

/// Header and sections as one file.
pub(super) fn encode(header: Header, sections: [&[u8]; Section::COUNT]) -> Vec<u8> {
    let mut ends = HEADER_BYTES;
    let offsets = sections.map(|section| {
        let offset = ends.next_multiple_of(ALIGNMENT);
        ends = offset + section.len();
        offset
    });
    let mut bytes = Vec::with_capacity(ends);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&header.kind.to_le_bytes());
    bytes.extend_from_slice(&header.data_type.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&header.rows.to_le_bytes());
    bytes.extend_from_slice(&header.entries.to_le_bytes());
    for (offset, section) in offsets.iter().zip(sections) {
        bytes.extend_from_slice(&(*offset as u64).to_le_bytes());
        bytes.extend_from_slice(&(section.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(section).to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    for (offset, section) in offsets.iter().zip(sections) {
        bytes.resize(*offset, 0);
        bytes.extend_from_slice(section);
    }
    bytes
}

/// The header and section ranges of a file whose checksums are right.
pub(super) fn decode(bytes: &[u8]) -> Result<(Header, Sections), ScalarFormatError> {
    if bytes.len() < HEADER_BYTES {
        let needed = HEADER_BYTES - bytes.len();
        return Err(ScalarFormatError::CutOff { offset: bytes.len(), needed });
    }
    if bytes[..8] != MAGIC {
        return Err(ScalarFormatError::Magic);
    }
    let version = u32_at(bytes, 8);
    if version != VERSION {
        return Err(ScalarFormatError::Version(version));
    }
    check(bytes, 0..CHECKSUM_AT, u32_at(bytes, CHECKSUM_AT))?;
    let mut sections = Sections::default();
    for (index, section) in sections.iter_mut().enumerate() {
        let at = SECTIONS_AT + index * SECTION_BYTES;
        *section = range(bytes, u64_at(bytes, at), u64_at(bytes, at + 8))?;
        check(bytes, section.clone(), u32_at(bytes, at + 16))?;
    }
    let header = Header {
        kind: u32_at(bytes, 12),
        data_type: u32_at(bytes, 16).cast_signed(),
        rows: u64_at(bytes, 24),
        entries: u64_at(bytes, 32),
    };
    Ok((header, sections))
}

fn range(bytes: &[u8], offset: u64, length: u64) -> Result<Range<usize>, ScalarFormatError> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let end = start.saturating_add(length);
    if end > bytes.len() {
        return Err(ScalarFormatError::CutOff { offset: start, needed: end - bytes.len() });
    }
    if !start.is_multiple_of(ALIGNMENT) {
        return Err(ScalarFormatError::Inconsistent { what: "section is not aligned", offset: start });
    }
    Ok(start..end)
}

fn check(bytes: &[u8], range: Range<usize>, expected: u32) -> Result<(), ScalarFormatError> {
    let (offset, length) = (range.start, range.len());
    if crc32c::crc32c(&bytes[range]) == expected {
        Ok(())
    } else {
        Err(ScalarFormatError::Checksum { offset, length })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
