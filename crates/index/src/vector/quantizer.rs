//! Vectors in 4 or 8 bits a dimension, for comparing many before reading few.
//!
//! One grid for all dimensions: `code = ⌊(x − centre) / step + offset + ½⌋`, so that squared distances on the
//! grid are those of the vectors and inner products are integer instructions. Cosine codes the normalised
//! vectors. Query and rows are both rounded; whoever uses codes scores the best rows again from the vectors.
//! (The grid is that of locally-adaptive vector quantization, Aguerrebere et al. 2023, arXiv:2304.04759, with
//! one scale for all rows instead of one a row.)

use redkite_types::Metric;

use super::scorer::CodeScorer;
use super::view::inverse_root;
use super::{BuildContext, VectorsView};
use crate::kernel::{CODE_ALIGN, CodeKernels, Kernels, NIBBLE_BLOCK};

/// Rows looked at to choose the grid.
const SAMPLE_ROWS: usize = 8192;
/// Rows one task encodes.
const PIECE_ROWS: usize = 1024;

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Four,
    Eight,
}

impl Width {
    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        [Self::Four, Self::Eight].into_iter().find(|width| width.bits() == bits)
    }

    /// Bytes of a code row.
    pub(crate) fn stride(self, dim: usize) -> usize {
        match self {
            Self::Four => dim.next_multiple_of(NIBBLE_BLOCK) / 2,
            Self::Eight => dim.next_multiple_of(CODE_ALIGN),
        }
    }

    /// Dimensions of a query for code rows.
    pub(crate) fn padded(self, dim: usize) -> usize {
        match self {
            Self::Four => dim.next_multiple_of(NIBBLE_BLOCK),
            Self::Eight => dim.next_multiple_of(CODE_ALIGN),
        }
    }

    pub(crate) fn kernels(self) -> &'static CodeKernels {
        match self {
            Self::Four => &Kernels::get().nibbles,
            Self::Eight => &Kernels::get().codes,
        }
    }

    /// Twice the code of the centre: 4-bit grids have no middle code.
    pub(crate) fn offset2(self) -> i32 {
        match self {
            Self::Four => 15,
            Self::Eight => 256,
        }
    }

    fn largest_code(self) -> f32 {
        match self {
            Self::Four => 15.0,
            Self::Eight => 255.0,
        }
    }

    /// The part of sampled coordinates that the grid covers; the rest is clipped. Fewer steps are better
    /// spent where most coordinates are.
    fn covered(self) -> f64 {
        match self {
            Self::Four => 0.993,
            Self::Eight => 0.9999,
        }
    }

    /// A row as the query: what is compared with other rows when rows are compared with rows.
    pub(crate) fn signed(self, row: &[u8], dim: usize, out: &mut [i8]) {
        match self {
            Self::Four => {
                for (block, out) in row.chunks(CODE_ALIGN).zip(out.chunks_mut(NIBBLE_BLOCK)) {
                    let (low, high) = out.split_at_mut(CODE_ALIGN);
                    low.iter_mut()
                        .zip(block)
                        .for_each(|(out, byte)| *out = ((byte & 15) << 1).cast_signed() - 15);
                    high.iter_mut()
                        .zip(block)
                        .for_each(|(out, byte)| *out = ((byte >> 4) << 1).cast_signed() - 15);
                }
            }
            Self::Eight => {
                out.iter_mut().zip(row).for_each(|(out, code)| *out = (*code ^ 0x80).cast_signed())
            }
        }
        out[dim..].fill(0);
    }

    /// Steps of the grid in one unit of [`Width::signed`].
    pub(crate) fn signed_unit(self) -> f32 {
        match self {
            Self::Four => 0.5,
            Self::Eight => 1.0,
        }
    }

    /// Puts one code per dimension into a code row.
    fn pack(self, codes: &[u8], row: &mut [u8]) {
        match self {
            Self::Four => {
                for (codes, row) in codes.chunks(NIBBLE_BLOCK).zip(row.chunks_mut(CODE_ALIGN)) {
                    let (low, high) = codes.split_at(CODE_ALIGN);
                    row.iter_mut()
                        .zip(low.iter().zip(high))
                        .for_each(|(row, (low, high))| *row = low | high << 4);
                }
            }
            Self::Eight => row.copy_from_slice(codes),
        }
    }
}

/// The grid.
#[derive(Clone, Debug)]
pub(crate) struct Quantizer {
    pub(crate) width: Width,
    metric: Metric,
    centre: Vec<f32>,
    step: f32,
}

impl Quantizer {
    pub(crate) fn train(vectors: VectorsView<'_>, metric: Metric, width: Width) -> Self {
        let every = vectors.rows().div_ceil(SAMPLE_ROWS).max(1);
        let sample: Vec<usize> = (0..vectors.rows()).step_by(every).collect();
        let mut row = vec![0.0; vectors.dim()];
        let mut sums = vec![0.0_f64; vectors.dim()];
        for number in &sample {
            read_row(vectors, metric, *number, &mut row);
            sums.iter_mut().zip(&row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let centre: Vec<f32> =
            sums.iter().map(|sum| (sum / sample.len().max(1) as f64) as f32).map(finite).collect();
        let mut sizes = Vec::new();
        // About a million coordinates, whole rows of them.
        let rows_of_sizes = ((1 << 20) / vectors.dim()).clamp(16, SAMPLE_ROWS);
        for number in sample.iter().step_by(sample.len().div_ceil(rows_of_sizes).max(1)) {
            read_row(vectors, metric, *number, &mut row);
            sizes.extend(row.iter().zip(&centre).map(|(value, centre)| finite(value - centre).abs()));
        }
        let step = step_for(&mut sizes, width);
        Self { width, metric, centre, step }
    }

    pub(crate) fn from_parts(width: Width, metric: Metric, centre: Vec<f32>, step: f32) -> Self {
        Self { width, metric, centre, step }
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
        let dim = vectors.dim();
        let stride = self.width.stride(dim);
        let mut packed = vec![0; count * stride];
        context.fill(&mut packed, PIECE_ROWS * stride, |piece, packed| {
            let mut row = vec![0.0; dim];
            let mut codes = vec![0; self.width.padded(dim)];
            for (number, packed) in (piece * PIECE_ROWS..).zip(packed.chunks_mut(stride)) {
                read_row(vectors, self.metric, rows(number), &mut row);
                self.encode_row(&row, &mut codes);
                self.width.pack(&codes, packed);
            }
        });
        packed
    }

    fn encode_row(&self, row: &[f32], codes: &mut [u8]) {
        let inverse = 1.0 / self.step;
        let offset = self.width.offset2() as f32 / 2.0 + 0.5;
        let largest = self.width.largest_code();
        for ((code, value), centre) in codes.iter_mut().zip(row).zip(&self.centre) {
            // The cast truncates (hence the half) and saturates.
            *code = ((value - centre) * inverse + offset).min(largest) as u8;
        }
    }

    /// What each code row adds to a distance by itself when rows are compared with rows: squared norms for
    /// L2 and cosine (on unit vectors the order is the same), `−centre · row` for inner product. And what the
    /// offset of the codes adds to the products of each row as a query.
    pub(crate) fn pair_terms(&self, codes: &[u8], dim: usize, context: &BuildContext<'_>) -> Vec<(f32, i32)> {
        let stride = self.width.stride(dim);
        let mut terms = vec![(0.0, 0); codes.len() / stride];
        context.fill(&mut terms, PIECE_ROWS, |piece, terms| {
            let mut signed = vec![0; self.width.padded(dim)];
            for (number, (term, bias)) in (piece * PIECE_ROWS..).zip(terms) {
                self.width.signed(&codes[number * stride..(number + 1) * stride], dim, &mut signed);
                *bias = self.bias(&signed);
                *term = match self.metric {
                    Metric::L2 | Metric::Cosine => self.squared_norm(&signed),
                    Metric::Ip => -self.centre_product(&signed),
                };
            }
        });
        terms
    }

    fn bias(&self, signed: &[i8]) -> i32 {
        self.width.offset2() * signed.iter().map(|code| i32::from(*code)).sum::<i32>()
    }

    fn squared_norm(&self, signed: &[i8]) -> f32 {
        let sum: i64 = signed.iter().map(|code| i64::from(i32::from(*code).pow(2))).sum();
        sum as f32 * (self.step * self.width.signed_unit()).powi(2)
    }

    fn centre_product(&self, signed: &[i8]) -> f32 {
        let product: f32 =
            signed.iter().zip(&self.centre).map(|(code, centre)| f32::from(*code) * centre).sum();
        product * self.step * self.width.signed_unit()
    }

    /// Distances from a query to code rows. `terms` are squared norms for L2, and not needed otherwise.
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
        let unit = if largest > 0.0 && largest.is_finite() { largest / 127.0 } else { 1.0 };
        let inverse = 1.0 / unit;
        query_codes.clear();
        query_codes
            .extend(query.iter().zip(&self.centre).map(coordinate).map(|value| to_i8(value * inverse)));
        query_codes.resize(self.width.padded(query.len()), 0);
        let (weight, constant) = if l2 {
            (2.0, (kernels.f32.squared_l2)(query, &self.centre))
        } else {
            (1.0, -scale * (kernels.f32.dot)(query, &self.centre))
        };
        CodeScorer {
            codes,
            stride: self.width.stride(query.len()),
            kernels: self.width.kernels(),
            terms: if l2 { terms } else { None },
            bias: self.bias(query_codes),
            query: query_codes,
            factor: weight * unit * self.step / 2.0,
            constant,
            products,
        }
    }

    /// The factor of twice the product of two code rows, one of them signed, in their distance.
    pub(crate) fn pair_factor(&self) -> f32 {
        let weight = if self.metric == Metric::Ip { 1.0 } else { 2.0 };
        weight * self.step * self.step * self.width.signed_unit() / 2.0
    }
}

/// Rounds to the nearest code of a query.
#[inline]
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

/// A step with which the grid reaches past nearly all coordinates.
fn step_for(sizes: &mut [f32], width: Width) -> f32 {
    if sizes.is_empty() {
        return 1.0;
    }
    let rank = ((sizes.len() - 1) as f64 * width.covered()).ceil() as usize;
    let (_, size, _) = sizes.select_nth_unstable_by(rank, f32::total_cmp);
    let step = *size / ((width.largest_code() + 1.0) / 2.0);
    if step.is_normal() { step } else { 1.0 }
}
