//! Finding the nearest rows.
//!
//! A piece with an index on the field is searched through it; all others are compared row by row,
//! many queries at a time, in parallel where there is enough to do. Each query asks for a few hits
//! more where primary keys may repeat or rows are not in key order, and for still more until its
//! best `limit` distinct keys, ordered by (score, key), are certain.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::{Arc, LazyLock};

use hashbrown::HashSet;
use rayon::prelude::*;
use redkite_index::vector::{
    self as index, Hit, IndexError, ScratchPool, SearchParams, TopK, VectorIndex, VectorsView,
};
use redkite_query::SearchPart;
use redkite_types::{Bitmap, Metric};

use super::gather::{Gathered, gather};
use super::scan::{Scanned, Stretch};
use super::select::{Selection, select};
use super::{Snapshot, field_of};
use crate::{Error, Result, SearchTask};

/// Values compared one after the other before it pays to ask other threads for help.
const PARALLEL_VALUES: usize = 1 << 20;
/// Queries that share one pass over the vectors.
const QUERIES_PER_PASS: usize = 16;
/// Give up on ordering ties by key after looking at this many times the limit: all rows equal is no
/// search.
const MOST_EXTRA: usize = 64;

/// Memory for graph walks, one byte a row of the largest segment: shared by all segments, because
/// there are never more searches than threads.
static SCRATCH: LazyLock<ScratchPool> = LazyLock::new(ScratchPool::default);

/// The nearest rows to each query.
pub(crate) fn search(snapshot: &Snapshot<'_>, task: &SearchTask<'_>) -> Result<SearchPart> {
    let search = Search::prepare(snapshot, task)?;
    let hits = search.all()?;
    let topks = hits.iter().map(|hits| count(hits.len())).collect();
    let (mut rows, mut scores) = (Vec::new(), Vec::new());
    for hit in hits.iter().flatten() {
        rows.push(hit.row);
        scores.push(hit.score);
    }
    let Gathered { ids, timestamps, columns } = gather(snapshot, task.schema, &rows, task.output)?;
    Ok(SearchPart { nq: count(hits.len()), topks, ids, scores, timestamps, columns })
}

/// A search with everything looked up that all its queries share.
struct Search<'a> {
    snapshot: &'a Snapshot<'a>,
    task: &'a SearchTask<'a>,
    dim: usize,
    indexed: Vec<Indexed<'a>>,
    scanned: Vec<Scanned<'a>>,
}

struct Indexed<'a> {
    index: Arc<dyn VectorIndex>,
    vectors: VectorsView<'a>,
    filter: Option<Arc<Bitmap>>,
    first_row: u32,
}

impl<'a> Search<'a> {
    fn prepare(snapshot: &'a Snapshot<'a>, task: &'a SearchTask<'a>) -> Result<Self> {
        let field = field_of(task.schema, task.field)?;
        let dim = field.dim as usize;
        if dim == 0 || !task.queries.len().is_multiple_of(dim) {
            return Err(Error::Queries { dim, values: task.queries.len() });
        }
        let mut search = Self { snapshot, task, dim, indexed: Vec::new(), scanned: Vec::new() };
        let selections = select(snapshot, task.schema, task.filter)?;
        for (piece, selection) in snapshot.pieces.iter().zip(selections) {
            // A vector field that the rows do not have: nothing to be near to.
            let Some(column) = piece.column(field)? else { continue };
            let mut filter = match selection {
                Selection::All => None,
                Selection::Mask(rows) => Some(rows),
                Selection::Rows(rows) => {
                    let mut mask = Bitmap::filled(piece.rows, false);
                    rows.iter().for_each(|row| mask.set(*row as usize));
                    Some(Arc::new(mask))
                }
            };
            if let Some(validity) = column.validity {
                let mut valid = validity.clone();
                filter.iter().for_each(|filter| valid.and(filter));
                filter = Some(Arc::new(valid));
            }
            if filter.as_ref().is_some_and(|filter| !filter.any()) {
                continue;
            }
            let vectors = VectorsView::try_from(column.data).map_err(wrap(task))?;
            let first_row = piece.first_row;
            let index = piece.indexes.and_then(|indexes| indexes.vector(task.field));
            match index.filter(|index| index.spec().metric == task.metric) {
                Some(index) => search.indexed.push(Indexed { index, vectors, filter, first_row }),
                None => {
                    // Norms of all rows for the sake of a few are not worth having.
                    let few = filter.as_ref().is_some_and(|filter| filter.count_ones() < piece.rows / 8);
                    let cosine = task.metric == Metric::Cosine && !few;
                    let norms = if cosine { piece.columns.inverse_norms(task.field) } else { None };
                    search.scanned.push(Scanned { vectors, norms, filter, first_row });
                }
            }
        }
        Ok(search)
    }

    /// The final hits of every query.
    fn all(&self) -> Result<Vec<Vec<Hit>>> {
        let queries: Vec<&[f32]> = self.task.queries.chunks_exact(self.dim).collect();
        let want = if self.ordered() { self.task.limit } else { self.task.limit.saturating_add(1) };
        let raw = self.raw(&queries, want, self.task.range)?;
        queries.iter().zip(raw).map(|(query, raw)| self.settle(query, raw, want)).collect()
    }

    /// Whether the order of rows is the order of keys, each key once.
    fn ordered(&self) -> bool {
        self.snapshot.lookup.sorted() && !self.snapshot.lookup.repeated()
    }

    /// Asks for more hits until the best distinct keys are certain.
    fn settle(&self, query: &[f32], mut raw: Vec<Hit>, mut want: usize) -> Result<Vec<Hit>> {
        if self.ordered() {
            return Ok(raw);
        }
        let (limit, rows) = (self.task.limit, self.snapshot.rows());
        let most = limit.saturating_mul(MOST_EXTRA).saturating_add(4096);
        let mut hits = loop {
            let exhausted = raw.len() < want || want >= most;
            let last = raw.last().copied();
            let hits = self.distinct(raw);
            let kth = limit.checked_sub(1).and_then(|kth| hits.get(kth)).copied();
            match kth.zip(last) {
                _ if exhausted || limit == 0 => break hits,
                Some((kth, last)) if self.compare(kth.score, last.score).is_lt() => break hits,
                Some((kth, _)) => break self.with_ties(query, hits, kth.score, most)?,
                None => {
                    want = want.saturating_mul(4).min(most.max(rows));
                    raw = self.raw(&[query], want, self.task.range)?.pop().unwrap_or_default();
                }
            }
        };
        hits.truncate(limit);
        Ok(hits)
    }

    /// Adds the rows that score exactly as the last wanted hit: some of them have smaller keys.
    fn with_ties(&self, query: &[f32], mut hits: Vec<Hit>, score: f32, most: usize) -> Result<Vec<Hit>> {
        let only = index::Range { best: Bound::Included(score), worst: Bound::Included(score) };
        let ties = self.raw(&[query], most, Some(only))?.pop().unwrap_or_default();
        let known: HashSet<u32> = hits.iter().map(|hit| hit.row).collect();
        hits.extend(ties.into_iter().filter(|hit| !known.contains(&hit.row)));
        Ok(self.distinct(hits))
    }

    /// Hits in the order of (score, key), each key once, in its latest version among equals.
    fn distinct(&self, mut hits: Vec<Hit>) -> Vec<Hit> {
        let snapshot = self.snapshot;
        let written = |row: u32| snapshot.timestamp(row).unwrap_or_default();
        hits.sort_by(|a, b| {
            self.compare(a.score, b.score)
                .then_with(|| snapshot.key(a.row).cmp(&snapshot.key(b.row)))
                .then_with(|| written(b.row).cmp(&written(a.row)))
        });
        if snapshot.lookup.repeated() {
            let mut seen = HashSet::with_capacity(hits.len());
            hits.retain(|hit| seen.insert(snapshot.key(hit.row)));
        }
        hits
    }

    /// Nearer is less; NaN is farthest.
    fn compare(&self, a: f32, b: f32) -> Ordering {
        let nearer = if self.task.metric.larger_is_nearer() { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
        nearer.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    }

    /// The best `want` rows of each query, best first, ties by row.
    fn raw(&self, queries: &[&[f32]], want: usize, range: Option<index::Range>) -> Result<Vec<Vec<Hit>>> {
        let indexed = self.through_indexes(queries, want, range)?;
        let scanned = self.by_scanning(queries, want, range)?;
        let empty = || vec![Vec::new(); queries.len()];
        let lists: Vec<Vec<Vec<Hit>>> = indexed.into_iter().chain(scanned).collect();
        let mut lists = lists.into_iter();
        let first = lists.next().unwrap_or_else(empty);
        Ok(lists.fold(first, |best, more| {
            best.into_iter().zip(more).map(|(best, more)| self.best_of(best, more, want)).collect()
        }))
    }

    fn best_of(&self, best: Vec<Hit>, more: Vec<Hit>, want: usize) -> Vec<Hit> {
        if more.is_empty() {
            return best;
        }
        let mut top = TopK::new(want, self.task.metric, None);
        best.into_iter().chain(more).for_each(|hit| top.push(hit.row, hit.score));
        top.into_hits()
    }

    /// One list per indexed piece and query.
    fn through_indexes(
        &self,
        queries: &[&[f32]],
        want: usize,
        range: Option<index::Range>,
    ) -> Result<Vec<Vec<Vec<Hit>>>> {
        let params = SearchParams {
            k: want,
            ef: self.task.ef.map_or(SearchParams::default().ef, |ef| ef as usize),
            nprobe: self.task.nprobe.map_or(SearchParams::default().nprobe, |nprobe| nprobe as usize),
            range,
        };
        let one = |piece: &Indexed<'_>, query: &[f32]| {
            let filter = piece.filter.as_deref();
            let mut hits = SCRATCH
                .with(|scratch| piece.index.search(piece.vectors, query, &params, filter, scratch))
                .map_err(wrap(self.task))?;
            hits.iter_mut().for_each(|hit| hit.row += piece.first_row);
            Ok(hits)
        };
        self.indexed
            .iter()
            .map(|piece| match queries {
                [query] => Ok(vec![one(piece, query)?]),
                _ => queries.par_iter().map(|query| one(piece, query)).collect(),
            })
            .collect()
    }

    /// The lists of all scanned pieces together.
    fn by_scanning(
        &self,
        queries: &[&[f32]],
        want: usize,
        range: Option<index::Range>,
    ) -> Result<Option<Vec<Vec<Hit>>>> {
        let stretches: Vec<Stretch<'_>> = self.scanned.iter().flat_map(Stretch::of).collect();
        if stretches.is_empty() {
            return Ok(None);
        }
        let rows: usize = stretches.iter().map(|stretch| stretch.rows.len()).sum();
        let metric = self.task.metric;
        let scan = |stretches: &[Stretch<'_>], queries: &[&[f32]]| {
            let mut tops = vec![TopK::new(want, metric, range); queries.len()];
            stretches.iter().try_for_each(|stretch| stretch.scan(queries, metric, &mut tops))?;
            Ok(tops.into_iter().map(TopK::into_hits).collect::<Vec<_>>())
        };
        if rows * self.dim * queries.len() < PARALLEL_VALUES {
            return scan(&stretches, queries).map(Some).map_err(wrap(self.task));
        }
        let scan_pass = |pass: &&[&[f32]]| {
            let partial = stretches.par_iter().map(|stretch| scan(std::slice::from_ref(stretch), pass));
            // The identity has no queries.
            partial.try_reduce(Vec::new, |left, right| {
                if left.is_empty() || right.is_empty() {
                    return Ok(if left.is_empty() { right } else { left });
                }
                Ok(left.into_iter().zip(right).map(|(a, b)| self.best_of(a, b, want)).collect())
            })
        };
        let passes: Vec<&[&[f32]]> = queries.chunks(QUERIES_PER_PASS).collect();
        let lists: Result<Vec<_>, IndexError> = passes.par_iter().map(scan_pass).collect();
        Ok(Some(lists.map_err(wrap(self.task))?.into_iter().flatten().collect()))
    }
}

fn wrap(task: &SearchTask<'_>) -> impl Fn(IndexError) -> Error {
    let field = task.field;
    move |source| Error::Index { path: format!("search of field {field}"), source }
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).expect("rows are counted in 32 bits")
}
