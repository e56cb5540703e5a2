//! How do the partial results of segments, nodes and shards become one result?
//!
//! Every level of a read (segment → node → shard leader → proxy) answers with the same two shapes,
//! so merging composes: merging merged parts equals merging all parts at once. Rows that carry the
//! same primary key are one entity; a search keeps its best hit, a retrieval its latest version.

mod retrieve;
mod search;

#[cfg(test)]
mod tests;

pub use retrieve::{RetrievePart, merge_retrieve};
pub use search::{SearchPart, merge_search, round_decimal};

use redkite_types::{Column, FieldId, PrimaryKeys};

/// Parts that do not belong together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReduceError {
    /// One part has Int64 keys, another VarChar ones.
    #[error("parts have primary keys of different types")]
    KeyType,
    /// A list of a part is shorter or longer than its ids.
    #[error("part has {found} {what} for {expected} rows")]
    Length {
        /// Which list.
        what: &'static str,
        /// Its length.
        found: usize,
        /// Number of ids.
        expected: usize,
    },
    /// A part lacks a column that another has, or has it with another type or dimension.
    #[error("field {field} is missing or of another type in one part")]
    Column {
        /// The column's field.
        field: FieldId,
    },
    /// Parts answer different numbers of queries.
    #[error("parts answer {left} and {right} queries")]
    Queries {
        /// Of one part.
        left: u32,
        /// Of another part.
        right: u32,
    },
}

/// Where a chosen row stands: which part, which row of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    part: u32,
    row: u32,
}

impl Place {
    fn new(part: usize, row: usize) -> Self {
        Self {
            part: u32::try_from(part).expect("far fewer than 2^32 parts"),
            row: u32::try_from(row).expect("a part of a result has far fewer than 2^32 rows"),
        }
    }

    fn part(self) -> usize {
        self.part as usize
    }

    fn row(self) -> usize {
        self.row as usize
    }
}

/// What both shapes have in common, borrowed.
struct Rows<'a> {
    ids: &'a PrimaryKeys,
    columns: &'a [Column],
}

impl Rows<'_> {
    fn check(&self, timestamps: usize) -> Result<(), ReduceError> {
        let expected = self.ids.len();
        let lengths = std::iter::once(("timestamps", timestamps))
            .chain(self.columns.iter().map(|column| ("values in a column", column.len())));
        for (what, found) in lengths {
            if found != expected {
                return Err(ReduceError::Length { what, found, expected });
            }
        }
        Ok(())
    }
}

/// No keys, of the type the parts have. Empty parts may be of either type.
fn empty_keys(parts: &[Rows<'_>]) -> Result<PrimaryKeys, ReduceError> {
    let same = |a: &PrimaryKeys, b: &PrimaryKeys| std::mem::discriminant(a) == std::mem::discriminant(b);
    let mut filled = parts.iter().map(|part| part.ids).filter(|ids| !ids.is_empty());
    let Some(first) = filled.next().or_else(|| parts.first().map(|part| part.ids)) else {
        return Ok(PrimaryKeys::Int64(Vec::new()));
    };
    if !filled.all(|ids| same(first, ids)) {
        return Err(ReduceError::KeyType);
    }
    Ok(match first {
        PrimaryKeys::Int64(_) => PrimaryKeys::Int64(Vec::new()),
        PrimaryKeys::VarChar(_) => PrimaryKeys::VarChar(redkite_types::VarColumn::new()),
    })
}

/// The columns of the chosen rows, in the order of the places.
fn gather_columns(parts: &[Rows<'_>], places: &[Place]) -> Result<Vec<Column>, ReduceError> {
    let Some(model) = parts.iter().find(|part| !part.ids.is_empty()).or(parts.first()) else {
        return Ok(Vec::new());
    };
    model
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| gather_column(parts, places, index, column))
        .collect()
}

fn gather_column(
    parts: &[Rows<'_>],
    places: &[Place],
    index: usize,
    model: &Column,
) -> Result<Column, ReduceError> {
    let (data_type, dim) = (model.data.data_type(), model.data.view().dim());
    let mut gathered = Column::empty(model.field, data_type, dim);
    // Parts list their columns in the same order, except where versions differ.
    let find = |part: &Rows<'_>| {
        let at = part.columns.get(index).filter(|column| column.field == model.field);
        let position =
            at.map(|_| index).or_else(|| part.columns.iter().position(|c| c.field == model.field))?;
        let view = part.columns[position].data.view();
        (view.data_type() == data_type && view.dim() == dim).then_some(position)
    };
    for run in places.chunk_by(|a, b| a.part == b.part) {
        let part = &parts[run[0].part()];
        let position = find(part).ok_or(ReduceError::Column { field: model.field })?;
        gathered.append_rows(part.columns[position].view(), run.iter().map(|place| place.row()));
    }
    Ok(gathered)
}
