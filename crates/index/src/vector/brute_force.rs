//! Comparing a query with every row.

use redkite_types::{Bitmap, Metric};

use super::scorer::ExactScorer;
use super::{IndexError, TopK, VectorsView};

/// Rows scored between two looks at the result heap.
const BLOCK_ROWS: usize = 256;

/// Bytes of vectors that stay in the second-level cache while every query of a batch visits them.
const BLOCK_BYTES: usize = 256 << 10;

/// Offers every row that passes the filter to `top`, whose metric must be `metric`.
///
/// `inverse_norms` (see [`super::inverse_norms`]) saves recomputing them for cosine; other metrics ignore it.
///
/// # Errors
/// If the shapes do not fit.
pub fn brute_force(
    vectors: VectorsView<'_>,
    inverse_norms: Option<&[f32]>,
    query: &[f32],
    metric: Metric,
    filter: Option<&Bitmap>,
    top: &mut TopK,
) -> Result<(), IndexError> {
    brute_force_many(vectors, inverse_norms, &[query], metric, filter, std::slice::from_mut(top))
}

/// [`brute_force`] for several queries at once; vectors are read from memory once for all of them.
///
/// # Errors
/// If the shapes do not fit, or there are not as many results as queries.
pub fn brute_force_many(
    vectors: VectorsView<'_>,
    inverse_norms: Option<&[f32]>,
    queries: &[&[f32]],
    metric: Metric,
    filter: Option<&Bitmap>,
    tops: &mut [TopK],
) -> Result<(), IndexError> {
    check(vectors, inverse_norms, queries, filter)?;
    if tops.len() != queries.len() {
        return Err(IndexError::Length { what: "results", expected: queries.len(), given: tops.len() });
    }
    let mut scorers: Vec<ExactScorer<'_>> =
        queries.iter().map(|query| ExactScorer::new(vectors, metric, inverse_norms, query)).collect();
    let rows_per_block = (BLOCK_BYTES / vectors.row_bytes()).clamp(4, BLOCK_ROWS);
    match filter {
        None => scan(vectors.rows(), rows_per_block, &mut scorers, tops),
        Some(filter) => scan_filtered(filter, rows_per_block, &mut scorers, tops),
    }
    Ok(())
}

fn scan(rows: usize, rows_per_block: usize, scorers: &mut [ExactScorer<'_>], tops: &mut [TopK]) {
    let mut distances = [0.0; BLOCK_ROWS];
    let mut first = 0;
    while first < rows {
        let distances = &mut distances[..rows_per_block.min(rows - first)];
        for (scorer, top) in scorers.iter().zip(tops.iter_mut()) {
            scorer.block(first, distances);
            for (row, distance) in (first..).zip(distances.iter()) {
                top.push_distance(number(row), *distance);
            }
        }
        first += distances.len();
    }
}

fn scan_filtered(filter: &Bitmap, rows_per_block: usize, scorers: &mut [ExactScorer<'_>], tops: &mut [TopK]) {
    let mut distances = [0.0; BLOCK_ROWS];
    let mut ids = Vec::with_capacity(rows_per_block);
    let mut rows = filter.ones().map(number);
    loop {
        ids.clear();
        ids.extend(rows.by_ref().take(rows_per_block));
        if ids.is_empty() {
            return;
        }
        let distances = &mut distances[..ids.len()];
        for (scorer, top) in scorers.iter().zip(tops.iter_mut()) {
            scorer.gather(&ids, distances);
            ids.iter().zip(distances.iter()).for_each(|(row, distance)| top.push_distance(*row, *distance));
        }
    }
}

/// Checks everything a search is given against the vectors.
pub(crate) fn check(
    vectors: VectorsView<'_>,
    inverse_norms: Option<&[f32]>,
    queries: &[&[f32]],
    filter: Option<&Bitmap>,
) -> Result<(), IndexError> {
    let (rows, dim) = (vectors.rows(), vectors.dim());
    if u32::try_from(rows).is_err() {
        return Err(IndexError::TooManyRows { rows, most: u32::MAX as usize });
    }
    if let Some(query) = queries.iter().find(|query| query.len() != dim) {
        return Err(IndexError::QueryDimension { expected: dim, given: query.len() });
    }
    if let Some(norms) = inverse_norms.filter(|norms| norms.len() != rows) {
        return Err(IndexError::Length { what: "inverse norms", expected: rows, given: norms.len() });
    }
    match filter.filter(|filter| filter.len() != rows) {
        Some(filter) => Err(IndexError::Length { what: "filter", expected: rows, given: filter.len() }),
        None => Ok(()),
    }
}

/// A row number; [`check`] has seen that all of them fit.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "fewer than 2³² rows, checked")]
pub(crate) fn number(row: usize) -> u32 {
    row as u32
}
