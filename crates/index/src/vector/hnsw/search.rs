//! One search: which way of finding the rows is cheapest, and is what it found enough?

use std::ops::Bound;

use redkite_types::{Bitmap, Metric};

use super::links::StoredGraph;
use super::walk::{Front, descend, walk, walk_passing};
use crate::vector::brute_force::{brute_force, number};
use crate::vector::ivf::rescored;
use crate::vector::order::turn;
use crate::vector::scorer::{ExactScorer, Scorer};
use crate::vector::{Hit, IndexError, SearchParams, TopK, VectorsView};

/// Rows fetched ahead and scored together in a scan.
const SCAN_ROWS: usize = 32;

/// Scanning this many rows costs about as much as walking until one place of the beam is settled
/// (measured at 384 dimensions: 20 to 30 ns a scanned row, 1 µs a place).
const SCANNED_PER_PLACE: usize = 32;
/// The same for walks through passing rows, which look at more rows for each place (3 µs).
const SCANNED_PER_PASSING_PLACE: usize = 200;
/// With fewer passing rows two hops away, walks miss many of the nearest rows.
const WELL_CONNECTED: usize = 16;
/// The most rows that are scanned rather than walked with a widened beam.
const MOST_SCANNED: usize = 1 << 16;
/// The most a beam is widened for want of connections.
const MOST_WIDENED: usize = 8;

/// How much a beam is widened when passing rows are far from the query.
const FAR_WIDENED: usize = 4;
/// Passing rows that a walk through passing rows starts from, beside the entry.
const SEEDS: usize = 64;

/// Everything a search looks at.
pub(crate) struct Search<'a> {
    pub(crate) graph: StoredGraph<'a>,
    pub(crate) entry: u32,
    pub(crate) top_level: usize,
    pub(crate) vectors: VectorsView<'a>,
    pub(crate) inverse_norms: Option<&'a [f32]>,
    pub(crate) metric: Metric,
    pub(crate) query: &'a [f32],
    pub(crate) params: &'a SearchParams,
    /// Rows that may be returned, and how many they are; none if all may.
    pub(crate) filter: Option<(&'a Bitmap, usize)>,
}

/// How the rows are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Score every row that passes.
    Scan,
    /// Walk through all rows with a beam so wide that enough of it passes.
    Wide,
    /// Walk through rows that pass.
    Passing,
}

impl<'a> Search<'a> {
    /// The hits. `scorer` orders rows while they are looked for; `coded` says that it only estimates.
    pub(crate) fn run<S: Scorer>(
        &self,
        scorer: &mut S,
        coded: bool,
        front: &mut Front<'_>,
        bridges: &mut Vec<u32>,
    ) -> Result<Vec<Hit>, IndexError> {
        let rows = self.vectors.rows();
        let (params, passing) = (self.params, self.filter.map_or(rows, |(_, passing)| passing));
        if params.k == 0 || passing == 0 {
            return Ok(Vec::new());
        }
        let mut width = params.ef.max(params.k);
        let mut start = None;
        loop {
            let way = self.way(width);
            if way == Way::Scan {
                return self.scan(scorer, coded, front);
            }
            let start = *start.get_or_insert_with(|| {
                descend(&self.graph, scorer, self.entry, (1..=self.top_level).rev(), front, rows)
            });
            self.find(way, start, width, scorer, front, bridges);
            let top = self.rescore(front);
            let filled = top.len() >= params.k.min(passing) && self.is_well_inside(front);
            if filled || self.has_seen_all_inside(front) {
                return Ok(top.into_hits());
            }
            // The graph did not lead to enough rows, or too many rows are nearer than the range begins.
            if !front.beam.is_full() {
                return self.scan(scorer, coded, front);
            }
            width = width.saturating_mul(4);
        }
    }

    /// The cheapest way to see about `width` of the nearest passing rows.
    fn way(&self, width: usize) -> Way {
        let rows = self.vectors.rows();
        let passing = self.filter.map_or(rows, |(_, passing)| passing);
        if passing >= rows / 4 {
            let places = width.saturating_mul(rows) / passing;
            let scan = passing <= places.saturating_mul(SCANNED_PER_PLACE);
            return if scan { Way::Scan } else { Way::Wide };
        }
        if passing <= width.saturating_mul(SCANNED_PER_PASSING_PLACE) {
            return Way::Scan;
        }
        let sparse = self.reach(passing) < WELL_CONNECTED;
        if sparse && passing <= MOST_SCANNED { Way::Scan } else { Way::Passing }
    }

    /// About how many passing rows are two hops away: half of all places are other rows seen twice.
    fn reach(&self, passing: usize) -> usize {
        let two_hops = 4 * self.graph.m * self.graph.m / 2;
        two_hops.saturating_mul(passing) / self.vectors.rows().max(1)
    }

    /// Fills the beam.
    fn find<S: Scorer>(
        &self,
        way: Way,
        start: (f32, u32),
        width: usize,
        scorer: &mut S,
        front: &mut Front<'_>,
        bridges: &mut Vec<u32>,
    ) {
        let rows = self.vectors.rows();
        let Some((filter, passing)) = self.filter else {
            front.restart(start, width, rows);
            return walk(&self.graph, scorer, 0, front);
        };
        // Too few ways lead from row to row: a wider beam finds more of them.
        let mut wider = WELL_CONNECTED.div_ceil(self.reach(passing).max(1)).clamp(1, MOST_WIDENED);
        if way == Way::Wide {
            front.restart(start, (width.saturating_mul(rows) / passing).min(rows), rows);
            walk(&self.graph, scorer, 0, front);
            let found = front.beam.rows().filter(|(_, row)| filter.get(*row as usize)).count();
            if found >= width / 2 {
                return;
            }
            // Rows around the query pass more rarely than elsewhere. Those that do are so far away that
            // they look much alike from here.
            wider = FAR_WIDENED;
        }
        // One place more, for a start that does not pass.
        front.restart(start, width.saturating_mul(wider).min(rows) + 1, rows);
        front.offer(scorer, seeds(filter));
        walk_passing(&self.graph, scorer, filter, 2 * self.graph.m, bridges, front);
    }

    /// The best rows of the beam by their exact scores.
    fn rescore(&self, front: &mut Front<'_>) -> TopK {
        let Front { beam, batch, distances, .. } = front;
        // Rows near the end of the beam do not get into the result, unless a range skips the others.
        let count = if self.params.range.is_some() { usize::MAX } else { rescored(self.params.k) };
        batch.clear();
        let passes = |row: u32| self.filter.is_none_or(|(filter, _)| filter.get(row as usize));
        batch.extend(beam.rows().map(|(_, row)| row).filter(|row| passes(*row)).take(count));
        self.score_exactly(batch, distances)
    }

    fn score_exactly(&self, rows: &[u32], distances: &mut Vec<f32>) -> TopK {
        let scorer = ExactScorer::new(self.vectors, self.metric, self.inverse_norms, self.query);
        distances.resize(rows.len(), 0.0);
        scorer.gather(rows, distances);
        let mut top = TopK::new(self.params.k, self.metric, self.params.range);
        rows.iter().zip(distances.iter()).for_each(|(row, distance)| top.push_distance(*row, *distance));
        top
    }

    /// Whether the beam reaches so far into the range that its end, where rows are missing, does not matter.
    fn is_well_inside(&self, front: &Front<'_>) -> bool {
        let Some(range) = self.params.range.filter(|range| range.best != Bound::Unbounded) else {
            return true;
        };
        let inside = |distance: &&f32| range.contains(self.metric, turn(self.metric, **distance));
        let SearchParams { k, ef, .. } = *self.params;
        front.distances.iter().filter(inside).count() >= k + ef.max(k) / 2
    }

    /// Whether nothing that was not seen can lie inside the range.
    fn has_seen_all_inside(&self, front: &Front<'_>) -> bool {
        let Some(range) = self.params.range else { return false };
        front.beam.is_full() && front.beam.worst().is_some_and(|worst| range.is_past(self.metric, worst))
    }

    /// Scores all rows that pass: by codes first, then the best exactly.
    fn scan<S: Scorer>(
        &self,
        scorer: &mut S,
        coded: bool,
        front: &mut Front<'_>,
    ) -> Result<Vec<Hit>, IndexError> {
        let filter = self.filter.map(|(filter, _)| filter);
        if !coded || self.params.range.is_some() {
            let mut top = TopK::new(self.params.k, self.metric, self.params.range);
            brute_force(self.vectors, self.inverse_norms, self.query, self.metric, filter, &mut top)?;
            return Ok(top.into_hits());
        }
        let mut nearest = TopK::new(rescored(self.params.k), Metric::L2, None);
        match filter {
            Some(filter) => scan_rows(filter.ones().map(number), scorer, front, &mut nearest),
            None => scan_rows(0..number(self.vectors.rows()), scorer, front, &mut nearest),
        }
        let rows: Vec<u32> = nearest.into_hits().iter().map(|hit| hit.row).collect();
        Ok(self.score_exactly(&rows, front.distances).into_hits())
    }
}

/// Some rows that pass, from all over the segment: where passing rows lie together far from the query, the
/// graph around the query does not lead to them.
fn seeds(filter: &Bitmap) -> impl Iterator<Item = u32> + '_ {
    let stretch = filter.words().len().div_ceil(SEEDS).max(1);
    filter.words().chunks(stretch).enumerate().filter_map(move |(before, words)| {
        let place = words.iter().position(|word| *word != 0)?;
        let word = before * stretch + place;
        Some(number(word * 64 + words[place].trailing_zeros() as usize))
    })
}

/// Offers all of `rows`, fetching some while the ones before are scored.
fn scan_rows<S: Scorer>(
    mut rows: impl Iterator<Item = u32>,
    scorer: &mut S,
    front: &mut Front<'_>,
    nearest: &mut TopK,
) {
    let mut ahead = Vec::with_capacity(SCAN_ROWS);
    loop {
        std::mem::swap(front.batch, &mut ahead);
        ahead.clear();
        ahead.extend(rows.by_ref().take(SCAN_ROWS));
        ahead.iter().for_each(|row| scorer.prefetch(*row));
        front.distances.resize(front.batch.len(), 0.0);
        scorer.distances(front.batch, front.distances);
        let scored = front.batch.iter().zip(front.distances.iter());
        scored.for_each(|(row, distance)| nearest.push_distance(*row, *distance));
        if ahead.is_empty() {
            return;
        }
    }
}
