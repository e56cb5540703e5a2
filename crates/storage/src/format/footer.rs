//! The frame of a segment file: header, directory of blocks, trailer.
//!
//! ```text
//! 0     header, 64 bytes: magic "RKSEGMNT", version u32, zeros
//! 64    blocks, each at a multiple of 64, zeros between them
//!       footer: JSON, where every block is, its checksum, statistics
//! end   trailer, 32 bytes: footer offset u64, footer length u64, footer CRC32C u32, version u32,
//!       magic "RKSEGEND"
//! ```
//! Numbers are little-endian.

use redkite_types::{DataType, FieldId, PrimaryKey, Timestamp, Value};
use serde::{Deserialize, Serialize};

use super::{ALIGNMENT, SEGMENT_VERSION};
use crate::{Error, Result};

const HEADER_MAGIC: [u8; 8] = *b"RKSEGMNT";
const TRAILER_MAGIC: [u8; 8] = *b"RKSEGEND";
pub(super) const HEADER_BYTES: u64 = ALIGNMENT;
const TRAILER_BYTES: u64 = 32;

/// What a segment file says about its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentStats {
    /// Number of rows.
    pub rows: u64,
    /// Rows that have the primary key of the row before them.
    pub repeated_keys: u64,
    /// Timestamp of the oldest row; 0 without rows.
    pub min_timestamp: Timestamp,
    /// Timestamp of the newest row; 0 without rows.
    pub max_timestamp: Timestamp,
    /// Primary key of the first row.
    pub min_key: Option<PrimaryKey>,
    /// Primary key of the last row.
    pub max_key: Option<PrimaryKey>,
}

/// The directory of a segment file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Footer {
    pub(super) stats: SegmentStats,
    pub(super) key_field: FieldId,
    pub(super) timestamps: Block,
    pub(super) columns: Vec<ColumnEntry>,
}

/// Where a column is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ColumnEntry {
    pub(super) field: FieldId,
    /// Number of the type on the wire.
    #[serde(rename = "type")]
    pub(super) data_type: i32,
    pub(super) dim: u32,
    /// Values back to back.
    pub(super) data: Block,
    /// Ends of values of varying length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offsets: Option<Block>,
    /// One bit per row, set where there is a value; absent when every row has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) validity: Option<Block>,
    /// No number is smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<Value>,
    /// No number is larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<Value>,
}

/// A stretch of the file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl ColumnEntry {
    pub(super) fn data_type(&self) -> Option<DataType> {
        DataType::from_wire(self.data_type)
    }
}

/// The bytes a segment file begins with.
pub(super) fn header() -> [u8; 64] {
    let mut header = [0; 64];
    header[..8].copy_from_slice(&HEADER_MAGIC);
    header[8..12].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    header
}

/// Footer and trailer, to be written at `offset`.
pub(super) fn encode(footer: &Footer, offset: u64) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(footer).expect("a footer has no maps with odd keys");
    let (length, crc) = (bytes.len() as u64, crc32c::crc32c(&bytes));
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&TRAILER_MAGIC);
    bytes
}

/// Reads header, trailer and footer of a whole file, and checks that the directory fits the file.
pub(super) fn decode(path: &str, file: &[u8]) -> Result<Footer> {
    let size = file.len() as u64;
    if size < HEADER_BYTES + TRAILER_BYTES {
        return Err(corrupt(path, size, format!("{size} bytes are no segment file")));
    }
    check_magic(path, file)?;
    let trailer_offset = size - TRAILER_BYTES;
    let trailer = &file[file.len() - 32..];
    let (offset, length) = (u64_at(trailer, 0), u64_at(trailer, 8));
    if offset < HEADER_BYTES || offset.checked_add(length) != Some(trailer_offset) {
        return Err(corrupt(
            path,
            trailer_offset,
            format!("footer {offset}+{length} is not before the trailer"),
        ));
    }
    let start = usize::try_from(offset).expect("inside a mapped file");
    let bytes = &file[start..file.len() - 32];
    if crc32c::crc32c(bytes) != u32_at(trailer, 16) {
        return Err(corrupt(path, offset, "footer checksum does not match".to_owned()));
    }
    let footer: Footer = serde_json::from_slice(bytes)
        .map_err(|error| corrupt(path, offset, format!("footer does not parse: {error}")))?;
    check_directory(path, &footer, offset)?;
    Ok(footer)
}

fn check_magic(path: &str, file: &[u8]) -> Result<()> {
    if file[..8] != HEADER_MAGIC {
        return Err(corrupt(path, 0, "not a segment file".to_owned()));
    }
    let found = u32_at(file, 8);
    if found == 0 || found > SEGMENT_VERSION {
        return Err(Error::UnsupportedVersion { path: path.to_owned(), found, supported: SEGMENT_VERSION });
    }
    let trailer = file.len() - 32;
    if file[file.len() - 8..] != TRAILER_MAGIC {
        return Err(corrupt(path, file.len() as u64 - 8, "no trailer: the file is cut off".to_owned()));
    }
    if u32_at(file, trailer + 20) != found {
        return Err(corrupt(path, trailer as u64 + 20, "header and trailer differ in version".to_owned()));
    }
    Ok(())
}

/// Every block lies between header and footer and has the length its column needs: afterwards no
/// access can leave the file.
fn check_directory(path: &str, footer: &Footer, end: u64) -> Result<()> {
    let rows = footer.stats.rows;
    if rows >= u64::from(u32::MAX) {
        return Err(corrupt(path, end, format!("{rows} rows are too many")));
    }
    let check = |block: &Block, wanted: Option<u64>, what: &str| {
        let fits = block.offset >= HEADER_BYTES
            && block.offset.is_multiple_of(ALIGNMENT)
            && block.offset.checked_add(block.bytes).is_some_and(|last| last <= end);
        if !fits || wanted.is_some_and(|wanted| wanted != block.bytes) {
            let Block { offset, bytes, .. } = block;
            return Err(corrupt(path, end, format!("directory puts {what} at {offset}+{bytes}")));
        }
        Ok(())
    };
    check(&footer.timestamps, Some(rows * 8), "timestamps")?;
    for column in &footer.columns {
        let what = format!("field {}", column.field);
        let data_type =
            column.data_type().ok_or_else(|| corrupt(path, end, format!("{what} has no known type")))?;
        if data_type.is_vector() && column.dim == 0 {
            return Err(corrupt(path, end, format!("{what} has no dimension")));
        }
        let wanted = data_type.fixed_bytes(column.dim as usize).map(|bytes| rows * bytes as u64);
        check(&column.data, wanted, &what)?;
        match (&column.offsets, wanted) {
            (Some(offsets), None) => check(offsets, Some((rows + 1) * 8), &what)?,
            (None, Some(_)) => {}
            _ => return Err(corrupt(path, end, format!("{what} and its offsets do not agree"))),
        }
        if let Some(validity) = &column.validity {
            check(validity, Some(rows.div_ceil(64) * 8), &what)?;
        }
    }
    let key = footer.columns.iter().find(|column| column.field == footer.key_field);
    match key.and_then(ColumnEntry::data_type) {
        Some(DataType::Int64 | DataType::VarChar) => Ok(()),
        _ => Err(corrupt(path, end, format!("no primary key column {}", footer.key_field))),
    }
}

pub(super) fn corrupt(path: &str, offset: u64, problem: String) -> Error {
    Error::Corrupt { path: path.to_owned(), offset, problem }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
