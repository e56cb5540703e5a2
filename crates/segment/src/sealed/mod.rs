//! Rows in a file, sorted by (primary key, timestamp).
//!
//! The file is mapped and read in place; opening it looks at its directory only. Deletes are kept
//! beside it in memory. Indexes are attached while it is being read.

mod footprint;
mod indexes;
mod load;
mod lookup;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::RwLock;
use redkite_index::vector::{IndexError, VectorsView, inverse_norms};
use redkite_query::{RetrievePart, SearchPart};
use redkite_storage::Mapped;
use redkite_storage::format::{KeyDeletes, RowDeletes, SegmentFile, SegmentStats};
use redkite_types::{ColumnView, FieldId, IndexId, PartitionId, PrimaryKeys, SegmentId, Timestamp};

use crate::deleted::DeletedRows;
use crate::growing::matches_type;
use crate::read::{self, Columns, Piece, Snapshot, Visibility};
use crate::{Error, Result, RetrieveTask, SearchTask, SegmentReader};
pub use footprint::SegmentFootprint;
pub use indexes::AttachedIndex;
pub(crate) use indexes::Indexes;
pub use load::read_deltas;
use lookup::SortedKeys;

/// An immutable segment, open for reading.
#[derive(Debug)]
pub struct SealedSegment {
    id: SegmentId,
    partition: PartitionId,
    file: SegmentFile,
    deleted: RwLock<DeletedRows>,
    indexes: ArcSwap<Indexes>,
    /// One per vector field; filled by the first cosine search that has no index.
    norms: HashMap<FieldId, OnceLock<Vec<f32>>>,
}

impl SealedSegment {
    /// Opens a mapped data file.
    ///
    /// # Errors
    /// If its directory is damaged.
    pub fn open(id: SegmentId, partition: PartitionId, data: Arc<Mapped>) -> Result<Self> {
        let file = SegmentFile::open(data)?;
        let vectors = file.fields().filter(|(_, data_type, _)| data_type.is_vector());
        let norms = vectors.map(|(field, _, _)| (field, OnceLock::new())).collect();
        let deleted = RwLock::new(DeletedRows::none(file.rows()));
        Ok(Self { id, partition, file, deleted, indexes: ArcSwap::default(), norms })
    }

    /// Which segment it is.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The partition its rows belong to.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The data file. Before building from it, [`SegmentFile::verify`] it.
    #[must_use]
    pub fn file(&self) -> &SegmentFile {
        &self.file
    }

    /// Number of rows, deleted ones included.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.file.rows()
    }

    /// Number of deleted rows.
    #[must_use]
    pub fn deleted_rows(&self) -> usize {
        self.deleted.read().len()
    }

    /// What the file says about its rows.
    #[must_use]
    pub fn stats(&self) -> &SegmentStats {
        self.file.stats()
    }

    /// A column, to build an index from; `None` if the rows were written before there was the field.
    ///
    /// # Errors
    /// If the column is damaged.
    pub fn column(&self, field: FieldId) -> Result<Option<ColumnView<'_>>> {
        Ok(self.file.column(field)?)
    }

    /// A vector column, to build an index from; `None` if there is no such vector column.
    ///
    /// # Errors
    /// If the column is damaged.
    pub fn vectors(&self, field: FieldId) -> Result<Option<VectorsView<'_>>> {
        Ok(self.file.column(field)?.and_then(|column| VectorsView::try_from(column.data).ok()))
    }

    /// Deletes the rows with these keys written before the timestamp; returns how many were alive.
    /// Deletes may come in any order and again.
    ///
    /// # Errors
    /// If the keys are of another type, or keys or timestamps in the file are damaged.
    pub fn delete(&self, keys: &PrimaryKeys, timestamp: Timestamp) -> Result<usize> {
        if !keys.is_empty() && !matches_type(keys, self.file.key_type()) {
            return Err(Error::NoKeys { field: self.file.key_field(), expected: self.file.key_type() });
        }
        let mut doomed = Vec::new();
        for key in keys.iter() {
            self.doom(key, timestamp, &mut doomed)?;
        }
        Ok(self.kill(doomed))
    }

    /// Applies a delta file; returns how many rows it killed.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn apply_deltas(&self, deltas: &KeyDeletes) -> Result<usize> {
        if !deltas.is_empty() && !matches_type(&deltas.keys, self.file.key_type()) {
            return Err(Error::NoKeys { field: self.file.key_field(), expected: self.file.key_type() });
        }
        let mut doomed = Vec::new();
        for (key, timestamp, partition) in deltas.iter() {
            if partition.is_none_or(|partition| partition == self.partition) {
                self.doom(key, timestamp, &mut doomed)?;
            }
        }
        Ok(self.kill(doomed))
    }

    /// Applies a sidecar file. Rows the segment does not have are ignored.
    pub fn apply_row_deletes(&self, deletes: &RowDeletes) -> usize {
        let rows = self.rows();
        let pairs = deletes.rows.iter().copied().zip(deletes.timestamps.iter().copied());
        self.kill(pairs.filter(|(row, _)| (*row as usize) < rows).collect())
    }

    /// The deletes up to a timestamp: the content of the segment's next sidecar file.
    #[must_use]
    pub fn fold_deletes(&self, through: Timestamp) -> RowDeletes {
        self.deleted.read().through(through)
    }

    /// Adds the rows of a key that a delete kills.
    fn doom(
        &self,
        key: redkite_types::PrimaryKeyRef<'_>,
        timestamp: Timestamp,
        doomed: &mut Vec<(u32, Timestamp)>,
    ) -> Result<()> {
        if self.stats().min_timestamp >= timestamp {
            return Ok(());
        }
        let rows = SortedKeys(&self.file).run(key)?;
        if rows.is_empty() {
            return Ok(());
        }
        let written = self.file.timestamps()?;
        // Rows of one key are in the order of their timestamps.
        let older = rows.take_while(|row| written[*row as usize] < timestamp);
        doomed.extend(older.map(|row| (row, timestamp)));
        Ok(())
    }

    fn kill(&self, mut doomed: Vec<(u32, Timestamp)>) -> usize {
        if doomed.is_empty() {
            return 0;
        }
        doomed.sort_unstable_by_key(|(row, timestamp)| (*timestamp, *row));
        self.deleted.write().delete(doomed)
    }

    /// The rows alive at a timestamp; `None` if all are.
    pub(crate) fn alive_at(&self, read: Timestamp) -> Option<Arc<redkite_types::Bitmap>> {
        self.deleted.read().alive_at(read)
    }

    fn read<T>(&self, visibility: Visibility, read: impl FnOnce(&Snapshot<'_>) -> Result<T>) -> Result<T> {
        let alive = self.alive_at(visibility.read);
        let stats = self.stats();
        let span = (stats.min_timestamp, stats.max_timestamp);
        // Looked at before, so that damage is an error here.
        let timestamps = if visibility.looks_at_rows(span) { self.file.timestamps()? } else { &[] };
        let visible = visibility.restrict(alive, span, || timestamps);
        let indexes = self.indexes.load();
        let piece =
            Piece { columns: self, rows: self.rows(), first_row: 0, visible, indexes: Some(&indexes) };
        let lookup = SortedKeys(&self.file);
        let snapshot = Snapshot::new(self.file.key_field(), vec![piece], &lookup)?;
        read(&snapshot)
    }

    /// Makes an index part of every search from now on; it replaces one on the same field.
    pub fn attach_index(&self, id: IndexId, field: FieldId, index: AttachedIndex) {
        self.indexes.rcu(|indexes| indexes.with(id, field, index.clone()));
    }

    /// Forgets an index; searches that use it finish with it.
    pub fn detach_index(&self, id: IndexId) {
        self.indexes.rcu(|indexes| indexes.without(id));
    }

    /// Compares the whole data file with its checksums. Reads everything, and blocks meanwhile.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn verify(&self) -> Result<()> {
        Ok(self.file.verify()?)
    }

    /// Compares the attached indexes with their checksums; gives back those that are damaged. Reads
    /// everything, and blocks meanwhile.
    #[must_use]
    pub fn damaged_indexes(&self) -> Vec<(IndexId, IndexError)> {
        self.indexes.load().damaged()
    }

    /// The attached indexes.
    #[must_use]
    pub fn indexes(&self) -> Vec<IndexId> {
        self.indexes.load().ids()
    }
}

impl Columns for SealedSegment {
    fn column(&self, field: FieldId) -> Result<Option<ColumnView<'_>>> {
        Ok(self.file.column(field)?)
    }

    fn timestamps(&self) -> Result<&[Timestamp]> {
        Ok(self.file.timestamps()?)
    }

    fn inverse_norms(&self, field: FieldId) -> Option<&[f32]> {
        let vectors = self.vectors(field).ok()??;
        Some(self.norms.get(&field)?.get_or_init(|| inverse_norms(vectors)))
    }
}

impl SegmentReader for SealedSegment {
    fn search(&self, task: &SearchTask<'_>) -> Result<SearchPart> {
        let visibility = Visibility { read: task.read_timestamp, expired_before: task.expired_before };
        self.read(visibility, |snapshot| read::search(snapshot, task))
    }

    fn retrieve(&self, task: &RetrieveTask<'_>) -> Result<RetrievePart> {
        let visibility = Visibility { read: task.read_timestamp, expired_before: task.expired_before };
        self.read(visibility, |snapshot| read::retrieve(snapshot, task))
    }

    fn count(&self, task: &RetrieveTask<'_>) -> Result<u64> {
        let visibility = Visibility { read: task.read_timestamp, expired_before: task.expired_before };
        self.read(visibility, |snapshot| read::count(snapshot, task))
    }
}
