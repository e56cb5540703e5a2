//! Vectors in 8 bits a dimension, for comparing many before reading few.
//!
//! One grid for all dimensions: `code = round((x − centre) / step) + 128`, so that squared distances on the
//! grid are those of the vectors and an inner product is one integer instruction per 64 dimensions. Cosine
//! codes the normalised vectors. Query and rows are both rounded; whoever uses codes scores the best rows
//! again from the vectors.

use redkite_types::Metric;

use super::scorer::CodeScorer;
use super::view::inverse_root;
use super::{BuildContext, VectorsView};
use crate::kernel::{CODE_ALIGN, Kernels};

/// Rows looked at to choose the grid.
const SAMPLE_ROWS: usize = 8192;
/// The part of sampled coordinates that the grid covers; the rest is clipped.
const COVERED: f64 = 0.9999;
/// The code of the centre.
const MIDDLE: f32 = 128.0;
/// Rows one task encodes.
const PIECE_ROWS: usize = 1024;

/// The grid.
#[derive(Clone, Debug)]
pub(crate) struct Quantizer {
    metric: Metric,
    centre: Vec<f32>,
    step: f32,
}

/// Bytes of a code row.
pub(crate) fn stride(dim: usize) -> usize {
    dim.next_multiple_of(CODE_ALIGN)
}

impl Quantizer {
    pub(crate) fn train(vectors: VectorsView<'_>, metric: Metric) -> Self {
        let every = vectors.rows().div_ceil(SAMPLE_ROWS).max(1);
        let sample: Vec<usize> = (0..vectors.rows()).step_by(every).collect();
        let mut row = vec![0.0; vectors.dim()];
        let mut sums = vec![0.0_f64; vectors.dim()];
        for number in &sample {
            read_row(vectors, metric, *number, &mut row);
            sums.iter_mut().zip(&row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a mean of floats")]
        let centre: Vec<f32> =
            sums.iter().map(|sum| (sum / sample.len().max(1) as f64) as f32).map(finite).collect();
        let mut sizes = Vec::new();
        // About a million coordinates, whole rows of them.
        let rows_of_sizes = ((1 << 20) / vectors.dim()).clamp(16, SAMPLE_ROWS);
        for number in sample.iter().step_by(sample.len().div_ceil(rows_of_sizes).max(1)) {
            read_row(vectors, metric, *number, &mut row);
            sizes.extend(row.iter().zip(&centre).map(|(value, centre)| finite(value - centre).abs()));
        }
        Self { metric, centre, step: step_for(&mut sizes) }
    }

    pub(crate) fn from_parts(metric: Metric, centre: Vec<f32>, step: f32) -> Self {
        Self { metric, centre, step }
    }

    pub(crate) fn centre(&self) -> &[f32] {
        &self.centre
    }

    pub(crate) fn step(&self) -> f32 {
        self.step
    }

    /// The codes of chosen rows, one after the other.
    pub(crate) fn encode(
        &self,
        vectors: VectorsView<'_>,
        rows: impl Fn(usize) -> usize + Sync,
        count: usize,
        context: &BuildContext<'_>,
    ) -> Vec<u8> {
        let stride = stride(vectors.dim());
        let mut codes = vec![128; count * stride];
        context.fill(&mut codes, PIECE_ROWS * stride, |piece, codes| {
            let mut row = vec![0.0; vectors.dim()];
            for (number, codes) in (piece * PIECE_ROWS..).zip(codes.chunks_mut(stride)) {
                read_row(vectors, self.metric, rows(number), &mut row);
                self.encode_row(&row, codes);
            }
        });
        codes
    }

    fn encode_row(&self, row: &[f32], codes: &mut [u8]) {
        let inverse = 1.0 / self.step;
        for ((code, value), centre) in codes.iter_mut().zip(row).zip(&self.centre) {
            // The cast truncates (hence the half) and saturates.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates as meant")]
            let rounded = ((value - centre) * inverse + (MIDDLE + 0.5)) as u8;
            *code = rounded;
        }
    }

    /// What each code row adds to a distance by itself when rows are compared with rows:
    /// squared norms for L2 and cosine (on unit vectors the order is the same), `−centre · row` for
    /// inner product.
    pub(crate) fn pair_terms(&self, codes: &[u8], dim: usize, context: &BuildContext<'_>) -> Vec<f32> {
        let stride = stride(dim);
        let mut terms = vec![0.0; codes.len() / stride];
        context.fill(&mut terms, PIECE_ROWS, |piece, terms| {
            for (number, term) in (piece * PIECE_ROWS..).zip(terms) {
                let codes = &codes[number * stride..number * stride + dim];
                *term = match self.metric {
                    Metric::L2 | Metric::Cosine => self.squared_norm(codes),
                    Metric::Ip => -self.centre_product(codes),
                };
            }
        });
        terms
    }

    #[expect(clippy::cast_precision_loss, reason = "at most 2³¹, as a float distance")]
    fn squared_norm(&self, codes: &[u8]) -> f32 {
        let sum: i64 = codes.iter().map(|code| i64::from((i32::from(*code) - 128).pow(2))).sum();
        sum as f32 * self.step * self.step
    }

    fn centre_product(&self, codes: &[u8]) -> f32 {
        let product: f32 =
            codes.iter().zip(&self.centre).map(|(code, centre)| (f32::from(*code) - MIDDLE) * centre).sum();
        product * self.step
    }

    /// Distances from a query to code rows. `terms` are the pair terms for L2, and not needed otherwise.
    pub(crate) fn aim<'a>(
        &self,
        query: &[f32],
        codes: &'a [u8],
        terms: Option<&'a [f32]>,
        query_codes: &'a mut Vec<i8>,
        products: &'a mut Vec<i32>,
    ) -> CodeScorer<'a> {
        let kernels = Kernels::get();
        let l2 = self.metric == Metric::L2;
        let scale = match self.metric {
            Metric::Cosine => inverse_root((kernels.f32.squared_norm)(query)),
            _ => 1.0,
        };
        let coordinate = |(value, centre): (&f32, &f32)| if l2 { value - centre } else { value * scale };
        let largest = query.iter().zip(&self.centre).map(coordinate).fold(0.0, |a: f32, b| a.max(b.abs()));
        let step = if largest > 0.0 && largest.is_finite() { largest / 127.0 } else { 1.0 };
        let inverse = 1.0 / step;
        query_codes.clear();
        query_codes
            .extend(query.iter().zip(&self.centre).map(coordinate).map(|value| to_i8(value * inverse)));
        query_codes.resize(stride(query.len()), 0);
        let bias = 128 * query_codes.iter().map(|code| i32::from(*code)).sum::<i32>();
        let (factor, constant) = if l2 {
            (2.0 * step * self.step, (kernels.f32.squared_l2)(query, &self.centre))
        } else {
            (step * self.step, -scale * (kernels.f32.dot)(query, &self.centre))
        };
        let terms = if l2 { terms } else { None };
        CodeScorer { codes, terms, query: query_codes, factor, constant, bias, products }
    }

    /// The factor of the product of two code rows in their distance.
    pub(crate) fn pair_factor(&self) -> f32 {
        let squared = self.step * self.step;
        if self.metric == Metric::Ip { squared } else { 2.0 * squared }
    }
}

/// Rounds to the nearest code of a query.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "saturates as meant")]
fn to_i8(value: f32) -> i8 {
    (value + 0.5_f32.copysign(value)) as i8
}

fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

/// A row as it is coded: normalised for cosine.
fn read_row(vectors: VectorsView<'_>, metric: Metric, row: usize, out: &mut [f32]) {
    vectors.read_row(row, out);
    if metric == Metric::Cosine {
        let inverse = vectors.inverse_norm(row);
        out.iter_mut().for_each(|value| *value *= inverse);
    }
}

/// A step with which 127 of them reach past nearly all coordinates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank"
)]
fn step_for(sizes: &mut [f32]) -> f32 {
    if sizes.is_empty() {
        return 1.0;
    }
    let rank = ((sizes.len() - 1) as f64 * COVERED).ceil() as usize;
    let (_, size, _) = sizes.select_nth_unstable_by(rank, f32::total_cmp);
    let step = *size / 127.0;
    if step.is_normal() { step } else { 1.0 }
}
