//! Rows that are still being written.
//!
//! Rows lie in immutable chunks; a new batch becomes a chunk, and neighbours of similar size are
//! merged until they are large, so that there are few of them and a row is copied a logarithmic
//! number of times. One writer at a time works beside the readers: a reader takes the list of chunks
//! (and who of them is alive at its timestamp) under a lock held for moments, and needs no more.

mod chunk;
mod keys;
mod view;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use redkite_query::{RetrievePart, SearchPart};
use redkite_types::{Batch, DataType, FieldId, FieldSchema, PrimaryKeys, Timestamp};

use crate::deleted::DeletedRows;
use crate::read::{self, Visibility};
use crate::{Error, Result, RetrieveTask, SearchTask, SegmentReader};
pub(crate) use chunk::Chunk;
use keys::KeyRows;
pub(crate) use view::GrowingView;

/// Chunks are not merged into larger ones than this: copying more costs the writer more than a chunk
/// costs the readers.
const CHUNK_BYTES: usize = 16 << 20;

/// Rows of one partition of one shard that are not in a file yet.
///
/// Law: inserts and deletes come in the order of the shard's log, timestamps never going back; a
/// delete at T kills the rows before T, an insert at the same T comes after it and lives.
#[derive(Debug)]
pub struct GrowingSegment {
    key_field: FieldId,
    key_type: DataType,
    /// Held by whoever changes something, for as long as that takes.
    writer: Mutex<()>,
    state: RwLock<State>,
    keys: Arc<RwLock<KeyRows>>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    rows: usize,
    bytes: usize,
    deleted: usize,
    /// Oldest and newest row.
    span: Option<(Timestamp, Timestamp)>,
}

/// A chunk and its deleted rows.
#[derive(Clone, Debug)]
struct Slot {
    chunk: Arc<Chunk>,
    deleted: Option<DeletedRows>,
}

impl GrowingSegment {
    /// No rows of a collection with this primary key.
    #[must_use]
    pub fn new(primary_key: &FieldSchema) -> Self {
        Self {
            key_field: primary_key.id,
            key_type: primary_key.data_type,
            writer: Mutex::default(),
            state: RwLock::default(),
            keys: Arc::new(RwLock::new(KeyRows::empty(primary_key.data_type))),
        }
    }

    /// Adds rows, all written at one time. Once this has returned, every reader sees them.
    ///
    /// # Errors
    /// If the rows have no primary keys of the right type, or the segment is full.
    pub fn insert(&self, rows: Batch, timestamp: Timestamp) -> Result<()> {
        let timestamps = vec![timestamp; rows.rows];
        self.insert_stamped(rows, timestamps)
    }

    /// Adds rows with a timestamp each.
    ///
    /// # Errors
    /// If the rows have no primary keys of the right type, there is not one timestamp each, or the
    /// segment is full.
    pub fn insert_stamped(&self, rows: Batch, timestamps: Vec<Timestamp>) -> Result<()> {
        if rows.rows != timestamps.len() {
            return Err(Error::Timestamps { rows: rows.rows, timestamps: timestamps.len() });
        }
        if rows.rows == 0 {
            return Ok(());
        }
        let keys = rows
            .column(self.key_field)
            .filter(|column| column.data.data_type() == self.key_type)
            .ok_or(Error::NoKeys { field: self.key_field, expected: self.key_type })?;

        let _writer = self.writer.lock();
        let first_row = self.state.read().rows;
        let first_row = u32::try_from(first_row)
            .ok()
            .filter(|first| u32::try_from(rows.rows).is_ok_and(|more| first.checked_add(more).is_some()))
            .ok_or(Error::Full { rows: first_row, more: rows.rows })?;
        // Before the rows themselves: a lookup may find a row its reader does not see, never miss one.
        self.keys.write().insert(keys.data.view(), first_row);
        let chunk = Chunk::new(first_row, rows, timestamps);
        self.append(chunk);
        Ok(())
    }

    /// Deletes the rows with these keys written before the timestamp; returns how many were alive.
    ///
    /// # Errors
    /// If the keys are of another type.
    pub fn delete(&self, keys: &PrimaryKeys, timestamp: Timestamp) -> Result<usize> {
        if !keys.is_empty() && !matches_type(keys, self.key_type) {
            return Err(Error::NoKeys { field: self.key_field, expected: self.key_type });
        }
        let _writer = self.writer.lock();
        let doomed = self.doomed(keys, timestamp);
        let mut state = self.state.write();
        let mut killed = 0;
        for same_slot in doomed.chunk_by(|a, b| a.0 == b.0) {
            let slot = &mut state.slots[same_slot[0].0];
            let rows = slot.chunk.rows();
            let deleted = slot.deleted.get_or_insert_with(|| DeletedRows::none(rows));
            killed += deleted.delete(same_slot.iter().map(|(_, row)| (*row, timestamp)));
        }
        state.deleted += killed;
        Ok(killed)
    }

    /// Number of rows, deleted ones included.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.state.read().rows
    }

    /// Number of deleted rows.
    #[must_use]
    pub fn deleted_rows(&self) -> usize {
        self.state.read().deleted
    }

    /// Bytes the values take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.read().bytes
    }

    /// Timestamps of the oldest and the newest row; `None` without rows.
    #[must_use]
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.state.read().span
    }

    /// The rows as they are at a timestamp.
    pub(crate) fn view(&self, visibility: Visibility) -> GrowingView {
        let (chunks, deleted): (Vec<_>, Vec<_>) = {
            let state = self.state.read();
            let alive = |slot: &Slot| slot.deleted.as_ref().and_then(|d| d.alive_at(visibility.read));
            state.slots.iter().map(|slot| (slot.chunk.clone(), alive(slot))).unzip()
        };
        GrowingView::new(self.key_field, self.keys.clone(), chunks, deleted, visibility)
    }

    /// Every chunk with its deleted rows, for sealing.
    pub(crate) fn slots(&self) -> Vec<(Arc<Chunk>, Option<DeletedRows>)> {
        let state = self.state.read();
        state.slots.iter().map(|slot| (slot.chunk.clone(), slot.deleted.clone())).collect()
    }

    pub(crate) fn key_field(&self) -> FieldId {
        self.key_field
    }

    /// Publishes a chunk. Merging is done beside the readers; only the exchange makes them wait.
    fn append(&self, mut chunk: Chunk) {
        let (rows, bytes, span) = (chunk.rows(), chunk.bytes(), chunk.span());
        // Only the writer changes the slots, and that is us.
        let mut before: Vec<Arc<Chunk>> =
            self.state.read().slots.iter().map(|slot| slot.chunk.clone()).collect();
        let mut absorbed = 0;
        while let Some(last) = before.pop()
            && last.rows() <= 2 * chunk.rows()
            && last.bytes() + chunk.bytes() <= CHUNK_BYTES
            && let Some(merged) = last.merged(&chunk)
        {
            chunk = merged;
            absorbed += 1;
        }

        let mut state = self.state.write();
        let keep = state.slots.len() - absorbed;
        let deleted = rebased(&state.slots[keep..], chunk.first_row(), chunk.rows());
        state.slots.truncate(keep);
        state.slots.push(Slot { chunk: Arc::new(chunk), deleted });
        state.rows += rows;
        state.bytes += bytes;
        let (oldest, newest) = state.span.unwrap_or(span);
        state.span = Some((oldest.min(span.0), newest.max(span.1)));
    }

    /// The rows a delete kills: slot and row therein, ascending.
    fn doomed(&self, keys: &PrimaryKeys, timestamp: Timestamp) -> Vec<(usize, u32)> {
        let (lookup, state) = (self.keys.read(), self.state.read());
        let mut doomed = Vec::new();
        for key in keys.iter() {
            for row in lookup.newest_first(key) {
                let slot = state.slots.partition_point(|slot| slot.chunk.first_row() <= row) - 1;
                let Slot { chunk, deleted } = &state.slots[slot];
                let offset = row - chunk.first_row();
                let since = deleted.as_ref().and_then(|deleted| deleted.since(offset));
                if since.is_some_and(|since| since <= timestamp) {
                    // That delete killed every older row of the key as well.
                    break;
                }
                if chunk.timestamps()[offset as usize] < timestamp {
                    doomed.push((slot, offset));
                }
            }
        }
        doomed.sort_unstable();
        doomed
    }
}

impl SegmentReader for GrowingSegment {
    fn search(&self, task: &SearchTask<'_>) -> Result<SearchPart> {
        let view = self.view(Visibility { read: task.read_timestamp, expired_before: task.expired_before });
        read::search(&view.snapshot()?, task)
    }

    fn retrieve(&self, task: &RetrieveTask<'_>) -> Result<RetrievePart> {
        let view = self.view(Visibility { read: task.read_timestamp, expired_before: task.expired_before });
        read::retrieve(&view.snapshot()?, task)
    }

    fn count(&self, task: &RetrieveTask<'_>) -> Result<u64> {
        let view = self.view(Visibility { read: task.read_timestamp, expired_before: task.expired_before });
        read::count(&view.snapshot()?, task)
    }
}

/// The deleted rows of merged chunks, counted from the first row of the merged one.
fn rebased(slots: &[Slot], first_row: u32, rows: usize) -> Option<DeletedRows> {
    slots.iter().any(|slot| slot.deleted.is_some()).then(|| {
        let mut deletes = Vec::new();
        for slot in slots {
            let shift = slot.chunk.first_row() - first_row;
            let deleted = slot.deleted.iter().flat_map(DeletedRows::iter);
            deletes.extend(deleted.map(|(row, since)| (since, row + shift)));
        }
        deletes.sort_unstable();
        let mut merged = DeletedRows::none(rows);
        merged.delete(deletes.into_iter().map(|(since, row)| (row, since)));
        merged
    })
}

pub(crate) fn matches_type(keys: &PrimaryKeys, data_type: DataType) -> bool {
    match keys {
        PrimaryKeys::Int64(_) => data_type == DataType::Int64,
        PrimaryKeys::VarChar(_) => data_type == DataType::VarChar,
    }
}

#[cfg(test)]
mod tests;
