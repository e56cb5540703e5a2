//! The nearest rows a walk has seen, and which of them it has still to look around from.

use crate::vector::order::{ordered, unordered};

/// At most `width` rows sorted by distance, each expanded once, nearest first.
///
/// A sorted array: for the widths that are searched with, inserting by moving memory beats two heaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beam {
    /// Upper half: ordered distance; lower half: row, shifted left, and whether it has been expanded.
    keys: Vec<u64>,
    width: usize,
    /// All keys before this are expanded.
    cursor: usize,
}

const EXPANDED: u64 = 1;

fn entry(distance: f32, row: u32) -> u64 {
    u64::from(ordered(distance)) << 32 | u64::from(row) << 1
}

#[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
fn row(key: u64) -> u32 {
    (key as u32) >> 1
}

fn distance(key: u64) -> f32 {
    unordered((key >> 32) as u32)
}

impl Beam {
    /// Forgets everything.
    pub(crate) fn reset(&mut self, width: usize) {
        self.keys.clear();
        self.keys.reserve(width + 1);
        self.width = width;
        self.cursor = 0;
    }

    /// Offers a row that was not offered before; whether it was near enough.
    #[inline]
    pub(crate) fn insert(&mut self, distance: f32, row: u32) -> bool {
        let key = entry(distance, row);
        if self.keys.len() >= self.width {
            match self.keys.last() {
                Some(worst) if key < *worst => {
                    self.keys.pop();
                }
                _ => return false,
            }
        }
        let at = self.keys.partition_point(|other| *other < key);
        self.keys.insert(at, key);
        self.cursor = self.cursor.min(at);
        true
    }

    /// The nearest row not expanded yet, which counts as expanded from now on.
    #[inline]
    pub(crate) fn expand(&mut self) -> Option<u32> {
        while let Some(key) = self.keys.get_mut(self.cursor) {
            self.cursor += 1;
            if *key & EXPANDED == 0 {
                *key |= EXPANDED;
                return Some(row(*key));
            }
        }
        None
    }

    /// The row that would be expanded next.
    #[inline]
    pub(crate) fn upcoming(&self) -> Option<u32> {
        self.keys[self.cursor.min(self.keys.len())..]
            .iter()
            .find(|key| *key & EXPANDED == 0)
            .map(|key| row(*key))
    }

    /// The rows with their distances, nearest first.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = (f32, u32)> + '_ {
        self.keys.iter().map(|key| (distance(*key), row(*key)))
    }

    /// Whether as many rows are held as fit.
    pub(crate) fn is_full(&self) -> bool {
        self.keys.len() >= self.width
    }

    /// The largest distance held.
    pub(crate) fn worst(&self) -> Option<f32> {
        self.keys.last().map(|key| distance(*key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_nearest_first_and_keeps_the_width() {
        let mut beam = Beam::default();
        beam.reset(3);
        for (distance, row) in [(0.5, 1), (0.2, 2), (0.9, 3)] {
            assert!(beam.insert(distance, row));
        }
        assert_eq!(beam.expand(), Some(2));
        assert!(beam.insert(-0.1, 4));
        assert!(!beam.insert(0.95, 5));
        assert_eq!(beam.upcoming(), Some(4));
        assert_eq!([beam.expand(), beam.expand(), beam.expand()], [Some(4), Some(1), None]);
        assert_eq!(beam.rows().map(|(_, row)| row).collect::<Vec<_>>(), [4, 2, 1]);
    }
}
