//! Merging the rows of queries without vectors.

use redkite_types::{Column, DataType, PrimaryKeys, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Place, ReduceError, Rows, empty_keys, gather_columns};

/// Rows found by a filter or by primary key: one entry per row in every list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievePart {
    /// Primary key of each row.
    pub ids: PrimaryKeys,
    /// When each row was written.
    #[serde(with = "redkite_types::bulk")]
    pub timestamps: Vec<Timestamp>,
    /// Output fields of each row.
    pub columns: Vec<Column>,
}

impl RetrievePart {
    /// No rows; keys of the type of the primary key field.
    #[must_use]
    pub fn empty(key_type: DataType) -> Self {
        Self { ids: PrimaryKeys::empty(key_type), timestamps: Vec::new(), columns: Vec::new() }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn rows(&self) -> Rows<'_> {
        Rows { ids: &self.ids, columns: &self.columns }
    }
}

/// The rows of all parts by ascending primary key, each key once in its latest version, without the
/// first `offset`, and at most `limit`.
///
/// # Errors
/// Parts that do not belong together.
pub fn merge_retrieve(
    mut parts: Vec<RetrievePart>,
    offset: usize,
    limit: Option<usize>,
) -> Result<RetrievePart, ReduceError> {
    let rows: Vec<Rows<'_>> = parts.iter().map(RetrievePart::rows).collect();
    for (part, rows) in parts.iter().zip(&rows) {
        rows.check(part.timestamps.len())?;
    }
    let mut ids = empty_keys(&rows)?;
    let chosen = match &ids {
        PrimaryKeys::Int64(_) => choose(&parts, offset, limit, int64_keys),
        PrimaryKeys::VarChar(_) => choose(&parts, offset, limit, varchar_keys),
    };

    let whole = chosen.iter().enumerate().all(|(row, place)| *place == Place::new(0, row));
    if parts.len() == 1 && whole && chosen.len() == parts[0].len() {
        return Ok(parts.swap_remove(0));
    }
    let columns = gather_columns(&rows, &chosen)?;
    chosen.iter().for_each(|place| ids.push(parts[place.part()].ids.get(place.row())));
    let timestamps = chosen.iter().map(|place| parts[place.part()].timestamps[place.row()]).collect();
    Ok(RetrievePart { ids, timestamps, columns })
}

/// The chosen rows, where `keys` lists the keys of a part.
fn choose<'a, K: Ord, I: Iterator<Item = K> + 'a>(
    parts: &'a [RetrievePart],
    offset: usize,
    limit: Option<usize>,
    keys: impl Fn(&'a PrimaryKeys) -> I,
) -> Vec<Place> {
    let mut rows: Vec<(K, Timestamp, Place)> = Vec::with_capacity(parts.iter().map(RetrievePart::len).sum());
    for (index, part) in parts.iter().enumerate() {
        let stamped = keys(&part.ids).zip(&part.timestamps).enumerate();
        rows.extend(stamped.map(|(row, (key, written))| (key, *written, Place::new(index, row))));
    }
    // Segments are sorted by key: the stable sort merges their runs.
    rows.sort_by(|(a, a_written, _), (b, b_written, _)| a.cmp(b).then_with(|| b_written.cmp(a_written)));
    rows.dedup_by(|later, first| later.0 == first.0);
    let places = rows.into_iter().map(|(_, _, place)| place).skip(offset);
    places.take(limit.unwrap_or(usize::MAX)).collect()
}

fn int64_keys(ids: &PrimaryKeys) -> impl Iterator<Item = i64> {
    let keys: &[i64] = if let PrimaryKeys::Int64(keys) = ids { keys } else { &[] };
    keys.iter().copied()
}

fn varchar_keys(ids: &PrimaryKeys) -> impl Iterator<Item = &[u8]> {
    let keys = if let PrimaryKeys::VarChar(keys) = ids { Some(keys) } else { None };
    keys.into_iter().flat_map(|keys| keys.iter())
}
