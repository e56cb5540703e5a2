//! Inverted lists: rows grouped around k-means centres, of which a search compares the nearest few groups.
//!
//! IVF_FLAT stores row numbers only and reads vectors through the view: a row is many cache lines, so that
//! fetching rows ahead hides where they lie, while a copy in list order would double the memory of the
//! largest thing there is. IVF_SQ8 adds 8-bit codes in list order, a quarter of the vectors, and scores the
//! best rows again from the vectors.

use std::ops::Range;

use redkite_types::Bitmap;

use super::brute_force::{brute_force, check, number};
use super::codes::Codes;
use super::file::{CodesMeta, File, Meta, Section, Slice, Values};
use super::flat::{build_inverse_norms, check_shape, open_inverse_norms, push_inverse_norms};
use super::kmeans::Centres;
use super::order::{key, key_row};
use super::quantizer::{Quantizer, Width};
use super::scorer::{CodeScorer, ExactScorer, Scorer};
use super::{
    Artifact, BuildContext, Elements, Hit, IndexError, Metric, Scratch, SearchParams, TopK, VectorIndex,
    VectorIndexSpec, VectorsView,
};

/// Rows scored between two looks at the result heap.
const BLOCK_ROWS: usize = 256;

pub(crate) fn build(
    spec: VectorIndexSpec,
    nlist: usize,
    coded: bool,
    vectors: VectorsView<'_>,
    context: &BuildContext<'_>,
) -> Result<Artifact, IndexError> {
    let rows = vectors.rows();
    let lists = nlist.min(rows);
    let centres = Centres::train(vectors, spec.metric, lists, context)?;
    let owners = centres.assign(vectors, |row| row, rows, context);
    context.check()?;
    let (starts, list_rows) = group(&owners, lists);
    let quantizer = coded.then(|| Quantizer::train(vectors, spec.metric, Width::Eight));
    let meta = Meta {
        spec,
        rows,
        dim: vectors.dim(),
        codes: quantizer.as_ref().map(CodesMeta::from),
        entry: None,
        top_level: 0,
        lists,
    };
    let mut artifact = Artifact::new(meta);
    artifact.push(Section::Centroids, Values::F32(centres.values));
    artifact.push(Section::ListStarts, Values::U32(starts));
    push_inverse_norms(&mut artifact, &build_inverse_norms(spec.metric, vectors, context));
    if let Some(quantizer) = quantizer {
        let codes = quantizer.encode(vectors, |place| list_rows[place] as usize, rows, context);
        let terms = quantizer.pair_terms(&codes, vectors.dim(), context);
        Codes::push(&mut artifact, &quantizer, codes, terms, spec.metric);
    }
    artifact.push(Section::ListRows, Values::U32(list_rows));
    Ok(artifact)
}

/// Rows list by list (ascending within a list), and where each list starts.
fn group(owners: &[u32], lists: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0_u32; lists + 1];
    owners.iter().for_each(|owner| starts[*owner as usize + 1] += 1);
    (0..lists).for_each(|list| starts[list + 1] += starts[list]);
    let mut next = starts.clone();
    let mut rows = vec![0; owners.len()];
    for (row, owner) in owners.iter().enumerate() {
        let place = &mut next[*owner as usize];
        rows[*place as usize] = number(row);
        *place += 1;
    }
    (starts, rows)
}

/// Opened lists.
#[derive(Debug)]
pub(crate) struct IvfIndex {
    file: File,
    centroids: Slice<f32>,
    starts: Slice<u32>,
    rows: Slice<u32>,
    inverse_norms: Option<Slice<f32>>,
    codes: Option<Codes>,
}

impl IvfIndex {
    pub(crate) fn open(file: File) -> Result<Self, IndexError> {
        let meta = file.meta();
        if meta.lists > meta.rows || (meta.lists == 0) != (meta.rows == 0) {
            return Err(IndexError::Damaged { what: "number of lists", offset: 0 });
        }
        let values = |rows: usize, width: usize| rows.saturating_mul(width);
        Ok(Self {
            centroids: file.section(Section::Centroids, values(meta.lists, meta.dim))?,
            starts: file.section(Section::ListStarts, meta.lists + 1)?,
            rows: file.section(Section::ListRows, meta.rows)?,
            inverse_norms: open_inverse_norms(&file)?,
            codes: Codes::open(&file)?,
            file,
        })
    }

    /// Scans the nearest `nprobe` lists, and further ones while fewer than `k` rows are held. `scan` returns
    /// how many are.
    fn probe(&self, query: &[f32], params: &SearchParams, mut scan: impl FnMut(Range<usize>) -> usize) {
        let mut lists = self.lists_by_distance(query);
        if lists.is_empty() {
            return;
        }
        let nprobe = params.nprobe.clamp(1, lists.len());
        lists.select_nth_unstable(nprobe - 1);
        let (near, far) = lists.split_at_mut(nprobe);
        near.sort_unstable();
        let mut held = 0;
        near.iter().for_each(|list| held = scan(self.places(key_row(*list))));
        if held < params.k {
            far.sort_unstable();
            let mut far = far.iter();
            while let Some(list) = far.next().filter(|_| held < params.k) {
                held = scan(self.places(key_row(*list)));
            }
        }
    }

    /// A key of distance and number for every list.
    fn lists_by_distance(&self, query: &[f32]) -> Vec<u64> {
        let metric = if self.spec().metric == Metric::L2 { Metric::L2 } else { Metric::Ip };
        let mut distances = vec![0.0; self.file.meta().lists];
        if let Some(centres) = VectorsView::new(self.dim(), Elements::F32(self.file.get(&self.centroids))) {
            ExactScorer::new(centres, metric, None, query).block(0, &mut distances);
        }
        (0..).zip(distances).map(|(list, distance)| key(distance, list)).collect()
    }

    /// The places of a list in the section of rows; empty if the file is damaged there.
    fn places(&self, list: u32) -> Range<usize> {
        let starts = self.file.get(&self.starts);
        let (start, end) = (starts[list as usize] as usize, starts[list as usize + 1] as usize);
        if start <= end && end <= self.rows() { start..end } else { 0..0 }
    }

    /// Whether comparing all rows that pass the filter costs no more than comparing `nprobe` lists.
    fn few_pass(&self, nprobe: usize, filter: Option<&Bitmap>) -> bool {
        let meta = self.file.meta();
        let probed = meta.rows * nprobe.min(meta.lists) / meta.lists.max(1);
        filter.is_some_and(|filter| filter.count_ones() <= probed.max(BLOCK_ROWS))
    }
}

/// What is done with the places of a list.
struct Scan<'a> {
    list_rows: &'a [u32],
    filter: Option<&'a Bitmap>,
    rows: usize,
    /// Places that pass the filter, and the rows there.
    places: Vec<u32>,
    passing: Vec<u32>,
    distances: Vec<f32>,
}

impl Scan<'_> {
    /// Finds the next places that pass.
    fn select(&mut self, places: Range<usize>) {
        self.places.clear();
        self.passing.clear();
        for place in places {
            let row = self.list_rows[place];
            let exists = (row as usize) < self.rows;
            if exists && self.filter.is_none_or(|filter| filter.get(row as usize)) {
                self.places.push(number(place));
                self.passing.push(row);
            }
        }
        self.distances.resize(self.passing.len(), 0.0);
    }

    /// Scores a list from the vectors.
    fn exact(&mut self, places: Range<usize>, scorer: &ExactScorer<'_>, top: &mut TopK) {
        for start in places.clone().step_by(BLOCK_ROWS) {
            self.select(start..(start + BLOCK_ROWS).min(places.end));
            scorer.gather(&self.passing, &mut self.distances);
            self.offer(top);
        }
    }

    /// Scores a list by its codes.
    fn coded(&mut self, places: Range<usize>, scorer: &mut CodeScorer<'_>, top: &mut TopK) {
        for start in places.clone().step_by(BLOCK_ROWS) {
            self.select(start..(start + BLOCK_ROWS).min(places.end));
            scorer.distances(&self.places, &mut self.distances);
            self.offer(top);
        }
    }

    fn offer(&self, top: &mut TopK) {
        let scored = self.passing.iter().zip(&self.distances);
        scored.for_each(|(row, distance)| top.push_distance(*row, *distance));
    }
}

impl VectorIndex for IvfIndex {
    fn search(
        &self,
        vectors: VectorsView<'_>,
        query: &[f32],
        params: &SearchParams,
        filter: Option<&Bitmap>,
        scratch: &mut Scratch,
    ) -> Result<Vec<Hit>, IndexError> {
        check_shape(self.file.meta(), vectors)?;
        check(vectors, None, &[query], filter)?;
        let metric = self.spec().metric;
        let norms = self.inverse_norms.as_ref().map(|norms| self.file.get(norms));
        let mut top = TopK::new(params.k, metric, params.range);
        if self.few_pass(params.nprobe, filter) {
            brute_force(vectors, norms, query, metric, filter, &mut top)?;
            return Ok(top.into_hits());
        }
        let mut exact = ExactScorer::new(vectors, metric, norms, query);
        let mut scan = Scan {
            list_rows: self.file.get(&self.rows),
            filter,
            rows: vectors.rows(),
            places: Vec::new(),
            passing: Vec::new(),
            distances: Vec::new(),
        };
        // Approximate distances cannot tell whether a row lies inside a range.
        let Some(codes) = self.codes.as_ref().filter(|_| params.range.is_none()) else {
            self.probe(query, params, |places| {
                scan.exact(places, &exact, &mut top);
                top.len()
            });
            return Ok(top.into_hits());
        };
        let Scratch { query_codes, products, .. } = scratch;
        let mut scorer = codes.aim(&self.file, query, query_codes, products);
        let mut nearest = TopK::new(rescored(params.k), Metric::L2, None);
        self.probe(query, params, |places| {
            scan.coded(places, &mut scorer, &mut nearest);
            nearest.len()
        });
        let rows: Vec<u32> = nearest.into_hits().iter().map(|hit| hit.row).collect();
        let mut distances = vec![0.0; rows.len()];
        exact.distances(&rows, &mut distances);
        rows.iter().zip(distances).for_each(|(row, distance)| top.push_distance(*row, distance));
        Ok(top.into_hits())
    }

    fn spec(&self) -> &VectorIndexSpec {
        &self.file.meta().spec
    }

    fn rows(&self) -> usize {
        self.file.meta().rows
    }

    fn dim(&self) -> usize {
        self.file.meta().dim
    }

    fn memory_bytes(&self) -> usize {
        self.file.len()
    }

    fn verify(&self) -> Result<(), IndexError> {
        self.file.verify()
    }
}

/// How many of the rows that codes put first are scored exactly to get the best `k`.
pub(crate) fn rescored(k: usize) -> usize {
    (2 * k).max(k + 32)
}
