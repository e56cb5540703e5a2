//! Choosing neighbours that lie in different directions.

use crate::vector::scorer::Scorer;

/// Distances between rows, by the same measure in both directions.
pub(crate) trait RowScorer: Scorer {
    /// Makes a row the query.
    fn aim(&mut self, row: u32);
}

/// Buffers of `choose`.
#[derive(Debug, Default)]
pub(crate) struct Chooser {
    distances: Vec<f32>,
    /// The rows chosen last.
    pub(crate) chosen: Vec<u32>,
    ranked: Vec<(f32, u32)>,
}

impl Chooser {
    /// Leaves in `chosen` at most `most` of the candidates (nearest first): a candidate is taken if it is
    /// nearer to the row than to any taken before (paper, algorithm 4).
    pub(crate) fn choose<S: RowScorer>(&mut self, candidates: &[(f32, u32)], most: usize, scorer: &mut S) {
        self.chosen.clear();
        for (distance, candidate) in candidates {
            if self.chosen.len() >= most {
                break;
            }
            if !self.is_covered(*distance, *candidate, scorer) {
                self.chosen.push(*candidate);
            }
        }
    }

    fn is_covered<S: RowScorer>(&mut self, distance: f32, candidate: u32, scorer: &mut S) -> bool {
        if self.chosen.is_empty() {
            return false;
        }
        scorer.aim(candidate);
        // The nearest chosen rows cover most candidates: look at a few at a time.
        self.chosen.chunks(8).any(|some| {
            self.distances.resize(some.len(), 0.0);
            scorer.distances(some, &mut self.distances);
            self.distances.iter().any(|other| *other < distance)
        })
    }

    /// [`Self::choose`] among rows whose distances to `row` are not known yet.
    pub(crate) fn choose_around<S: RowScorer>(
        &mut self,
        row: u32,
        candidates: &[u32],
        most: usize,
        scorer: &mut S,
    ) {
        scorer.aim(row);
        self.distances.resize(candidates.len(), 0.0);
        scorer.distances(candidates, &mut self.distances);
        let mut ranked = std::mem::take(&mut self.ranked);
        ranked.clear();
        ranked.extend(self.distances.iter().copied().zip(candidates.iter().copied()));
        ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.choose(&ranked, most, scorer);
        self.ranked = ranked;
    }
}
