//! Do few bits tell the rows of this data apart, and how few?

use redkite_types::Metric;

use crate::vector::brute_force::{brute_force_many, number};
use crate::vector::quantizer::{Quantizer, Width};
use crate::vector::scorer::{ExactScorer, Scorer};
use crate::vector::{BuildContext, IndexError, TopK, VectorsView};

/// Below this dimension codes save little and lose much.
const LEAST_CODED_DIM: usize = 32;
/// Rows whose neighbours are looked for.
const PROBES: usize = 32;
/// Neighbours that should be found …
const WANTED: usize = 10;
/// … among this many that codes put first.
const LOOKED_AT: usize = 40;
/// The part of them that must be found.
const LEAST_FOUND: f64 = 0.95;
/// Rows scored at once.
const BLOCK_ROWS: usize = 1024;

/// The narrowest codes with which the nearest rows of some rows are found, and the codes of all rows; none if
/// not even 8 bits do, as in clusters much narrower than the space between them.
///
/// The exact neighbours are found by brute force over all rows, since a sample would be too thin to be hard.
pub(crate) fn choose_codes(
    vectors: VectorsView<'_>,
    metric: Metric,
    inverse_norms: Option<&[f32]>,
    context: &BuildContext<'_>,
) -> Result<Option<(Quantizer, Vec<u8>)>, IndexError> {
    if vectors.dim() < LEAST_CODED_DIM || vectors.rows() == 0 {
        return Ok(None);
    }
    let truth = Truth::find(vectors, metric, inverse_norms)?;
    for width in [Width::Four, Width::Eight] {
        context.check()?;
        let quantizer = Quantizer::train(vectors, metric, width);
        let codes = quantizer.encode(vectors, |row| row, vectors.rows(), context);
        let found = truth.found_by(&quantizer, &codes, vectors, context);
        tracing::debug!(bits = width.bits(), found, "neighbours that codes find");
        if found >= LEAST_FOUND {
            return Ok(Some((quantizer, codes)));
        }
    }
    Ok(None)
}

/// Some rows and how far their nearest neighbours are.
struct Truth<'a> {
    vectors: VectorsView<'a>,
    metric: Metric,
    inverse_norms: Option<&'a [f32]>,
    probes: Vec<Vec<f32>>,
    /// The distance of the last wanted neighbour of each.
    reach: Vec<f32>,
}

impl<'a> Truth<'a> {
    fn find(
        vectors: VectorsView<'a>,
        metric: Metric,
        inverse_norms: Option<&'a [f32]>,
    ) -> Result<Self, IndexError> {
        let every = vectors.rows().div_ceil(PROBES);
        let probes: Vec<Vec<f32>> = (0..vectors.rows())
            .step_by(every)
            .map(|row| {
                let mut probe = vec![0.0; vectors.dim()];
                vectors.read_row(row, &mut probe);
                probe
            })
            .collect();
        let queries: Vec<&[f32]> = probes.iter().map(Vec::as_slice).collect();
        let mut tops = vec![TopK::new(WANTED, metric, None); probes.len()];
        brute_force_many(vectors, inverse_norms, &queries, metric, None, &mut tops)?;
        let reach = tops.into_iter().map(|top| {
            let hits = top.into_hits();
            hits.last().map_or(f32::NAN, |hit| crate::vector::order::turn(metric, hit.score))
        });
        let reach = reach.collect();
        Ok(Self { vectors, metric, inverse_norms, probes, reach })
    }

    /// The part of the wanted neighbours among those that codes put first. Ties count as found.
    fn found_by(
        &self,
        quantizer: &Quantizer,
        codes: &[u8],
        vectors: VectorsView<'_>,
        context: &BuildContext<'_>,
    ) -> f64 {
        let wanted = WANTED.min(vectors.rows());
        let terms: Option<Vec<f32>> = (self.metric == Metric::L2).then(|| {
            let terms = quantizer.pair_terms(codes, vectors.dim(), context);
            terms.into_iter().map(|(norm, _)| norm).collect()
        });
        let mut found = vec![0; self.probes.len()];
        context.fill(&mut found, 1, |number, found| {
            let probe = &self.probes[number];
            // Sums in another order may differ in the last bits.
            let reach = self.reach[number] + self.reach[number].abs() * 1e-5;
            let first = first_by_codes(quantizer, codes, terms.as_deref(), probe, vectors.rows());
            let mut distances = vec![0.0; first.len()];
            let exact = ExactScorer::new(self.vectors, self.metric, self.inverse_norms, probe);
            exact.gather(&first, &mut distances);
            let near = distances.iter().filter(|distance| **distance <= reach || reach.is_nan()).count();
            found[0] = near.min(wanted);
        });
        found.iter().sum::<usize>() as f64 / (wanted * self.probes.len()).max(1) as f64
    }
}

/// The rows that codes put first.
fn first_by_codes(
    quantizer: &Quantizer,
    codes: &[u8],
    terms: Option<&[f32]>,
    probe: &[f32],
    rows: usize,
) -> Vec<u32> {
    let (mut query_codes, mut products) = (Vec::new(), Vec::new());
    let mut scorer = quantizer.aim(probe, codes, terms, &mut query_codes, &mut products);
    let mut top = TopK::new(LOOKED_AT, Metric::L2, None);
    let mut distances = Vec::new();
    for start in (0..rows).step_by(BLOCK_ROWS) {
        let block: Vec<u32> = (number(start)..number((start + BLOCK_ROWS).min(rows))).collect();
        distances.resize(block.len(), 0.0);
        scorer.distances(&block, &mut distances);
        block.iter().zip(&distances).for_each(|(row, distance)| top.push_distance(*row, *distance));
    }
    top.into_hits().iter().map(|hit| hit.row).collect()
}
