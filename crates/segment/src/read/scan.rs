//! Comparing a query with rows one by one, in stretches that threads can take.

use std::ops::Range;
use std::sync::Arc;

use redkite_index::vector::{IndexError, TopK, VectorsView, brute_force_many};
use redkite_types::{Bitmap, Metric};

/// Rows of a stretch; a multiple of the bits in a word, so that a filter splits between words.
const ROWS_PER_STRETCH: usize = 1 << 15;
/// Rows are compared block by block where at most one in so many is unwanted (the wanted ones between
/// two such are a block of their own), and picked one by one where there are more.
const ROWS_PER_GAP: usize = 64;

/// Rows of a piece that has no index.
pub(super) struct Scanned<'a> {
    pub(super) vectors: VectorsView<'a>,
    pub(super) norms: Option<&'a [f32]>,
    pub(super) filter: Option<Arc<Bitmap>>,
    pub(super) first_row: u32,
}

/// Consecutive rows of a piece.
pub(super) struct Stretch<'a> {
    piece: &'a Scanned<'a>,
    pub(super) rows: Range<usize>,
    wanted: Wanted,
}

/// Which rows of a stretch are compared; positions count from its first row.
enum Wanted {
    Runs(Vec<Range<usize>>),
    Picked(Bitmap),
}

impl<'a> Stretch<'a> {
    /// The stretches of a piece that have a wanted row.
    pub(super) fn of(piece: &'a Scanned<'a>) -> impl Iterator<Item = Self> + use<'a> {
        let rows = piece.vectors.rows();
        (0..rows).step_by(ROWS_PER_STRETCH).filter_map(move |start| {
            let rows = start..rows.min(start + ROWS_PER_STRETCH);
            let wanted = match &piece.filter {
                None => Wanted::Runs(std::iter::once(0..rows.len()).collect()),
                Some(filter) => Wanted::of(filter, &rows)?,
            };
            Some(Self { piece, rows, wanted })
        })
    }

    /// Offers the wanted rows to the results of each query.
    pub(super) fn scan(
        &self,
        queries: &[&[f32]],
        metric: Metric,
        tops: &mut [TopK],
    ) -> Result<(), IndexError> {
        match &self.wanted {
            Wanted::Runs(runs) => runs.iter().try_for_each(|run| {
                let rows = self.rows.start + run.start..self.rows.start + run.end;
                self.compare(rows, None, queries, metric, tops)
            }),
            Wanted::Picked(filter) => self.compare(self.rows.clone(), Some(filter), queries, metric, tops),
        }
    }

    fn compare(
        &self,
        rows: Range<usize>,
        filter: Option<&Bitmap>,
        queries: &[&[f32]],
        metric: Metric,
        tops: &mut [TopK],
    ) -> Result<(), IndexError> {
        let offset = u32::try_from(rows.start).expect("rows are counted in 32 bits");
        tops.iter_mut().for_each(|top| top.set_first_row(self.piece.first_row + offset));
        let norms = self.piece.norms.map(|norms| &norms[rows.clone()]);
        brute_force_many(self.piece.vectors.slice(rows), norms, queries, metric, filter, tops)
    }
}

impl Wanted {
    fn of(filter: &Bitmap, rows: &Range<usize>) -> Option<Self> {
        let words = filter.words()[rows.start / 64..rows.end.div_ceil(64)].to_vec();
        let wanted = Bitmap::from_words(words, rows.len());
        let gaps = rows.len() - wanted.count_ones();
        if gaps == rows.len() {
            return None;
        }
        if gaps > rows.len() / ROWS_PER_GAP {
            return Some(Self::Picked(wanted));
        }
        let mut unwanted = wanted;
        unwanted.flip();
        let mut start = 0;
        let mut runs = Vec::with_capacity(gaps + 1);
        for gap in unwanted.ones().chain([rows.len()]) {
            if start < gap {
                runs.push(start..gap);
            }
            start = gap + 1;
        }
        Some(Self::Runs(runs))
    }
}

#[cfg(test)]
mod tests {
    use redkite_index::vector::Elements;

    use super::*;

    /// The rows that a scan offers, by their one-dimensional value.
    fn offered(rows: usize, wanted: impl Fn(usize) -> bool, first_row: u32) -> Vec<u32> {
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let values: Vec<f32> = (0..rows).map(|row| row as f32).collect();
        let piece = Scanned {
            vectors: VectorsView::new(1, Elements::F32(&values)).unwrap(),
            norms: None,
            filter: Some(Arc::new(Bitmap::from_fn(rows, wanted))),
            first_row,
        };
        let mut tops = vec![TopK::new(rows, Metric::Ip, None)];
        for stretch in Stretch::of(&piece) {
            stretch.scan(&[&[-1.0]], Metric::Ip, &mut tops).unwrap();
        }
        tops.remove(0).into_hits().iter().map(|hit| hit.row).collect()
    }

    #[test]
    fn exactly_the_wanted_rows_are_compared() {
        let rows = 3 * ROWS_PER_STRETCH / 2 + 17;
        for step in [1, 2, 50, 1000, rows] {
            for invert in [false, true] {
                let wanted = |row: usize| row.is_multiple_of(step) != invert;
                let expected: Vec<u32> =
                    (7..).zip(0..rows).filter(|(_, row)| wanted(*row)).map(|(id, _)| id).collect();
                assert_eq!(offered(rows, wanted, 7), expected, "every {step}th, inverted {invert}");
            }
        }
    }
}
