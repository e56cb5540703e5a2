//! From records and objects to an open segment.

use std::sync::Arc;

use redkite_catalog::{IndexRecord, SegmentIndexFile, SegmentRecord};
use redkite_runtime::blocking;
use redkite_storage::format::{KeyDeletes, RowDeletes};
use redkite_storage::{Mapped, ObjectStore};

use super::{AttachedIndex, SealedSegment};
use crate::{Error, Result};

impl SealedSegment {
    /// Opens a recorded segment with its folded deletes. Deltas and indexes come after.
    ///
    /// # Errors
    /// If a file is absent or damaged.
    pub async fn load(store: &dyn ObjectStore, record: &SegmentRecord) -> Result<Self> {
        let data = Arc::new(store.local(&record.data).await?.map()?);
        let segment = Self::open(record.id, record.partition, data)?;
        if let Some(deletes) = &record.deletes {
            let bytes = store.get(&deletes.path).await?;
            segment.apply_row_deletes(&RowDeletes::decode(&deletes.path, &bytes)?);
        }
        Ok(segment)
    }

    /// Opens a finished index of the segment and attaches it.
    ///
    /// # Errors
    /// If the file is absent, damaged, or no index over this segment.
    pub async fn load_index(
        &self,
        store: &dyn ObjectStore,
        definition: &IndexRecord,
        file: &SegmentIndexFile,
    ) -> Result<()> {
        let map = Arc::new(store.local(&file.path).await?.map()?);
        let (path, vector) = (file.path.clone(), definition.spec.method.is_vector());
        // Scalar indexes are read whole.
        let index = blocking(move || open_index(&path, vector, map)).await?;
        let rows = match &index {
            AttachedIndex::Vector(index) => index.rows(),
            AttachedIndex::Scalar(index) => index.rows(),
        };
        if rows != self.rows() {
            return Err(Error::IndexRows { path: file.path.clone(), rows: self.rows(), found: rows });
        }
        self.attach_index(definition.id, definition.field, index);
        Ok(())
    }
}

/// Reads a delta file.
///
/// # Errors
/// If it is absent or damaged.
pub async fn read_deltas(store: &dyn ObjectStore, path: &str) -> Result<KeyDeletes> {
    Ok(KeyDeletes::decode(path, &store.get(path).await?)?)
}

fn open_index(path: &str, vector: bool, map: Arc<Mapped>) -> Result<AttachedIndex> {
    if vector {
        let index = redkite_index::vector::open(map)
            .map_err(|source| Error::Index { path: path.to_owned(), source })?;
        return Ok(AttachedIndex::Vector(index.into()));
    }
    let index = redkite_index::scalar::open(map)
        .map_err(|source| Error::ScalarIndex { path: path.to_owned(), source })?;
    Ok(AttachedIndex::Scalar(index.into()))
}
