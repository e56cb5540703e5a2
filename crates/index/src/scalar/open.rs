//! Reading an index in place.

use std::ops::{Bound, Range};
use std::sync::Arc;

use redkite_types::{Bitmap, DataType, Value};

use super::build::BITMAP_PLACE;
use super::format::{Header, ScalarFormatError, Section, Sections, decode};
use super::sorted::{Probe, Sorted};
use super::{ScalarIndex, ScalarIndexKind};

/// Bytes somebody else keeps alive: a mapped file, or a buffer. They MUST NOT change or move.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Opens an index that [`super::build()`] made.
///
/// Reads all of it once, to check it. Bytes that do not start at a multiple of 8 (mapped files always
/// do) are copied.
///
/// # Errors
/// If the bytes are no scalar index or a damaged one.
pub fn open(bytes: SharedBytes) -> Result<Box<dyn ScalarIndex>, ScalarFormatError> {
    if cfg!(target_endian = "big") {
        return Err(ScalarFormatError::Inconsistent {
            what: "files are read in place, little-endian",
            offset: 0,
        });
    }
    let (header, sections) = decode((*bytes).as_ref())?;
    let bytes = if (*bytes).as_ref().as_ptr().addr().is_multiple_of(8) {
        Bytes::Shared(bytes)
    } else {
        Bytes::aligned((*bytes).as_ref())
    };
    let index = Opened::new(header, sections, bytes)?;
    index.check()?;
    Ok(Box::new(index))
}

enum Bytes {
    Shared(SharedBytes),
    /// Words, and how many of their bytes count.
    Copied(Vec<u64>, usize),
}

impl Bytes {
    fn aligned(bytes: &[u8]) -> Self {
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self::Copied(words, bytes.len())
    }

    fn get(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => (**bytes).as_ref(),
            Self::Copied(words, len) => &bytemuck::cast_slice(words)[..*len],
        }
    }
}

struct Opened {
    kind: ScalarIndexKind,
    data_type: DataType,
    rows: usize,
    entries: usize,
    sections: Sections,
    bytes: Bytes,
}

impl Opened {
    fn new(header: Header, sections: Sections, bytes: Bytes) -> Result<Self, ScalarFormatError> {
        let wrong = |what| ScalarFormatError::Inconsistent { what, offset: 0 };
        let kind = ScalarIndexKind::from_code(header.kind).ok_or(wrong("kind is unknown"))?;
        let data_type = DataType::from_wire(header.data_type)
            .filter(|data_type| kind.supports(*data_type))
            .ok_or(wrong("kind does not index this type"))?;
        let rows = u32::try_from(header.rows).map_err(|_| wrong("too many rows"))? as usize;
        let entries = u32::try_from(header.entries).map_err(|_| wrong("too many entries"))? as usize;
        Ok(Self { kind, data_type, rows, entries, sections, bytes })
    }

    /// Everything a lookup will index by is in bounds.
    fn check(&self) -> Result<(), ScalarFormatError> {
        let texts = self.data_type == DataType::VarChar;
        let words = self.rows.div_ceil(64);
        let places = match self.kind {
            ScalarIndexKind::StlSort => 0,
            ScalarIndexKind::Inverted | ScalarIndexKind::Trie => self.entries + 1,
            ScalarIndexKind::Bitmap => self.entries * 2,
        };
        self.ensure(Section::Valid, "valid rows are not one bit per row", {
            let found = self.sections[Section::Valid as usize].len();
            found == 0 || found == words * 8
        })?;
        self.ensure(Section::Values, "values are not one per entry", {
            self.sections[Section::Values as usize].len() == (self.entries + usize::from(texts)) * 8
        })?;
        self.ensure(
            Section::Rows,
            "a row is cut off",
            self.sections[Section::Rows as usize].len().is_multiple_of(4),
        )?;
        self.ensure(
            Section::Words,
            "a word is cut off",
            self.sections[Section::Words as usize].len().is_multiple_of(8),
        )?;
        self.ensure(Section::Places, "places are not one per entry", {
            self.sections[Section::Places as usize].len() == places * 8
        })?;
        if texts {
            let offsets = self.u64s(Section::Values);
            let total = self.sections[Section::Text as usize].len() as u64;
            self.ensure(Section::Values, "texts overlap or pass the end", {
                offsets.is_sorted() && offsets.first() == Some(&0) && offsets.last() == Some(&total)
            })?;
        }
        let rows = self.u32s(Section::Rows);
        self.ensure(
            Section::Rows,
            "row past the segment",
            rows.iter().all(|row| (*row as usize) < self.rows),
        )?;
        self.ensure(Section::Places, "rows of a value pass the end", self.places_fit(rows.len() as u64))
    }

    fn places_fit(&self, rows: u64) -> bool {
        let places = self.u64s(Section::Places);
        match self.kind {
            ScalarIndexKind::StlSort => rows == self.entries as u64,
            ScalarIndexKind::Inverted | ScalarIndexKind::Trie => {
                places.is_sorted() && places.last().is_some_and(|last| *last <= rows)
            }
            ScalarIndexKind::Bitmap => {
                let words = self.u64s(Section::Words).len() as u64;
                let each = self.rows.div_ceil(64) as u64;
                places.chunks_exact(2).all(|place| {
                    let (limit, length) =
                        if place[1] & BITMAP_PLACE != 0 { (words, each) } else { (rows, place[1]) };
                    place[0].checked_add(length).is_some_and(|end| end <= limit)
                })
            }
        }
    }

    fn ensure(&self, section: Section, what: &'static str, holds: bool) -> Result<(), ScalarFormatError> {
        let offset = self.sections[section as usize].start;
        if holds { Ok(()) } else { Err(ScalarFormatError::Inconsistent { what, offset }) }
    }

    fn section(&self, section: Section) -> &[u8] {
        &self.bytes.get()[self.sections[section as usize].clone()]
    }

    /// The bytes start at a multiple of 8 and sections at multiples of 64; lengths were checked.
    fn u64s(&self, section: Section) -> &[u64] {
        bytemuck::cast_slice(self.section(section))
    }

    fn u32s(&self, section: Section) -> &[u32] {
        bytemuck::cast_slice(self.section(section))
    }

    fn sorted(&self) -> Sorted<'_> {
        let values = self.u64s(Section::Values);
        if self.data_type == DataType::VarChar {
            Sorted::Texts { offsets: values, bytes: self.section(Section::Text) }
        } else {
            Sorted::Keys(values)
        }
    }

    fn find(&self, value: &Value) -> Range<usize> {
        let sorted = self.sorted();
        match Probe::of(value, self.data_type) {
            Some(probe) => sorted.rank(probe, false)..sorted.rank(probe, true),
            None => 0..0,
        }
    }

    /// Sets the rows of some neighbouring entries.
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in bounds when opened")]
    fn set_rows(&self, entries: Range<usize>, bitmap: &mut Words) {
        if entries.is_empty() {
            return;
        }
        let rows = self.u32s(Section::Rows);
        let places = self.u64s(Section::Places);
        match self.kind {
            ScalarIndexKind::StlSort => bitmap.set_all(&rows[entries]),
            ScalarIndexKind::Inverted | ScalarIndexKind::Trie => {
                bitmap.set_all(&rows[places[entries.start] as usize..places[entries.end] as usize]);
            }
            ScalarIndexKind::Bitmap => {
                let words = self.u64s(Section::Words);
                for entry in entries {
                    let (start, length) = (places[entry * 2] as usize, places[entry * 2 + 1]);
                    if length & BITMAP_PLACE == 0 {
                        bitmap.set_all(&rows[start..start + length as usize]);
                    } else {
                        bitmap.or(&words[start..start + self.rows.div_ceil(64)]);
                    }
                }
            }
        }
    }

    fn collect(&self, ranges: impl IntoIterator<Item = Range<usize>>) -> Bitmap {
        let mut words = Words(vec![0; self.rows.div_ceil(64)]);
        ranges.into_iter().for_each(|entries| self.set_rows(entries, &mut words));
        Bitmap::from_words(words.0, self.rows)
    }

    fn is_text(&self) -> bool {
        self.data_type == DataType::VarChar
    }
}

/// A bitmap under construction.
struct Words(Vec<u64>);

impl Words {
    fn set_all(&mut self, rows: &[u32]) {
        rows.iter().for_each(|row| self.0[*row as usize / 64] |= 1 << (row % 64));
    }

    fn or(&mut self, other: &[u64]) {
        self.0.iter_mut().zip(other).for_each(|(word, other)| *word |= other);
    }
}

impl ScalarIndex for Opened {
    fn kind(&self) -> ScalarIndexKind {
        self.kind
    }

    fn data_type(&self) -> DataType {
        self.data_type
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn any_of(&self, values: &[Value]) -> Bitmap {
        self.collect(values.iter().map(|value| self.find(value)))
    }

    fn range(&self, lower: Bound<&Value>, upper: Bound<&Value>) -> Option<Bitmap> {
        let sorted = self.sorted();
        let rank =
            |value, inclusive| Probe::of(value, self.data_type).map(|probe| sorted.rank(probe, inclusive));
        let start = match lower {
            Bound::Unbounded => Some(0),
            Bound::Included(value) => rank(value, false),
            Bound::Excluded(value) => rank(value, true),
        };
        let end = match upper {
            Bound::Unbounded => Some(sorted.len()),
            Bound::Included(value) => rank(value, true),
            Bound::Excluded(value) => rank(value, false),
        };
        // A bound of another class, or NaN, is beyond every value.
        Some(self.collect(start.zip(end).map(|(start, end)| start..end.max(start))))
    }

    fn prefix(&self, prefix: &str) -> Option<Bitmap> {
        let prefix = prefix.as_bytes();
        self.is_text().then(|| {
            let sorted = self.sorted();
            let start = sorted.partition(|text| text < prefix);
            let end = sorted.partition(|text| text < prefix || text.starts_with(prefix));
            self.collect(std::iter::once(start..end))
        })
    }

    fn matching(&self, test: &dyn Fn(&str) -> bool) -> Option<Bitmap> {
        self.is_text().then(|| {
            let sorted = self.sorted();
            let passes = |entry: &usize| test(std::str::from_utf8(sorted.text(*entry)).unwrap_or_default());
            self.collect((0..sorted.len()).filter(passes).map(|entry| entry..entry + 1))
        })
    }

    fn valid_rows(&self) -> Bitmap {
        match self.u64s(Section::Valid) {
            [] => Bitmap::filled(self.rows, true),
            words => Bitmap::from_words(words.to_vec(), self.rows),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.bytes.get().len()
    }
}
