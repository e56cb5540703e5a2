//! Some rows that never change.

use std::sync::OnceLock;

use redkite_index::vector::{VectorsView, inverse_norms};
use redkite_types::{Batch, Column, ColumnView, FieldId, Timestamp};

use crate::Result;
use crate::read::Columns;

/// Rows in the order they were written, as columns.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Number of rows in the chunks before this one.
    first_row: u32,
    columns: Vec<Column>,
    timestamps: Vec<Timestamp>,
    span: (Timestamp, Timestamp),
    bytes: usize,
    /// One per column; filled when a cosine search first compares its vectors.
    norms: Vec<OnceLock<Vec<f32>>>,
}

impl Chunk {
    /// # Panics
    /// If there are no rows.
    pub(crate) fn new(first_row: u32, rows: Batch, timestamps: Vec<Timestamp>) -> Self {
        let bytes = rows.memory_bytes() + timestamps.len() * size_of::<Timestamp>();
        let oldest = *timestamps.iter().min().expect("a chunk has rows");
        let newest = *timestamps.iter().max().expect("a chunk has rows");
        let norms = rows.columns.iter().map(|_| OnceLock::new()).collect();
        Self { first_row, columns: rows.columns, timestamps, span: (oldest, newest), bytes, norms }
    }

    pub(crate) fn first_row(&self) -> u32 {
        self.first_row
    }

    pub(crate) fn rows(&self) -> usize {
        self.timestamps.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Oldest and newest timestamp.
    pub(crate) fn span(&self) -> (Timestamp, Timestamp) {
        self.span
    }

    pub(crate) fn timestamps(&self) -> &[Timestamp] {
        &self.timestamps
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// These rows and then those of the next chunk; `None` if one of them lacks a field of the other
    /// (the schema changed between them).
    pub(crate) fn merged(&self, next: &Self) -> Option<Self> {
        let shape = |column: &Column| (column.field, column.data.data_type(), column.data.view().dim());
        if !self.columns.iter().map(shape).eq(next.columns.iter().map(shape)) {
            return None;
        }
        let columns = self.columns.iter().zip(&next.columns).map(|(first, second)| {
            let mut both = Column::empty(first.field, first.data.data_type(), first.data.view().dim());
            both.append_rows(first.view(), 0..first.len());
            both.append_rows(second.view(), 0..second.len());
            both
        });
        let rows = Batch::new(columns.collect());
        let timestamps = [&*self.timestamps, &*next.timestamps].concat();
        Some(Self::new(self.first_row, rows, timestamps))
    }

    fn position(&self, field: FieldId) -> Option<usize> {
        self.columns.iter().position(|column| column.field == field)
    }
}

impl Columns for Chunk {
    fn column(&self, field: FieldId) -> Result<Option<ColumnView<'_>>> {
        Ok(self.position(field).map(|position| self.columns[position].view()))
    }

    fn timestamps(&self) -> Result<&[Timestamp]> {
        Ok(&self.timestamps)
    }

    fn inverse_norms(&self, field: FieldId) -> Option<&[f32]> {
        let position = self.position(field)?;
        let vectors = VectorsView::try_from(self.columns[position].data.view()).ok()?;
        Some(self.norms[position].get_or_init(|| inverse_norms(vectors)))
    }
}
