//! The best `k` rows seen so far.

use std::collections::BinaryHeap;

use redkite_types::Metric;

use super::order::{key, key_distance, key_row, turn};
use super::{Hit, Range};

/// Collects the best `k` rows; equal scores are ordered by row, NaN is worse than everything.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    metric: Metric,
    range: Option<Range>,
    first_row: u32,
    /// Largest key, the worst row, on top.
    heap: BinaryHeap<u64>,
    /// Keys from here on cannot enter.
    threshold: u64,
}

impl TopK {
    /// Nothing yet. With a range, only scores inside it are kept.
    #[must_use]
    pub fn new(k: usize, metric: Metric, range: Option<Range>) -> Self {
        let threshold = if k == 0 { 0 } else { u64::MAX };
        Self { k, metric, range, first_row: 0, heap: BinaryHeap::with_capacity(k.min(1 << 14)), threshold }
    }

    /// Rows pushed from now on are numbered from `first_row`: for vectors that lie in several pieces.
    pub fn set_first_row(&mut self, first_row: u32) {
        self.first_row = first_row;
    }

    /// The metric of the scores.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of rows held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no row is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Offers a row with its raw score.
    pub fn push(&mut self, row: u32, score: f32) {
        self.push_distance(row, turn(self.metric, score));
    }

    /// Offers a row with its distance.
    #[inline]
    pub(crate) fn push_distance(&mut self, row: u32, distance: f32) {
        let key = key(distance, row.wrapping_add(self.first_row));
        if key < self.threshold {
            self.admit(key, distance);
        }
    }

    fn admit(&mut self, key: u64, distance: f32) {
        if self.range.is_some_and(|range| !range.contains(self.metric, turn(self.metric, distance))) {
            return;
        }
        if self.heap.len() == self.k {
            self.heap.pop();
        }
        self.heap.push(key);
        if self.heap.len() == self.k
            && let Some(worst) = self.heap.peek()
        {
            self.threshold = *worst;
        }
    }

    /// The rows held, best first.
    #[must_use]
    pub fn into_hits(self) -> Vec<Hit> {
        let metric = self.metric;
        let keys = self.heap.into_sorted_vec();
        keys.into_iter()
            .map(|key| Hit { row: key_row(key), score: turn(metric, key_distance(key)) })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_best_and_orders_ties_by_row() {
        let mut top = TopK::new(3, Metric::Ip, None);
        for (row, score) in [(5, 0.5), (1, 0.9), (2, f32::NAN), (3, 0.5), (4, 0.1)] {
            top.push(row, score);
        }
        let rows: Vec<u32> = top.into_hits().iter().map(|hit| hit.row).collect();
        assert_eq!(rows, [1, 3, 5]);
    }

    #[test]
    fn nan_gives_way() {
        let mut top = TopK::new(1, Metric::L2, None);
        top.push(0, f32::NAN);
        top.push(1, f32::INFINITY);
        assert_eq!(top.into_hits()[0].row, 1);
    }

    #[test]
    fn zero_k_stays_empty() {
        let mut top = TopK::new(0, Metric::L2, None);
        top.push(0, 1.0);
        assert!(top.into_hits().is_empty());
    }

    #[test]
    fn range_keeps_the_best_inside() {
        let mut top = TopK::new(2, Metric::L2, Some(Range::worse_than(1.0)));
        (0..10_u8).for_each(|row| top.push(row.into(), row.into()));
        assert_eq!(top.into_hits(), [Hit { row: 2, score: 2.0 }, Hit { row: 3, score: 3.0 }]);
    }
}
