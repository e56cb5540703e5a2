//! The container of every vector index file, version 1. All integers little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `RKVINDEX` |
//! | 8..12 | version |
//! | 12..16 | CRC32C of bytes 16..header length |
//! | 16..20 | header length |
//! | 20..24 | number of sections |
//! | 24..32 | file length |
//! | 32.. | directory, 32 bytes a section: id u32, CRC32C u32, offset u64, length u64, 0 u64 |
//! | .. header length | JSON ([`Meta`]) |
//!
//! Sections start at multiples of 64 bytes and are arrays of one plain type, see [`Section`]. Opening checks
//! the header's checksum and that sections lie inside the file; [`File::verify`] checks the sections.

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::{IndexError, VectorIndexSpec};

#[cfg(target_endian = "big")]
compile_error!("index files are searched in place and little-endian");

/// The version of the format this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The bytes of an index file, usually a memory map.
pub type IndexBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

const MAGIC: &[u8; 8] = b"RKVINDEX";
const FIXED_HEADER: usize = 32;
const DIRECTORY_ENTRY: usize = 32;
const SECTION_ALIGN: usize = 64;
/// Far more than any header; a longer one is damage.
const MOST_HEADER: usize = 1 << 20;

/// What a section holds. Numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Section {
    /// f32 × rows: 1 / norm, for cosine.
    InverseNorms = 1,
    /// u8 × rows × stride: codes of 4 or 8 bits, rows padded to whole cache lines.
    Codes = 2,
    /// f32 × dim: what was subtracted before coding.
    CodeCentre = 3,
    /// f32 × rows: squared norms of the decoded rows, for L2.
    CodeTerms = 4,
    /// u32 × rows × 2M: neighbours on level 0, unused places `u32::MAX`.
    Links = 16,
    /// u32 × rows: number of the first list in `UpperLinks`, `u32::MAX` for rows on level 0 only.
    UpperStarts = 17,
    /// u32 × lists × M: neighbours on levels 1.., a row's lists back to back.
    UpperLinks = 18,
    /// f32 × lists × dim: centres of the lists.
    Centroids = 32,
    /// u32 × (lists + 1): where each list starts in `ListRows` (and in `Codes`).
    ListStarts = 33,
    /// u32 × rows: row numbers, list after list.
    ListRows = 34,
}

/// What a header says about the index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) spec: VectorIndexSpec,
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    /// The grid of the codes; none if the index has no codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) codes: Option<CodesMeta>,
    /// HNSW: where a search starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<u32>,
    /// HNSW: the level of the entry.
    #[serde(default)]
    pub(crate) top_level: usize,
    /// IVF: number of lists made.
    #[serde(default)]
    pub(crate) lists: usize,
}

/// The grid of codes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CodesMeta {
    /// Bits of a code.
    pub(crate) bits: u8,
    /// Distance of neighbouring codes.
    pub(crate) step: f32,
}

/// The values of a section before they are written.
#[derive(Debug)]
pub(crate) enum Values {
    U8(Vec<u8>),
    U32(Vec<u32>),
    F32(Vec<f32>),
}

impl Values {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::U8(values) => values,
            Self::U32(values) => bytemuck::cast_slice(values),
            Self::F32(values) => bytemuck::cast_slice(values),
        }
    }
}

/// A built index, ready to be written to a file.
#[derive(Debug)]
pub struct Artifact {
    meta: Meta,
    sections: Vec<(Section, Values)>,
}

impl Artifact {
    pub(crate) fn new(meta: Meta) -> Self {
        Self { meta, sections: Vec::new() }
    }

    pub(crate) fn push(&mut self, section: Section, values: Values) {
        self.sections.push((section, values));
    }

    /// What was built.
    #[must_use]
    pub fn spec(&self) -> &VectorIndexSpec {
        &self.meta.spec
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What `output` returns.
    pub fn write_to(&self, output: &mut dyn Write) -> io::Result<()> {
        let (header, offsets) = self.header();
        output.write_all(&header)?;
        let mut at = header.len();
        for ((_, values), offset) in self.sections.iter().zip(offsets) {
            output.write_all(&[0; SECTION_ALIGN][..offset - at])?;
            output.write_all(values.bytes())?;
            at = offset + values.bytes().len();
        }
        Ok(())
    }

    /// The file as bytes, for indexes that are searched where they were built.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("writing to memory");
        bytes
    }

    /// The header and where each section starts.
    fn header(&self) -> (Vec<u8>, Vec<usize>) {
        let meta = serde_json::to_vec(&self.meta).expect("plain numbers");
        let header_len = FIXED_HEADER + self.sections.len() * DIRECTORY_ENTRY + meta.len();
        let mut at = header_len;
        let mut offsets = Vec::new();
        let mut body = Vec::with_capacity(header_len);
        let mut directory = Vec::new();
        for (section, values) in &self.sections {
            let offset = at.next_multiple_of(SECTION_ALIGN);
            let bytes = values.bytes();
            directory.extend((*section as u32).to_le_bytes());
            directory.extend(crc32c::crc32c(bytes).to_le_bytes());
            directory.extend((offset as u64).to_le_bytes());
            directory.extend((bytes.len() as u64).to_le_bytes());
            directory.extend(0_u64.to_le_bytes());
            offsets.push(offset);
            at = offset + bytes.len();
        }
        body.extend(u32::try_from(header_len).expect("a short header").to_le_bytes());
        body.extend(u32::try_from(self.sections.len()).expect("few sections").to_le_bytes());
        body.extend((at as u64).to_le_bytes());
        body.extend(directory);
        body.extend(meta);
        let mut header = MAGIC.to_vec();
        header.extend(FORMAT_VERSION.to_le_bytes());
        header.extend(crc32c::crc32c(&body).to_le_bytes());
        header.extend(body);
        (header, offsets)
    }
}

/// An opened file.
pub(crate) struct File {
    bytes: IndexBytes,
    meta: Meta,
    sections: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: u32,
    crc: u32,
    range: Range<usize>,
}

/// A section whose length has been checked; [`File::get`] gives its values.
#[derive(Clone, Debug)]
pub(crate) struct Slice<T> {
    range: Range<usize>,
    element: PhantomData<T>,
}

fn damaged(what: &'static str, offset: usize) -> IndexError {
    IndexError::Damaged { what, offset: offset as u64 }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn usize_at(bytes: &[u8], at: usize) -> Result<usize, IndexError> {
    let value = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    usize::try_from(value).map_err(|_| damaged("number too large", at))
}

impl File {
    pub(crate) fn open(bytes: IndexBytes) -> Result<Self, IndexError> {
        let bytes = aligned(bytes);
        let all = (*bytes).as_ref();
        if all.len() < FIXED_HEADER || &all[..8] != MAGIC {
            return Err(damaged("no index file", 0));
        }
        let version = u32_at(all, 8);
        if version != FORMAT_VERSION {
            return Err(IndexError::Version { found: version, supported: FORMAT_VERSION });
        }
        let header_len = u32_at(all, 16) as usize;
        let count = u32_at(all, 20) as usize;
        if header_len > all.len().min(MOST_HEADER)
            || count > MOST_HEADER / DIRECTORY_ENTRY
            || FIXED_HEADER + count * DIRECTORY_ENTRY > header_len
        {
            return Err(damaged("header length", 16));
        }
        if crc32c::crc32c(&all[16..header_len]) != u32_at(all, 12) {
            return Err(damaged("header checksum", 12));
        }
        if usize_at(all, 24)? != all.len() {
            return Err(damaged("file length", 24));
        }
        let directory_end = FIXED_HEADER + count * DIRECTORY_ENTRY;
        let sections = (FIXED_HEADER..directory_end)
            .step_by(DIRECTORY_ENTRY)
            .map(|at| Self::entry(all, at))
            .collect::<Result<_, _>>()?;
        let meta: Meta = serde_json::from_slice(&all[directory_end..header_len])
            .map_err(|_| damaged("description", directory_end))?;
        if meta.dim == 0 || u32::try_from(meta.rows).is_err() || meta.spec.validate().is_err() {
            return Err(damaged("description", directory_end));
        }
        Ok(Self { bytes, meta, sections })
    }

    fn entry(all: &[u8], at: usize) -> Result<Entry, IndexError> {
        let (offset, len) = (usize_at(all, at + 8)?, usize_at(all, at + 16)?);
        let end = offset.checked_add(len).filter(|end| *end <= all.len());
        match end {
            Some(end) if offset.is_multiple_of(SECTION_ALIGN) => {
                Ok(Entry { id: u32_at(all, at), crc: u32_at(all, at + 4), range: offset..end })
            }
            _ => Err(damaged("section outside the file", at)),
        }
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn len(&self) -> usize {
        (*self.bytes).as_ref().len()
    }

    /// A section of exactly `len` values.
    pub(crate) fn section<T: Pod>(&self, section: Section, len: usize) -> Result<Slice<T>, IndexError> {
        let slice = self.section_of_any_length::<T>(section)?;
        if Some(slice.range.len()) == len.checked_mul(size_of::<T>()) {
            Ok(slice)
        } else {
            Err(damaged("section of another length", slice.range.start))
        }
    }

    /// A section of whole values.
    pub(crate) fn section_of_any_length<T: Pod>(&self, section: Section) -> Result<Slice<T>, IndexError> {
        let entry = self.sections.iter().find(|entry| entry.id == section as u32);
        let entry = entry.ok_or_else(|| damaged("section missing", FIXED_HEADER))?;
        if entry.range.len().is_multiple_of(size_of::<T>()) {
            Ok(Slice { range: entry.range.clone(), element: PhantomData })
        } else {
            Err(damaged("section of another length", entry.range.start))
        }
    }

    /// The values of a section of this file.
    pub(crate) fn get<T: Pod>(&self, slice: &Slice<T>) -> &[T] {
        bytemuck::cast_slice(&(*self.bytes).as_ref()[slice.range.clone()])
    }

    /// Which sections there are and how long they are.
    #[cfg(test)]
    pub(crate) fn layout(&self) -> Vec<(u32, usize)> {
        self.sections.iter().map(|entry| (entry.id, entry.range.len())).collect()
    }

    /// Compares the checksums of all sections.
    pub(crate) fn verify(&self) -> Result<(), IndexError> {
        for entry in &self.sections {
            let found = crc32c::crc32c(&(*self.bytes).as_ref()[entry.range.clone()]);
            if found != entry.crc {
                let offset = entry.range.start as u64;
                return Err(IndexError::Checksum { section: entry.id, offset, found, expected: entry.crc });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("meta", &self.meta).field("bytes", &self.len()).finish_non_exhaustive()
    }
}

/// The bytes themselves if they start at a multiple of 8, as every memory map does; else a copy that does.
fn aligned(bytes: IndexBytes) -> IndexBytes {
    struct Copied(Vec<u64>, usize);
    impl AsRef<[u8]> for Copied {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[..self.1]
        }
    }
    let all = (*bytes).as_ref();
    if all.as_ptr().addr().is_multiple_of(8) {
        return bytes;
    }
    let mut words = vec![0_u64; all.len().div_ceil(8)];
    bytemuck::cast_slice_mut(&mut words)[..all.len()].copy_from_slice(all);
    Arc::new(Copied(words, all.len()))
}
