//! What an open segment costs.

use super::SealedSegment;

/// Bytes of an open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SegmentFootprint {
    /// On the heap: deletes, norms, null bits.
    pub resident_bytes: u64,
    /// Mapped from files: data and indexes. The kernel keeps in memory what is used.
    pub mapped_bytes: u64,
}

impl SealedSegment {
    /// What this segment costs now.
    #[must_use]
    pub fn footprint(&self) -> SegmentFootprint {
        let norms: usize =
            self.norms.values().filter_map(|norms| norms.get()).map(|norms| norms.len() * 4).sum();
        let resident = norms + self.file.heap_bytes() + self.deleted.read().memory_bytes();
        SegmentFootprint {
            resident_bytes: resident as u64,
            mapped_bytes: self.file.bytes() + self.indexes.load().bytes() as u64,
        }
    }

    /// Brings what searches need first into memory: keys, timestamps, and the vectors that have no
    /// index to point at the few that matter. Blocks for as long as the disk needs.
    ///
    /// # Errors
    /// If keys or timestamps are damaged.
    pub fn warm(&self) -> crate::Result<()> {
        self.file.keys()?;
        self.file.timestamps()?;
        let indexes = self.indexes.load();
        for (field, data_type, _) in self.file.fields().filter(|(_, data_type, _)| data_type.is_vector()) {
            debug_assert!(data_type.is_vector());
            if indexes.has_vector(field) {
                self.file.will_need(field);
            } else {
                self.file.populate(field);
            }
        }
        Ok(())
    }
}
