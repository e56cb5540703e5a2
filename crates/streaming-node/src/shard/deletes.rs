//! Which deletes are not in files yet?
//!
//! The buffer holds every delete since the shard's checkpoint, in timestamp order. Segments that are
//! being loaded and query nodes that fell behind take what they have missed from here; a flush writes
//! it to a delta file and, once that is recorded, trims it.

use std::collections::VecDeque;
use std::sync::Arc;

use redkite_service::{Delete, DeleteBatch};
use redkite_storage::format::KeyDeletes;
use redkite_types::{DataType, Timestamp};

/// Deletes since the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct DeleteBuffer {
    deletes: VecDeque<Arc<Delete>>,
    bytes: usize,
    /// The last delete.
    newest: Timestamp,
    /// Every delete up to here has passed through the buffer.
    through: Timestamp,
}

impl DeleteBuffer {
    /// Adds the next delete.
    pub(crate) fn push(&mut self, delete: Arc<Delete>) {
        self.newest = self.newest.max(delete.timestamp);
        self.through = self.through.max(delete.timestamp);
        self.bytes += bytes(&delete);
        self.deletes.push_back(delete);
    }

    /// Notes that no delete up to here is missing.
    pub(crate) fn advance(&mut self, through: Timestamp) {
        self.through = self.through.max(through);
    }

    /// The deletes after a timestamp.
    pub(crate) fn after(&self, after: Timestamp) -> DeleteBatch {
        let first = self.deletes.partition_point(|delete| delete.timestamp <= after);
        DeleteBatch { after, deletes: self.deletes.range(first..).cloned().collect(), through: self.through }
    }

    /// When the last delete was.
    pub(crate) fn newest(&self) -> Timestamp {
        self.newest
    }

    /// The deletes of a stretch of time.
    pub(crate) fn between(&self, after: Timestamp, through: Timestamp) -> Vec<Arc<Delete>> {
        let meant = |delete: &&Arc<Delete>| delete.timestamp > after && delete.timestamp <= through;
        self.deletes.iter().filter(meant).cloned().collect()
    }

    /// Forgets the deletes up to a timestamp: they are in files.
    pub(crate) fn trim(&mut self, through: Timestamp) {
        while let Some(delete) = self.deletes.front()
            && delete.timestamp <= through
        {
            self.bytes -= bytes(delete);
            self.deletes.pop_front();
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Deletes as a delta file holds them.
pub(crate) fn delta(deletes: &[Arc<Delete>], key_type: DataType) -> KeyDeletes {
    let mut file = KeyDeletes::empty(key_type);
    for delete in deletes {
        for key in delete.keys.iter() {
            file.push(key, delete.timestamp, delete.partition);
        }
    }
    file
}

fn bytes(delete: &Delete) -> usize {
    delete.keys.memory_bytes() + size_of::<Delete>()
}

#[cfg(test)]
mod tests {
    use redkite_types::PrimaryKeys;

    use super::*;

    fn delete(timestamp: u64) -> Arc<Delete> {
        let keys = PrimaryKeys::Int64(vec![i64::try_from(timestamp).unwrap()]);
        Arc::new(Delete { timestamp: Timestamp(timestamp), partition: None, keys })
    }

    #[test]
    fn gives_what_is_missing_and_trims_what_is_in_files() {
        let mut buffer = DeleteBuffer::default();
        (1..=5).for_each(|at| buffer.push(delete(at)));
        assert_eq!(buffer.after(Timestamp(3)).deletes, [delete(4), delete(5)]);
        let file = delta(&buffer.between(Timestamp(1), Timestamp(3)), DataType::Int64);
        assert_eq!(file.keys, PrimaryKeys::Int64(vec![2, 3]));
        buffer.trim(Timestamp(4));
        let all = buffer.after(Timestamp::ZERO);
        assert_eq!((all.deletes.len(), all.through), (1, Timestamp(5)));
        buffer.trim(Timestamp(5));
        assert_eq!(buffer.bytes(), 0);
    }
}
