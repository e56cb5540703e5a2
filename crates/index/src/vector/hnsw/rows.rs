//! Distances between rows while a graph is built.

use redkite_types::Metric;

use super::prune::RowScorer;
use crate::kernel::{CodeKernels, prefetch};
use crate::vector::VectorsView;
use crate::vector::build::BuildContext;
use crate::vector::quantizer::{Quantizer, Width};
use crate::vector::scorer::{ExactScorer, Scorer};

/// What comparing code rows with each other needs.
#[derive(Debug)]
pub(crate) struct CodeRows {
    width: Width,
    dim: usize,
    stride: usize,
    pub(crate) codes: Vec<u8>,
    /// What each row adds to a distance by itself, and to products as a query.
    pub(crate) terms: Vec<(f32, i32)>,
    factor: f32,
}

impl CodeRows {
    pub(crate) fn new(
        quantizer: &Quantizer,
        vectors: VectorsView<'_>,
        codes: Vec<u8>,
        context: &BuildContext<'_>,
    ) -> Self {
        Self {
            width: quantizer.width,
            dim: vectors.dim(),
            stride: quantizer.width.stride(vectors.dim()),
            terms: quantizer.pair_terms(&codes, vectors.dim(), context),
            codes,
            factor: quantizer.pair_factor(),
        }
    }
}

/// Compares code rows.
#[derive(Debug)]
pub(crate) struct CodeRowScorer<'a> {
    rows: &'a CodeRows,
    kernels: &'static CodeKernels,
    query: Vec<i8>,
    query_term: f32,
    query_bias: i32,
    products: Vec<i32>,
}

impl<'a> CodeRowScorer<'a> {
    pub(crate) fn new(rows: &'a CodeRows) -> Self {
        Self {
            kernels: rows.width.kernels(),
            query: vec![0; rows.width.padded(rows.dim)],
            rows,
            query_term: 0.0,
            query_bias: 0,
            products: Vec::new(),
        }
    }
}

impl Scorer for CodeRowScorer<'_> {
    #[inline]
    fn prefetch(&self, row: u32) {
        prefetch(&self.rows.codes, row as usize * self.rows.stride, self.rows.stride);
    }

    #[inline]
    fn distances(&mut self, rows: &[u32], out: &mut [f32]) {
        self.products.resize(out.len(), 0);
        (self.kernels.dot_gather)(&self.query, &self.rows.codes, rows, &mut self.products);
        for ((out, product), row) in out.iter_mut().zip(&self.products).zip(rows) {
            let product = (2 * *product - self.query_bias) as f32;
            *out = self.query_term + self.rows.terms[*row as usize].0 - self.rows.factor * product;
        }
    }
}

impl RowScorer for CodeRowScorer<'_> {
    fn aim(&mut self, row: u32) {
        let row = row as usize;
        let codes = &self.rows.codes[row * self.rows.stride..(row + 1) * self.rows.stride];
        self.rows.width.signed(codes, self.rows.dim, &mut self.query);
        (self.query_term, self.query_bias) = self.rows.terms[row];
    }
}

/// Compares the vectors themselves.
#[derive(Debug)]
pub(crate) struct ExactRowScorer<'a> {
    vectors: VectorsView<'a>,
    metric: Metric,
    inverse_norms: Option<&'a [f32]>,
    query: Vec<f32>,
    query_inverse_norm: f32,
}

impl<'a> ExactRowScorer<'a> {
    pub(crate) fn new(vectors: VectorsView<'a>, metric: Metric, inverse_norms: Option<&'a [f32]>) -> Self {
        Self { vectors, metric, inverse_norms, query: vec![0.0; vectors.dim()], query_inverse_norm: 0.0 }
    }
}

impl Scorer for ExactRowScorer<'_> {
    #[inline]
    fn prefetch(&self, row: u32) {
        self.vectors.prefetch(row);
    }

    #[inline]
    fn distances(&mut self, rows: &[u32], out: &mut [f32]) {
        ExactScorer::with_norm(
            self.vectors,
            self.metric,
            self.inverse_norms,
            &self.query,
            self.query_inverse_norm,
        )
        .gather(rows, out);
    }
}

impl RowScorer for ExactRowScorer<'_> {
    fn aim(&mut self, row: u32) {
        self.vectors.read_row(row as usize, &mut self.query);
        self.query_inverse_norm = self.inverse_norms.map_or(1.0, |norms| norms[row as usize]);
    }
}
