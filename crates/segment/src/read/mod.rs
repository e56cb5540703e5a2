//! How are rows found, wherever they lie?
//!
//! A [`Snapshot`] is some [`Piece`]s of rows (the chunks of a growing segment, or the one file of a
//! sealed one) with the rows of each that are visible. A read first selects rows by filter
//! ([`select`]), then searches or lists them, and copies the output columns of the few that are
//! answered ([`gather`]).

mod gather;
mod retrieve;
mod scan;
mod search;
mod select;

use std::sync::Arc;

use redkite_types::{
    Bitmap, CollectionSchema, Column, ColumnView, DataView, FieldId, FieldSchema, PrimaryKeyRef, PrimaryKeys,
    Timestamp, Value,
};

use crate::sealed::Indexes;
use crate::{Error, Result};
pub(crate) use retrieve::{count, retrieve};
pub(crate) use search::search;

/// What a read may see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visibility {
    /// Nothing after this.
    pub(crate) read: Timestamp,
    /// No row from before this.
    pub(crate) expired_before: Option<Timestamp>,
}

impl Visibility {
    /// Whether rows written in this span must be looked at one by one.
    pub(crate) fn looks_at_rows(&self, span: (Timestamp, Timestamp)) -> bool {
        span.0 < self.expired_before.unwrap_or(Timestamp::ZERO) || span.1 > self.read
    }

    /// The rows that are alive and were written at the right time; `None` if that is all of them.
    /// Timestamps are looked at only if `span`, the oldest and the newest, says that it matters.
    pub(crate) fn restrict<'a>(
        &self,
        alive: Option<Arc<Bitmap>>,
        span: (Timestamp, Timestamp),
        timestamps: impl FnOnce() -> &'a [Timestamp],
    ) -> Option<Arc<Bitmap>> {
        let oldest = self.expired_before.unwrap_or(Timestamp::ZERO);
        if !self.looks_at_rows(span) {
            return alive;
        }
        let timestamps = timestamps();
        let seen = |row: usize| timestamps[row] >= oldest && timestamps[row] <= self.read;
        let mut visible = Bitmap::from_fn(timestamps.len(), seen);
        alive.into_iter().for_each(|alive| visible.and(&alive));
        Some(Arc::new(visible))
    }
}

/// Columns of rows.
pub(crate) trait Columns: Sync {
    /// The column of a field; `None` if these rows were written before there was the field.
    fn column(&self, field: FieldId) -> Result<Option<ColumnView<'_>>>;

    /// When each row was written.
    fn timestamps(&self) -> Result<&[Timestamp]>;

    /// Kept `1 / norm` of each vector; `None` if this is no vector column.
    fn inverse_norms(&self, field: FieldId) -> Option<&[f32]>;
}

/// Where primary keys are.
pub(crate) trait KeyLookup: Sync {
    /// The rows with any of these keys, ascending, visible or not.
    fn rows_of(&self, keys: &PrimaryKeys) -> Result<Vec<u32>>;

    /// Whether a key may be in more than one row.
    fn repeated(&self) -> bool;

    /// Whether rows are sorted by (primary key, timestamp).
    fn sorted(&self) -> bool;
}

/// Rows that lie together.
pub(crate) struct Piece<'a> {
    pub(crate) columns: &'a dyn Columns,
    pub(crate) rows: usize,
    /// Number of rows in the pieces before this one.
    pub(crate) first_row: u32,
    /// `None` if every row is.
    pub(crate) visible: Option<Arc<Bitmap>>,
    pub(crate) indexes: Option<&'a Indexes>,
}

/// Rows as a read sees them.
pub(crate) struct Snapshot<'a> {
    pieces: Vec<Piece<'a>>,
    /// The primary keys of each piece.
    keys: Vec<DataView<'a>>,
    lookup: &'a dyn KeyLookup,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(key_field: FieldId, pieces: Vec<Piece<'a>>, lookup: &'a dyn KeyLookup) -> Result<Self> {
        let keys = pieces
            .iter()
            .map(|piece| {
                let column = piece.columns.column(key_field)?;
                Ok(column.expect("rows are accepted with keys only").data)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { pieces, keys, lookup })
    }

    /// Number of rows, visible or not.
    fn rows(&self) -> usize {
        self.pieces.iter().map(|piece| piece.rows).sum()
    }

    /// Which piece a row is in, and where therein.
    fn place(&self, row: u32) -> (usize, usize) {
        let piece = self.pieces.partition_point(|piece| piece.first_row <= row) - 1;
        (piece, (row - self.pieces[piece].first_row) as usize)
    }

    fn key(&self, row: u32) -> PrimaryKeyRef<'a> {
        let (piece, offset) = self.place(row);
        self.keys[piece].primary_key(offset)
    }

    fn timestamp(&self, row: u32) -> Result<Timestamp> {
        let (piece, offset) = self.place(row);
        Ok(self.pieces[piece].columns.timestamps()?[offset])
    }
}

impl<'a> Piece<'a> {
    /// The column of a field of the schema; `None` if these rows do not have it.
    fn column(&self, field: &FieldSchema) -> Result<Option<ColumnView<'a>>> {
        let columns: &'a dyn Columns = self.columns;
        let Some(column) = columns.column(field.id)? else { return Ok(None) };
        let (found, found_dim) = (column.data.data_type(), column.data.dim());
        if found != field.data_type || found_dim != field.dim as usize {
            let (expected, dim) = (field.data_type, field.dim as usize);
            return Err(Error::FieldType { field: field.id, expected, dim, found, found_dim });
        }
        Ok(Some(column))
    }
}

fn field_of(schema: &CollectionSchema, field: FieldId) -> Result<&FieldSchema> {
    schema.field_by_id(field).ok_or(Error::UnknownField { field })
}

/// What rows written before there was the field have there.
fn absent(field: &FieldSchema, rows: usize) -> Column {
    let value = field.default_value.as_ref().unwrap_or(&Value::Null);
    Column::repeated(field.id, field.data_type, field.dim as usize, value, rows)
}
