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
    kept: VecDeque<(Slot, Option<Span>)>,
}

impl Objects {
    /// Objects from the record `first` on. Positions are unknown, but for the last one.
    pub(super) fn new(first: Lsn, slots: Vec<Slot>, last: Option<Span>) -> Self {
        let mut kept: VecDeque<_> = slots.into_iter().map(|slot| (slot, None)).collect();
        if let Some((_, span)) = kept.back_mut() {
            *span = last;
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

    pub(super) fn push(&mut self, slot: Slot, span: Span) {
        self.kept.push_back((slot, Some(span)));
    }

    /// An object, if it is kept, and its records' positions, if they are known.
    pub(super) fn get(&self, number: u64) -> Option<(Slot, Option<Span>)> {
        let index = usize::try_from(number.checked_sub(self.forgotten)?).ok()?;
        self.kept.get(index).copied()
    }

    /// Tells the positions of an object's records.
    pub(super) fn learn(&mut self, number: u64, span: Span) {
        let index = number.checked_sub(self.forgotten).and_then(|index| usize::try_from(index).ok());
        if let Some((_, known)) = index.and_then(|index| self.kept.get_mut(index)) {
            *known = Some(span);
        }
    }

    /// Forgets the objects before `number`, so that `first` is the first record; returns them.
    pub(super) fn forget(&mut self, number: u64, first: Lsn) -> Vec<Slot> {
        let count = usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let gone: Vec<_> = self.kept.drain(..count.min(self.kept.len())).map(|(slot, _)| slot).collect();
        self.forgotten += gone.len() as u64;
        self.first = self.first.max(first);
        gone
    }
}
