//! The rows of a growing segment at one moment.

use std::sync::Arc;

use parking_lot::RwLock;
use redkite_types::{Bitmap, FieldId, PrimaryKeys};

use super::chunk::Chunk;
use super::keys::KeyRows;
use crate::Result;
use crate::read::{KeyLookup, Piece, Snapshot, Visibility};

/// Chunks and who of them is seen.
#[derive(Debug)]
pub(crate) struct GrowingView {
    key_field: FieldId,
    keys: Arc<RwLock<KeyRows>>,
    chunks: Vec<Arc<Chunk>>,
    visible: Vec<Option<Arc<Bitmap>>>,
}

impl GrowingView {
    pub(super) fn new(
        key_field: FieldId,
        keys: Arc<RwLock<KeyRows>>,
        chunks: Vec<Arc<Chunk>>,
        alive: Vec<Option<Arc<Bitmap>>>,
        visibility: Visibility,
    ) -> Self {
        let visible = chunks
            .iter()
            .zip(alive)
            .map(|(chunk, alive)| visibility.restrict(alive, chunk.span(), || chunk.timestamps()))
            .collect();
        Self { key_field, keys, chunks, visible }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>> {
        let pieces = self.chunks.iter().zip(&self.visible).map(|(chunk, visible)| Piece {
            columns: &**chunk,
            rows: chunk.rows(),
            first_row: chunk.first_row(),
            visible: visible.clone(),
            indexes: None,
        });
        Snapshot::new(self.key_field, pieces.collect(), self)
    }

    fn rows(&self) -> u32 {
        self.chunks.last().map_or(0, |chunk| {
            chunk.first_row() + u32::try_from(chunk.rows()).expect("rows are counted in 32 bits")
        })
    }
}

impl KeyLookup for GrowingView {
    fn rows_of(&self, keys: &PrimaryKeys) -> Result<Vec<u32>> {
        let (end, lookup) = (self.rows(), self.keys.read());
        let mut rows: Vec<u32> =
            keys.iter().flat_map(|key| lookup.newest_first(key)).filter(|row| *row < end).collect();
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    fn repeated(&self) -> bool {
        self.keys.read().repeated()
    }

    fn sorted(&self) -> bool {
        false
    }
}
