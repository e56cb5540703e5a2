//! Copies in the order of an amount.

use std::collections::BTreeSet;
use std::ops::{Bound, RangeBounds};

use redkite_types::SegmentId;

use super::CopySlot;

/// Amount, segment, copy.
type Entry = (u64, SegmentId, CopySlot);

/// So many changes wait at least before they are applied unasked.
const FEW: usize = 64;

/// A sorted set. Changes wait until somebody looks: applied together they find its memory in the CPU's caches,
/// while copies that come to one node after the other would not.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes {
    sorted: BTreeSet<Entry>,
    /// What has come (or gone, if false) since.
    waiting: Vec<(Entry, bool)>,
}

impl Sizes {
    pub(super) fn insert(&mut self, entry: Entry) {
        self.change(entry, true);
    }

    pub(super) fn remove(&mut self, entry: Entry) {
        self.change(entry, false);
    }

    fn change(&mut self, entry: Entry, comes: bool) {
        self.waiting.push((entry, comes));
        if self.waiting.len() > FEW.max(self.sorted.len()) {
            self.settle();
        }
    }

    /// Applies what waits.
    pub(super) fn settle(&mut self) {
        for (entry, comes) in self.waiting.drain(..) {
            if comes {
                self.sorted.insert(entry);
            } else {
                self.sorted.remove(&entry);
            }
        }
    }

    /// Those within bounds, ascending.
    pub(super) fn range(&self, amounts: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = CopySlot> {
        use Bound::{Excluded, Included, Unbounded};
        const FIRST: (SegmentId, CopySlot) = (SegmentId(i64::MIN), CopySlot(0));
        const LAST: (SegmentId, CopySlot) = (SegmentId(i64::MAX), CopySlot(u32::MAX));
        debug_assert!(self.waiting.is_empty(), "who looks settles first");
        let from = match amounts.start_bound() {
            Included(amount) => Included((*amount, FIRST.0, FIRST.1)),
            Excluded(amount) => Excluded((*amount, LAST.0, LAST.1)),
            Unbounded => Unbounded,
        };
        let to = match amounts.end_bound() {
            Included(amount) => Included((*amount, LAST.0, LAST.1)),
            Excluded(amount) => Excluded((*amount, FIRST.0, FIRST.1)),
            Unbounded => Unbounded,
        };
        self.sorted.range((from, to)).map(|(_, _, copy)| *copy)
    }
}
