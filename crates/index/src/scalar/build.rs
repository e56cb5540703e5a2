//! From a column to the bytes of an index.

use std::collections::HashMap;

use redkite_types::{Bitmap, ColumnView, DataType, DataView};

use super::format::{Header, Section, encode};
use super::kind::ScalarIndexKind;
use super::sorted::{float_key, int_key};

/// A column that cannot be indexed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildScalarError {
    /// This kind does not index this type.
    #[error("{kind} index on {data_type} is not supported")]
    Type {
        /// The wanted kind.
        kind: ScalarIndexKind,
        /// The column's type.
        data_type: DataType,
    },
    /// More rows than a row offset can count.
    #[error("{0} rows are too many for a scalar index")]
    TooManyRows(usize),
}

/// Marks a place whose rows are a bitmap.
pub(super) const BITMAP_PLACE: u64 = 1 << 63;

/// The bytes of an index of this kind over a column.
///
/// # Errors
/// If the kind does not index the column's type, or the column is too long.
pub fn build(kind: ScalarIndexKind, column: ColumnView<'_>) -> Result<Vec<u8>, BuildScalarError> {
    let data_type = column.data.data_type();
    if !kind.supports(data_type) {
        return Err(BuildScalarError::Type { kind, data_type });
    }
    let rows =
        u32::try_from(column.data.len()).map_err(|_| BuildScalarError::TooManyRows(column.data.len()))?;
    let valid: &[u64] = column.validity.map_or(&[], Bitmap::words);
    let mut sections = match column.data {
        DataView::VarChar(texts) => {
            let valid = (0..rows).filter(|row| column.is_valid(*row as usize));
            let entries = sort_texts(valid.map(|row| (texts.get(row as usize), row)));
            group(kind, rows, &entries, encode_texts)
        }
        _ => {
            let mut entries: Vec<(u64, u32)> = (0..rows)
                .filter(|row| column.is_valid(*row as usize))
                .filter_map(|row| Some((key(column.data, row as usize)?, row)))
                .collect();
            entries.sort_unstable();
            group(kind, rows, &entries, |values, encoded| {
                values.iter().for_each(|key| encoded.values.extend_from_slice(&key.to_le_bytes()));
            })
        }
    };
    sections.valid = little_endian(valid);
    let header = Header {
        kind: kind.code(),
        data_type: data_type.wire(),
        rows: rows.into(),
        entries: sections.entries,
    };
    let Encoded { valid, values, text, places, rows, words, .. } = sections;
    let mut ordered: [&[u8]; Section::COUNT] = [&[]; Section::COUNT];
    for (section, bytes) in [
        (Section::Valid, &valid),
        (Section::Values, &values),
        (Section::Text, &text),
        (Section::Places, &places),
        (Section::Rows, &rows),
        (Section::Words, &words),
    ] {
        ordered[section as usize] = bytes;
    }
    Ok(encode(header, ordered))
}

/// The sections, while they are made.
#[derive(Default)]
struct Encoded {
    entries: u64,
    valid: Vec<u8>,
    values: Vec<u8>,
    text: Vec<u8>,
    places: Vec<u8>,
    rows: Vec<u8>,
    words: Vec<u8>,
}

/// Entries by text, then row. Texts repeat, and comparing them is slow: only distinct ones are sorted.
fn sort_texts<'a>(entries: impl Iterator<Item = (&'a [u8], u32)>) -> Vec<(&'a [u8], u32)> {
    let mut numbers: HashMap<&[u8], usize> = HashMap::new();
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let mut total = 0;
    for (text, row) in entries {
        let number = *numbers.entry(text).or_insert_with(|| {
            rows.push(Vec::new());
            rows.len() - 1
        });
        rows[number].push(row);
        total += 1;
    }
    let mut texts: Vec<(&[u8], usize)> = numbers.into_iter().collect();
    texts.sort_unstable();
    let mut sorted = Vec::with_capacity(total);
    for (text, number) in texts {
        sorted.extend(rows[number].iter().map(|row| (text, *row)));
    }
    sorted
}

/// The sort key of a number; `None` for NaN.
fn key(data: DataView<'_>, row: usize) -> Option<u64> {
    match data {
        DataView::Bool(values) => Some(int_key(values[row].into())),
        DataView::Int8(values) => Some(int_key(values[row].into())),
        DataView::Int16(values) => Some(int_key(values[row].into())),
        DataView::Int32(values) => Some(int_key(values[row].into())),
        DataView::Int64(values) => Some(int_key(values[row])),
        DataView::Float(values) => float_key(values[row].into()),
        DataView::Double(values) => float_key(values[row]),
        _ => None,
    }
}

/// Sections from sorted (value, row) entries.
fn group<V: Copy + PartialEq>(
    kind: ScalarIndexKind,
    rows: u32,
    entries: &[(V, u32)],
    encode_values: impl Fn(&[V], &mut Encoded),
) -> Encoded {
    let mut encoded = Encoded::default();
    let mut values = Vec::new();
    match kind {
        ScalarIndexKind::StlSort => {
            for (value, row) in entries {
                values.push(*value);
                encoded.rows.extend_from_slice(&row.to_le_bytes());
            }
        }
        ScalarIndexKind::Inverted | ScalarIndexKind::Trie => {
            let mut end = 0_u64;
            encoded.places.extend_from_slice(&end.to_le_bytes());
            for run in entries.chunk_by(|a, b| a.0 == b.0) {
                values.push(run[0].0);
                end += run.len() as u64;
                encoded.places.extend_from_slice(&end.to_le_bytes());
                run.iter().for_each(|(_, row)| encoded.rows.extend_from_slice(&row.to_le_bytes()));
            }
        }
        ScalarIndexKind::Bitmap => {
            for run in entries.chunk_by(|a, b| a.0 == b.0) {
                values.push(run[0].0);
                push_smaller(run, rows, &mut encoded);
            }
        }
    }
    encoded.entries = values.len() as u64;
    encode_values(&values, &mut encoded);
    encoded
}

/// The rows of one value of a BITMAP index: whichever of bitmap and list takes fewer bytes.
fn push_smaller<V>(run: &[(V, u32)], rows: u32, encoded: &mut Encoded) {
    let bitmap_bytes = (rows as usize).div_ceil(64) * 8;
    let (start, length) = if run.len() * 4 < bitmap_bytes {
        let start = encoded.rows.len() / 4;
        run.iter().for_each(|(_, row)| encoded.rows.extend_from_slice(&row.to_le_bytes()));
        (start, run.len() as u64)
    } else {
        let start = encoded.words.len() / 8;
        let mut bitmap = Bitmap::filled(rows as usize, false);
        run.iter().for_each(|(_, row)| bitmap.set(*row as usize));
        encoded.words.extend(little_endian(bitmap.words()));
        (start, run.len() as u64 | BITMAP_PLACE)
    };
    encoded.places.extend_from_slice(&(start as u64).to_le_bytes());
    encoded.places.extend_from_slice(&length.to_le_bytes());
}

fn encode_texts(values: &[&[u8]], encoded: &mut Encoded) {
    encoded.values.extend_from_slice(&0_u64.to_le_bytes());
    for text in values {
        encoded.text.extend_from_slice(text);
        encoded.values.extend_from_slice(&(encoded.text.len() as u64).to_le_bytes());
    }
}

fn little_endian(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
