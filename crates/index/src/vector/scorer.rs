//! Distances from one query to many rows, exact or by codes.

use redkite_types::Metric;

use super::view::inverse_root;
use super::{Elements, VectorsView};
use crate::kernel::{CodeKernels, Kernels, prefetch};

/// Distances (smaller is nearer) from one query to chosen rows.
pub(crate) trait Scorer {
    /// Starts fetching what [`Scorer::distances`] will read of a row.
    fn prefetch(&self, row: u32);

    /// Distances to `rows`, all of which exist; `out` has as many elements.
    fn distances(&mut self, rows: &[u32], out: &mut [f32]);
}

/// Exact distances, computed from the vectors.
#[derive(Debug)]
pub(crate) struct ExactScorer<'a> {
    vectors: VectorsView<'a>,
    metric: Metric,
    inverse_norms: Option<&'a [f32]>,
    query: &'a [f32],
    query_inverse_norm: f32,
}

impl<'a> ExactScorer<'a> {
    /// `query` has the dimension of `vectors`, `inverse_norms` one value per row; callers have checked.
    pub(crate) fn new(
        vectors: VectorsView<'a>,
        metric: Metric,
        inverse_norms: Option<&'a [f32]>,
        query: &'a [f32],
    ) -> Self {
        let query_inverse_norm = match metric {
            Metric::Cosine => inverse_root((Kernels::get().f32.squared_norm)(query)),
            _ => 1.0,
        };
        Self::with_norm(vectors, metric, inverse_norms, query, query_inverse_norm)
    }

    /// [`Self::new`] where 1 / norm of the query is known; 1 for other metrics than cosine.
    pub(crate) fn with_norm(
        vectors: VectorsView<'a>,
        metric: Metric,
        inverse_norms: Option<&'a [f32]>,
        query: &'a [f32],
        query_inverse_norm: f32,
    ) -> Self {
        Self { vectors, metric, inverse_norms, query, query_inverse_norm }
    }

    /// Distances to consecutive rows.
    pub(crate) fn block(&self, first: usize, out: &mut [f32]) {
        let kernels = Kernels::get();
        let rows = self.vectors.slice(first..first + out.len());
        let l2 = self.metric == Metric::L2;
        match rows.elements() {
            Elements::F32(values) => {
                pick(l2, kernels.f32.squared_l2_block, kernels.f32.dot_block)(self.query, values, out)
            }
            Elements::F16(values) => {
                pick(l2, kernels.f16.squared_l2_block, kernels.f16.dot_block)(self.query, values, out)
            }
            Elements::BF16(values) => {
                pick(l2, kernels.bf16.squared_l2_block, kernels.bf16.dot_block)(self.query, values, out)
            }
        }
        self.finish(|number| first + number, out);
    }

    /// Distances to chosen rows.
    pub(crate) fn gather(&self, rows: &[u32], out: &mut [f32]) {
        let kernels = Kernels::get();
        let l2 = self.metric == Metric::L2;
        match self.vectors.elements() {
            Elements::F32(values) => {
                pick(l2, kernels.f32.squared_l2_gather, kernels.f32.dot_gather)(
                    self.query, values, rows, out,
                );
            }
            Elements::F16(values) => {
                pick(l2, kernels.f16.squared_l2_gather, kernels.f16.dot_gather)(
                    self.query, values, rows, out,
                );
            }
            Elements::BF16(values) => {
                pick(l2, kernels.bf16.squared_l2_gather, kernels.bf16.dot_gather)(
                    self.query, values, rows, out,
                );
            }
        }
        self.finish(|number| rows[number] as usize, out);
    }

    /// Turns inner products into distances.
    fn finish(&self, row_of: impl Fn(usize) -> usize, out: &mut [f32]) {
        match self.metric {
            Metric::L2 => {}
            Metric::Ip => out.iter_mut().for_each(|value| *value = -*value),
            Metric::Cosine => {
                for (number, value) in out.iter_mut().enumerate() {
                    let row = row_of(number);
                    let inverse =
                        self.inverse_norms.map_or_else(|| self.vectors.inverse_norm(row), |norms| norms[row]);
                    *value = cosine_distance(*value, inverse * self.query_inverse_norm);
                }
            }
        }
    }
}

impl Scorer for ExactScorer<'_> {
    #[inline]
    fn prefetch(&self, row: u32) {
        self.vectors.prefetch(row);
    }

    #[inline]
    fn distances(&mut self, rows: &[u32], out: &mut [f32]) {
        self.gather(rows, out);
    }
}

/// −cos from the inner product and the product of the inverse norms; rounding may not leave −1..=1.
#[inline]
fn cosine_distance(product: f32, inverse: f32) -> f32 {
    if inverse == 0.0 { 0.0 } else { -(product * inverse).clamp(-1.0, 1.0) }
}

fn pick<F>(l2: bool, yes: F, no: F) -> F {
    if l2 { yes } else { no }
}

/// Approximate distances, computed from codes:
/// `constant + terms[row] − factor · (2 · (query · codes[row]) − bias)`.
#[derive(Debug)]
pub(crate) struct CodeScorer<'a> {
    pub(crate) codes: &'a [u8],
    /// Bytes of a code row.
    pub(crate) stride: usize,
    pub(crate) kernels: &'static CodeKernels,
    /// What a row adds by itself (its squared norm for L2); none where nothing is.
    pub(crate) terms: Option<&'a [f32]>,
    /// The query in 8 bits, padded like the rows.
    pub(crate) query: &'a [i8],
    pub(crate) factor: f32,
    pub(crate) constant: f32,
    /// What the offset of the codes adds to twice every product.
    pub(crate) bias: i32,
    /// Room for products.
    pub(crate) products: &'a mut Vec<i32>,
}

impl Scorer for CodeScorer<'_> {
    #[inline]
    fn prefetch(&self, row: u32) {
        prefetch(self.codes, (row as usize).wrapping_mul(self.stride), self.stride);
        if let Some(terms) = self.terms {
            prefetch(terms, row as usize, 1);
        }
    }

    #[inline]
    fn distances(&mut self, rows: &[u32], out: &mut [f32]) {
        self.products.resize(out.len(), 0);
        (self.kernels.dot_gather)(self.query, self.codes, rows, self.products);
        for (out, product) in out.iter_mut().zip(self.products.iter()) {
            *out = self.constant - self.factor * (2 * *product - self.bias) as f32;
        }
        if let Some(terms) = self.terms {
            out.iter_mut().zip(rows).for_each(|(out, row)| *out += terms[*row as usize]);
        }
    }
}
