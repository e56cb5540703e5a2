//! Distances between rows while a graph is built.

use redkite_types::Metric;

use super::prune::RowScorer;
use crate::kernel::{Kernels, prefetch};
use crate::vector::VectorsView;
use crate::vector::build::BuildContext;
use crate::vector::quantizer::{Quantizer, stride};
use crate::vector::scorer::{ExactScorer, Scorer};

/// What comparing code rows with each other needs.
#[derive(Debug)]
pub(crate) struct CodeRows {
    pub(crate) codes: Vec<u8>,
    pub(crate) terms: Vec<f32>,
    /// 128 times the sum of each row's signed codes.
    biases: Vec<i32>,
    stride: usize,
    factor: f32,
}

impl CodeRows {
    pub(crate) fn new(quantizer: &Quantizer, vectors: VectorsView<'_>, context: &BuildContext<'_>) -> Self {
        let stride = stride(vectors.dim());
        let codes = quantizer.encode(vectors, |row| row, vectors.rows(), context);
        let terms = quantizer.pair_terms(&codes, vectors.dim(), context);
        let mut biases = vec![0; vectors.rows()];
        context.fill(&mut biases, 1024, |piece, biases| {
            for (row, bias) in (piece * 1024..).zip(biases) {
                let codes = &codes[row * stride..(row + 1) * stride];
                *bias = 128 * codes.iter().map(|code| i32::from(*code) - 128).sum::<i32>();
            }
        });
        Self { codes, terms, biases, stride, factor: quantizer.pair_factor() }
    }
}

/// Compares code rows.
#[derive(Debug)]
pub(crate) struct CodeRowScorer<'a> {
    rows: &'a CodeRows,
    query: Vec<i8>,
    query_term: f32,
    query_bias: i32,
    products: Vec<i32>,
}

impl<'a> CodeRowScorer<'a> {
    pub(crate) fn new(rows: &'a CodeRows) -> Self {
        Self { query: vec![0; rows.stride], rows, query_term: 0.0, query_bias: 0, products: Vec::new() }
    }
}

impl Scorer for CodeRowScorer<'_> {
    #[inline]
    fn prefetch(&self, row: u32) {
        prefetch(&self.rows.codes, row as usize * self.rows.stride, self.rows.stride);
    }

    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "an approximation")]
    fn distances(&mut self, rows: &[u32], out: &mut [f32]) {
        self.products.resize(out.len(), 0);
        (Kernels::get().codes.dot_gather)(&self.query, &self.rows.codes, rows, &mut self.products);
        for ((out, product), row) in out.iter_mut().zip(&self.products).zip(rows) {
            let product = (*product - self.query_bias) as f32;
            *out = self.query_term + self.rows.terms[*row as usize] - self.rows.factor * product;
        }
    }
}

impl RowScorer for CodeRowScorer<'_> {
    fn aim(&mut self, row: u32) {
        let row = row as usize;
        let codes = &self.rows.codes[row * self.rows.stride..(row + 1) * self.rows.stride];
        self.query.iter_mut().zip(codes).for_each(|(query, code)| *query = (*code ^ 0x80).cast_signed());
        self.query_term = self.rows.terms[row];
        self.query_bias = self.rows.biases[row];
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
