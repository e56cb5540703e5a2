//! Walking the graph towards a query.

use redkite_types::Bitmap;

use super::beam::Beam;
use super::links::Links;
use crate::vector::scorer::Scorer;
use crate::vector::scratch::Visited;

/// The buffers of a walk.
#[derive(Debug)]
pub(crate) struct Front<'a> {
    pub(crate) visited: &'a mut Visited,
    pub(crate) beam: &'a mut Beam,
    pub(crate) batch: &'a mut Vec<u32>,
    pub(crate) distances: &'a mut Vec<f32>,
}

impl Front<'_> {
    /// Starts over from one row, with a beam of another width.
    pub(crate) fn restart(&mut self, start: (f32, u32), width: usize, rows: usize) {
        self.visited.reset(rows);
        self.visited.see(start.1);
        self.beam.reset(width);
        self.beam.insert(start.0, start.1);
    }

    /// Offers rows to the beam that a walk should also start from.
    pub(crate) fn offer<S: Scorer>(&mut self, scorer: &mut S, rows: impl Iterator<Item = u32>) {
        self.batch.clear();
        for row in rows {
            if self.visited.see(row) {
                scorer.prefetch(row);
                self.batch.push(row);
            }
        }
        self.admit(scorer);
    }

    /// Scores the batch and offers it to the beam.
    #[inline(always)]
    fn admit<S: Scorer>(&mut self, scorer: &mut S) {
        self.distances.resize(self.batch.len(), 0.0);
        scorer.distances(self.batch, self.distances);
        for (row, distance) in self.batch.iter().zip(self.distances.iter()) {
            self.beam.insert(*distance, *row);
        }
    }
}

/// The local optimum reached from `start` on the given levels, always moving to the nearest neighbour
/// (paper, algorithm 2 with ef = 1).
pub(crate) fn descend<L: Links, S: Scorer>(
    links: &L,
    scorer: &mut S,
    start: u32,
    levels: impl Iterator<Item = usize>,
    front: &mut Front<'_>,
    rows: usize,
) -> (f32, u32) {
    let mut nearest = (score_one(scorer, start), start);
    for level in levels {
        // Each move is strictly nearer, so that no circle is possible even in a damaged graph.
        loop {
            let here = nearest.1;
            front.batch.clear();
            links.each(here, level, |row| {
                if (row as usize) < rows {
                    scorer.prefetch(row);
                    front.batch.push(row);
                }
            });
            front.distances.resize(front.batch.len(), 0.0);
            scorer.distances(front.batch, front.distances);
            for (row, distance) in front.batch.iter().zip(front.distances.iter()) {
                if *distance < nearest.0 {
                    nearest = (*distance, *row);
                }
            }
            if nearest.1 == here {
                break;
            }
        }
    }
    nearest
}

/// The distance of one row.
fn score_one<S: Scorer>(scorer: &mut S, row: u32) -> f32 {
    let mut distance = [0.0];
    scorer.distances(&[row], &mut distance);
    distance[0]
}

/// Widens the beam's rows by their neighbours until the nearest row not expanded lies outside of the beam
/// (paper, algorithm 2).
pub(crate) fn walk<L: Links, S: Scorer>(links: &L, scorer: &mut S, level: usize, front: &mut Front<'_>) {
    while let Some(row) = front.beam.expand() {
        front.batch.clear();
        links.each(row, level, |neighbour| {
            if front.visited.see(neighbour) {
                scorer.prefetch(neighbour);
                front.batch.push(neighbour);
            }
        });
        if let Some(next) = front.beam.upcoming() {
            links.prefetch(next);
        }
        front.admit(scorer);
    }
}

/// [`walk`] on level 0 through rows that pass a filter only: neighbours that do not pass are not scored, but
/// replaced by *their* neighbours that pass, which keeps the passing rows connected (Patel et al. 2024,
/// "ACORN", arXiv:2403.04871, §5.2).
pub(crate) fn walk_passing<L: Links, S: Scorer>(
    links: &L,
    scorer: &mut S,
    filter: &Bitmap,
    enough: usize,
    bridges: &mut Vec<u32>,
    front: &mut Front<'_>,
) {
    while let Some(row) = front.beam.expand() {
        front.batch.clear();
        bridges.clear();
        links.each(row, 0, |neighbour| {
            if (neighbour as usize) >= filter.len() {
                return;
            }
            if !filter.get(neighbour as usize) {
                links.prefetch(neighbour);
                bridges.push(neighbour);
            } else if front.visited.see(neighbour) {
                scorer.prefetch(neighbour);
                front.batch.push(neighbour);
            }
        });
        for bridge in bridges.iter() {
            if front.batch.len() >= enough {
                break;
            }
            // Each row is a bridge once; those not needed now may be needed by another row.
            if !front.visited.see(*bridge) {
                continue;
            }
            links.each(*bridge, 0, |neighbour| {
                let passes = (neighbour as usize) < filter.len() && filter.get(neighbour as usize);
                if passes && front.visited.see(neighbour) {
                    scorer.prefetch(neighbour);
                    front.batch.push(neighbour);
                }
            });
        }
        front.admit(scorer);
    }
}
