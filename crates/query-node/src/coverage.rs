//! Which deletes has a segment got?
//!
//! Batches say after which delete they begin. A node can miss some unawares: it lost a segment and got it
//! back before it saw either, and was sent nothing in between. Then there is a gap.

use redkite_types::Timestamp;

/// The stretches of time of which a segment has every delete.
#[derive(Debug)]
pub(crate) struct Coverage {
    /// Everything up to here.
    through: Timestamp,
    /// Stretches beyond a gap, after the first timestamp up to the second; in order, apart from each other.
    ahead: Vec<(Timestamp, Timestamp)>,
    /// Whether whoever loaded the segment leaves gaps to those who find them.
    loaded: bool,
}

impl Coverage {
    pub(crate) fn up_to(through: Timestamp) -> Self {
        Self { through, ahead: Vec::new(), loaded: false }
    }

    /// Notes that every delete of a stretch has been applied. An empty stretch says that there is something
    /// before it.
    pub(crate) fn add(&mut self, after: Timestamp, through: Timestamp) {
        self.ahead.push((after, through.max(after)));
        self.ahead.sort_unstable();
        let mut apart: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (after, through) in self.ahead.drain(..) {
            match apart.last_mut() {
                _ if after <= self.through => self.through = self.through.max(through),
                Some(last) if after <= last.1 => last.1 = last.1.max(through),
                _ => apart.push((after, through)),
            }
        }
        self.ahead = apart;
    }

    /// The timestamp after which deletes are missing.
    pub(crate) fn gap(&self) -> Option<Timestamp> {
        (!self.ahead.is_empty()).then_some(self.through)
    }

    /// A gap in a segment that has been loaded.
    pub(crate) fn gap_when_loaded(&self) -> Option<Timestamp> {
        self.gap().filter(|_| self.loaded)
    }

    /// Ends loading, unless there is a gap.
    pub(crate) fn end_loading(&mut self) -> Result<(), Timestamp> {
        match self.gap() {
            Some(after) => Err(after),
            None => {
                self.loaded = true;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timestamp: u64) -> Timestamp {
        Timestamp(timestamp)
    }

    #[test]
    fn finds_what_is_missing() {
        let mut coverage = Coverage::up_to(at(10));
        coverage.add(at(12), at(14));
        assert_eq!(coverage.end_loading(), Err(at(10)));
        assert_eq!(coverage.gap_when_loaded(), None);
        coverage.add(at(14), at(15));
        coverage.add(at(20), at(20));
        coverage.add(at(10), at(13));
        assert_eq!(coverage.gap(), Some(at(15)));
        coverage.add(at(15), at(30));
        assert_eq!(coverage.end_loading(), Ok(()));
        coverage.add(at(30), at(31));
        assert_eq!(coverage.gap_when_loaded(), None);
        coverage.add(at(32), at(0));
        assert_eq!(coverage.gap_when_loaded(), Some(at(31)));
    }
}
