//! Which rows are deleted, as of when?
//!
//! Every deleted row keeps the time of its first delete, so that a read at an earlier timestamp still
//! sees it. The bitmap of rows alive now is shared with readers and copied only when a delete comes
//! while one of them holds it.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use redkite_storage::format::RowDeletes;
use redkite_types::{Bitmap, Timestamp};

/// The deleted rows among a fixed number of rows.
#[derive(Clone, Debug)]
pub(crate) struct DeletedRows {
    since: HashMap<u32, Timestamp>,
    /// Deletes by time. A row whose delete turned out to be older is in here twice.
    history: Vec<(Timestamp, u32)>,
    alive: Arc<Bitmap>,
}

impl DeletedRows {
    pub(crate) fn none(rows: usize) -> Self {
        Self { since: HashMap::new(), history: Vec::new(), alive: Arc::new(Bitmap::filled(rows, true)) }
    }

    /// Number of deleted rows.
    pub(crate) fn len(&self) -> usize {
        self.since.len()
    }

    /// Since when a row is deleted.
    pub(crate) fn since(&self, row: u32) -> Option<Timestamp> {
        self.since.get(&row).copied()
    }

    /// Deletes rows; returns how many were alive. Deleting again, or later, changes nothing.
    pub(crate) fn delete(&mut self, deletes: impl IntoIterator<Item = (u32, Timestamp)>) -> usize {
        let (mut killed, mut sorted) = (0, true);
        let alive = Arc::make_mut(&mut self.alive);
        for (row, timestamp) in deletes {
            match self.since.entry(row) {
                Entry::Occupied(known) if *known.get() <= timestamp => continue,
                Entry::Occupied(mut known) => *known.get_mut() = timestamp,
                Entry::Vacant(new) => {
                    new.insert(timestamp);
                    alive.clear(row as usize);
                    killed += 1;
                }
            }
            sorted &= self.history.last().is_none_or(|(last, _)| *last <= timestamp);
            self.history.push((timestamp, row));
        }
        if !sorted {
            self.history.sort_unstable();
        }
        killed
    }

    /// The rows that are alive at a timestamp; `None` if all are.
    pub(crate) fn alive_at(&self, read: Timestamp) -> Option<Arc<Bitmap>> {
        let seen = self.history.partition_point(|(timestamp, _)| *timestamp <= read);
        if seen == 0 {
            return None;
        }
        if seen == self.history.len() {
            return Some(self.alive.clone());
        }
        let mut alive = (*self.alive).clone();
        for (timestamp, row) in &self.history[seen..] {
            // Otherwise the row has an older delete, which is seen.
            if self.since(*row) == Some(*timestamp) {
                alive.set(*row as usize);
            }
        }
        Some(Arc::new(alive))
    }

    /// The deletes up to a timestamp.
    pub(crate) fn through(&self, through: Timestamp) -> RowDeletes {
        let seen = self.since.iter().filter(|(_, timestamp)| **timestamp <= through);
        let mut deletes: Vec<(u32, Timestamp)> = seen.map(|(row, timestamp)| (*row, *timestamp)).collect();
        deletes.sort_unstable();
        let (rows, timestamps) = deletes.into_iter().unzip();
        RowDeletes { rows, timestamps }
    }

    /// Every deleted row and since when, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Timestamp)> + '_ {
        self.since.iter().map(|(row, timestamp)| (*row, *timestamp))
    }

    /// Bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.since.capacity() * size_of::<(u32, Timestamp)>()
            + self.history.capacity() * size_of::<(Timestamp, u32)>()
            + self.alive.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(deleted: &DeletedRows, read: u64) -> Vec<usize> {
        let Some(mut alive) = deleted.alive_at(Timestamp(read)).map(|alive| (*alive).clone()) else {
            return Vec::new();
        };
        alive.flip();
        alive.ones().collect()
    }

    #[test]
    fn reads_see_the_deletes_up_to_their_timestamp() {
        let mut deleted = DeletedRows::none(100);
        assert_eq!(deleted.delete([(7, Timestamp(30)), (3, Timestamp(10))]), 2);
        assert_eq!(deleted.delete([(7, Timestamp(40)), (99, Timestamp(20))]), 1);
        assert!(dead(&deleted, 9).is_empty());
        assert_eq!(dead(&deleted, 10), [3]);
        assert_eq!(dead(&deleted, 20), [3, 99]);
        assert_eq!(dead(&deleted, 1000), [3, 7, 99]);
    }

    #[test]
    fn the_oldest_delete_of_a_row_counts() {
        let mut deleted = DeletedRows::none(10);
        deleted.delete([(1, Timestamp(50))]);
        assert_eq!(deleted.delete([(1, Timestamp(20))]), 0);
        assert!(dead(&deleted, 19).is_empty());
        assert_eq!(dead(&deleted, 20), [1]);
        assert_eq!(dead(&deleted, 49), [1]);
        assert_eq!(deleted.through(Timestamp(20)).rows, [1]);
        assert_eq!(deleted.len(), 1);
    }
}
