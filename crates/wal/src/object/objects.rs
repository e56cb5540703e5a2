//! Which object holds which record?

use std::collections::VecDeque;

use redkite_types::Lsn;

use super::format::{Slot, Span};

/// The objects of a log that have records, in order. They are numbered, and keep their numbers when
/// earlier ones are forgotten.
#[derive(Debug)]
pub(super) struct Objects {
    first: Lsn,
    forgotten: u64,
    kept: VecDeque<Kept>,
}

/// An object that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) slot: Slot,
    /// Its bytes.
    pub(super) size: u64,
    /// Positions of its records, if they are known.
    pub(super) span: Option<Span>,
}

impl Objects {
    /// Objects from the record `first` on. Positions are unknown, but for the last one.
    pub(super) fn new(first: Lsn, records: Vec<(Slot, u64)>, last: Option<Span>) -> Self {
        let kept = records.into_iter().map(|(slot, size)| Kept { slot, size, span: None });
        let mut kept: VecDeque<_> = kept.collect();
        if let Some(newest) = kept.back_mut() {
            newest.span = last;
        }
        Self { first, forgotten: 0, kept }
    }

    /// Position of the first record kept, or of the next one.
    pub(super) fn first(&self) -> Lsn {
        self.first
    }

    /// Numbers of the objects kept, the second behind the last.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.forgotten, self.forgotten + self.kept.len() as u64)
    }

    pub(super) fn push(&mut self, slot: Slot, size: u64, span: Span) {
        self.kept.push_back(Kept { slot, size, span: Some(span) });
    }

    /// How many objects have records after a position. Of objects that were never read it is not known:
    /// they do not count.
    pub(super) fn after(&self, lsn: Lsn) -> usize {
        let before = |kept: &Kept| kept.span.is_none_or(|span| span.last <= lsn);
        self.kept.len() - self.kept.partition_point(before)
    }

    /// An object, if it is kept.
    pub(super) fn get(&self, number: u64) -> Option<Kept> {
        let index = usize::try_from(number.checked_sub(self.forgotten)?).ok()?;
        self.kept.get(index).copied()
    }

    /// Tells the positions of an object's records.
    pub(super) fn learn(&mut self, number: u64, span: Span) {
        let index = number.checked_sub(self.forgotten).and_then(|index| usize::try_from(index).ok());
        if let Some(kept) = index.and_then(|index| self.kept.get_mut(index)) {
            kept.span = Some(span);
        }
    }

    /// Forgets the objects before `number`, so that `first` is the first record; returns them.
    pub(super) fn forget(&mut self, number: u64, first: Lsn) -> Vec<Slot> {
        let count = usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let gone: Vec<_> = self.kept.drain(..count.min(self.kept.len())).map(|kept| kept.slot).collect();
        self.forgotten += gone.len() as u64;
        self.first = self.first.max(first);
        gone
    }
}
