//! Primary keys by binary search in the sorted column.

use std::cmp::Ordering;
use std::ops::Range;

use redkite_storage::format::SegmentFile;
use redkite_types::{DataView, PrimaryKeyRef, PrimaryKeys};

use crate::Result;
use crate::read::KeyLookup;

/// The keys of a segment file.
pub(super) struct SortedKeys<'a>(pub(super) &'a SegmentFile);

impl SortedKeys<'_> {
    /// The rows of a key.
    pub(super) fn run(&self, key: PrimaryKeyRef<'_>) -> Result<Range<u32>> {
        let stats = self.0.stats();
        // Most keys a delete names are in other segments: no page of the file is read for those.
        let outside = stats.min_key.as_ref().is_none_or(|min| key < min.as_ref())
            || stats.max_key.as_ref().is_none_or(|max| key > max.as_ref());
        if outside {
            return Ok(0..0);
        }
        let keys = self.0.keys()?;
        let first = partition_point(keys, |other| other.cmp(&key) == Ordering::Less);
        let after = if stats.repeated_keys == 0 {
            first + usize::from(first < keys.len() && keys.primary_key(first) == key)
        } else {
            partition_point(keys, |other| other.cmp(&key) != Ordering::Greater)
        };
        Ok(number(first)..number(after))
    }
}

impl KeyLookup for SortedKeys<'_> {
    fn rows_of(&self, keys: &PrimaryKeys) -> Result<Vec<u32>> {
        let mut rows = Vec::new();
        for key in keys.iter() {
            rows.extend(self.run(key)?);
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    fn repeated(&self) -> bool {
        self.0.stats().repeated_keys > 0
    }

    fn sorted(&self) -> bool {
        true
    }
}

fn partition_point(keys: DataView<'_>, before: impl Fn(PrimaryKeyRef<'_>) -> bool) -> usize {
    let (mut low, mut high) = (0, keys.len());
    while low < high {
        let middle = low.midpoint(high);
        if before(keys.primary_key(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn number(row: usize) -> u32 {
    u32::try_from(row).expect("files have fewer than 2^32 rows")
}
