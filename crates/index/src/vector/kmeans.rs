//! Which points stand for the clusters of some vectors? (Lloyd 1982, on a sample, random start.)
//!
//! L2 centres are means. For inner product and cosine they are means scaled to unit length, and rows belong
//! to the centre with the largest inner product (spherical k-means, Dhillon & Modha 2001).

use std::ops::Range;

use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};
use redkite_types::Metric;

use super::view::inverse_root;
use super::{BuildContext, IndexError, VectorsView};
use crate::kernel::Kernels;

/// Rows per centre that are trained with; more hardly move the centres.
const SAMPLE_PER_CENTRE: usize = 64;
/// Rounds of Lloyd's algorithm; later ones move few rows.
const ROUNDS: usize = 8;
/// Rows one task assigns.
const PIECE_ROWS: usize = 64;
/// Bytes of centres that are compared with a piece of rows before the next ones are loaded.
const BLOCK_BYTES: usize = 128 << 10;

/// `count × dim` centres.
#[derive(Debug)]
pub(crate) struct Centres {
    pub(crate) values: Vec<f32>,
    dim: usize,
    /// Half the squared norm of each centre for L2, zeros otherwise: what is subtracted from the product.
    halves: Vec<f32>,
    metric: Metric,
}

impl Centres {
    /// Trains `count` centres, which must not be more than the rows.
    pub(crate) fn train(
        vectors: VectorsView<'_>,
        metric: Metric,
        count: usize,
        context: &BuildContext<'_>,
    ) -> Result<Self, IndexError> {
        let mut rng = StdRng::seed_from_u64(context.seed);
        let rows = vectors.rows();
        let sample_rows = rows.min(count * SAMPLE_PER_CENTRE);
        let mut sample = index::sample(&mut rng, rows, sample_rows).into_vec();
        let mut centres = Self::from_rows(vectors, metric, &sample[..count]);
        // In order of rows, so that memory is read forwards.
        sample.sort_unstable();
        for _ in 0..ROUNDS {
            let owners = centres.assign(vectors, |number| sample[number], sample_rows, context);
            context.check()?;
            centres.update(vectors, &sample, &owners, &mut rng);
        }
        Ok(centres)
    }

    fn from_rows(vectors: VectorsView<'_>, metric: Metric, rows: &[usize]) -> Self {
        let dim = vectors.dim();
        let mut values = vec![0.0; rows.len() * dim];
        rows.iter().zip(values.chunks_mut(dim)).for_each(|(row, centre)| vectors.read_row(*row, centre));
        let mut centres = Self { values, dim, halves: Vec::new(), metric };
        centres.settle();
        centres
    }

    /// Scales centres and computes what comparing needs.
    fn settle(&mut self) {
        let squared_norm = Kernels::get().f32.squared_norm;
        let l2 = self.metric == Metric::L2;
        self.halves = self
            .values
            .chunks_mut(self.dim)
            .map(|centre| {
                if l2 {
                    return squared_norm(centre) / 2.0;
                }
                let inverse = inverse_root(squared_norm(centre));
                centre.iter_mut().for_each(|value| *value *= inverse);
                0.0
            })
            .collect();
    }

    /// The centre of each of `count` rows.
    pub(crate) fn assign(
        &self,
        vectors: VectorsView<'_>,
        row_of: impl Fn(usize) -> usize + Sync,
        count: usize,
        context: &BuildContext<'_>,
    ) -> Vec<u32> {
        let mut owners = vec![0; count];
        context.fill(&mut owners, PIECE_ROWS, |piece, owners| {
            let first = piece * PIECE_ROWS;
            self.assign_piece(vectors, |number| row_of(first + number), owners);
        });
        owners
    }

    fn assign_piece(&self, vectors: VectorsView<'_>, row_of: impl Fn(usize) -> usize, owners: &mut [u32]) {
        let dot_block = Kernels::get().f32.dot_block;
        let mut rows = vec![0.0; owners.len() * self.dim];
        for (number, row) in rows.chunks_mut(self.dim).enumerate() {
            vectors.read_row(row_of(number), row);
        }
        let mut best = vec![f32::NEG_INFINITY; owners.len()];
        let block = (BLOCK_BYTES / (self.dim * 4)).clamp(4, 1024);
        let mut products = vec![0.0; block];
        for (number, centres) in self.values.chunks(block * self.dim).enumerate() {
            let products = &mut products[..centres.len() / self.dim];
            let range: Range<usize> = number * block..number * block + products.len();
            for ((row, best), owner) in rows.chunks(self.dim).zip(&mut best).zip(owners.iter_mut()) {
                dot_block(row, centres, products);
                for ((centre, product), half) in
                    (0_u32..).zip(products.iter()).zip(&self.halves[range.clone()])
                {
                    let likeness = product - half;
                    if likeness > *best {
                        *best = likeness;
                        *owner = u32::try_from(range.start).expect("at most 65536 centres") + centre;
                    }
                }
            }
        }
    }

    /// Moves centres into the middle of their rows; centres without rows go to a row drawn by lot.
    #[expect(clippy::cast_precision_loss, reason = "a mean of floats")]
    fn update(&mut self, vectors: VectorsView<'_>, sample: &[usize], owners: &[u32], rng: &mut StdRng) {
        let dim = self.dim;
        let mut counts = vec![0_usize; self.values.len() / dim];
        self.values.fill(0.0);
        let mut row = vec![0.0; dim];
        for (number, owner) in sample.iter().zip(owners) {
            vectors.read_row(*number, &mut row);
            let scale = if self.metric == Metric::Cosine { vectors.inverse_norm(*number) } else { 1.0 };
            let centre = &mut self.values[*owner as usize * dim..(*owner as usize + 1) * dim];
            centre.iter_mut().zip(&row).for_each(|(sum, value)| *sum += value * scale);
            counts[*owner as usize] += 1;
        }
        for (centre, count) in self.values.chunks_mut(dim).zip(counts) {
            if count == 0 {
                vectors.read_row(sample[rng.random_range(0..sample.len())], centre);
            } else {
                centre.iter_mut().for_each(|value| *value /= count as f32);
            }
        }
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;
    use crate::vector::Elements;

    #[test]
    fn centres_find_separate_clusters() {
        let values: Vec<f32> = (0..400_u16)
            .flat_map(|row| [f32::from(row % 4) * 100.0 + f32::from(row % 7), f32::from(row % 5)])
            .collect();
        let vectors = VectorsView::new(2, Elements::F32(&values)).unwrap();
        let context = BuildContext {
            pool: None,
            progress: &AtomicU64::new(0),
            cancel: &AtomicBool::new(false),
            seed: 3,
        };
        let centres = Centres::train(vectors, Metric::L2, 8, &context).unwrap();
        let owners = centres.assign(vectors, |row| row, 400, &context);
        for (row, owner) in owners.iter().enumerate() {
            let centre = centres.values[*owner as usize * 2];
            assert!((centre - values[row * 2]).abs() < 10.0, "row {row} went to a centre at {centre}");
        }
    }
}
