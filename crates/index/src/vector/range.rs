//! Which scores a search may return.

use std::ops::Bound;

use redkite_types::Metric;

use super::order::turn;

/// An interval of scores, from the better end to the worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// No score better than this.
    pub best: Bound<f32>,
    /// No score worse than this.
    pub worst: Bound<f32>,
}

impl Range {
    /// Milvus's range search: `range_filter <= d < radius` (L2), `radius < s <= range_filter` (IP, COSINE).
    #[must_use]
    pub fn radius(radius: f32, range_filter: Option<f32>) -> Self {
        Self { best: range_filter.map_or(Bound::Unbounded, Bound::Included), worst: Bound::Excluded(radius) }
    }

    /// Only scores strictly worse than one: where an iterator goes on.
    #[must_use]
    pub fn worse_than(score: f32) -> Self {
        Self { best: Bound::Excluded(score), worst: Bound::Unbounded }
    }

    /// Whether a score lies inside. NaN lies outside of every bound.
    #[must_use]
    pub fn contains(&self, metric: Metric, score: f32) -> bool {
        let distance = turn(metric, score);
        let near = match self.best {
            Bound::Unbounded => true,
            Bound::Included(best) => distance >= turn(metric, best),
            Bound::Excluded(best) => distance > turn(metric, best),
        };
        near && !self.is_past(metric, distance)
    }

    /// Whether a distance lies beyond the worse end.
    pub(crate) fn is_past(&self, metric: Metric, distance: f32) -> bool {
        match self.worst {
            Bound::Unbounded => false,
            Bound::Included(worst) => distance > turn(metric, worst) || distance.is_nan(),
            Bound::Excluded(worst) => distance >= turn(metric, worst) || distance.is_nan(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milvus_bounds() {
        let l2 = Range::radius(2.0, Some(1.0));
        assert!(l2.contains(Metric::L2, 1.0) && l2.contains(Metric::L2, 1.9));
        assert!(!l2.contains(Metric::L2, 0.9) && !l2.contains(Metric::L2, 2.0));
        let ip = Range::radius(0.5, Some(0.9));
        assert!(ip.contains(Metric::Ip, 0.9) && ip.contains(Metric::Ip, 0.6));
        assert!(!ip.contains(Metric::Ip, 0.5) && !ip.contains(Metric::Ip, 0.95));
        assert!(!ip.contains(Metric::Ip, f32::NAN));
    }
}
