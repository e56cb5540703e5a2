//! Walking the graph towards a query.

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

/// The local optimum reached from `start` on the levels `top` down to `bottom`, always moving to the nearest
/// neighbour (paper, algorithm 2 with ef = 1).
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
        // Damage could make a circle only if distances were not finite; the bound costs nothing.
        for _ in 0..rows {
            let here = nearest.1;
            front.batch.clear();
            front.batch.extend(links.neighbours(here, level).filter(|row| (*row as usize) < rows));
            front.batch.iter().for_each(|row| scorer.prefetch(*row));
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
pub(crate) fn score_one<S: Scorer>(scorer: &mut S, row: u32) -> f32 {
    let mut distance = [0.0];
    scorer.distances(&[row], &mut distance);
    distance[0]
}

/// Widens the beam's rows by their neighbours until the nearest row not expanded lies outside of the beam
/// (paper, algorithm 2).
#[inline]
pub(crate) fn walk<L: Links, S: Scorer>(links: &L, scorer: &mut S, level: usize, front: &mut Front<'_>) {
    let Front { visited, beam, batch, distances } = front;
    while let Some(row) = beam.expand() {
        batch.clear();
        for neighbour in links.neighbours(row, level) {
            if visited.see(neighbour) {
                scorer.prefetch(neighbour);
                batch.push(neighbour);
            }
        }
        if let Some(next) = beam.upcoming() {
            links.prefetch(next);
        }
        distances.resize(batch.len(), 0.0);
        scorer.distances(batch, distances);
        for (neighbour, distance) in batch.iter().zip(distances.iter()) {
            beam.insert(*distance, *neighbour);
        }
    }
}
