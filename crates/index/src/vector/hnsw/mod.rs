//! Hierarchical navigable small world graphs (Malkov & Yashunin 2018, arXiv:1603.09320).

mod beam;
mod build;
mod coding;
mod links;
mod prune;
mod rows;
mod search;
mod walk;

use redkite_types::Bitmap;

pub(crate) use beam::Beam;
pub(crate) use build::build;

use super::brute_force::check;
use super::codes::Codes;
use super::file::{File, Section, Slice};
use super::flat::{check_shape, open_inverse_norms};
use super::scorer::ExactScorer;
use super::{
    Hit, IndexError, Scratch, SearchParams, VectorIndex, VectorIndexKind, VectorIndexSpec, VectorsView,
};
use links::StoredGraph;
use search::Search;
use walk::Front;

/// An opened graph.
#[derive(Debug)]
pub(crate) struct HnswIndex {
    file: File,
    m: usize,
    base: Slice<u32>,
    upper_starts: Slice<u32>,
    upper: Slice<u32>,
    inverse_norms: Option<Slice<f32>>,
    codes: Option<Codes>,
}

impl HnswIndex {
    pub(crate) fn open(file: File) -> Result<Self, IndexError> {
        let meta = file.meta();
        let VectorIndexKind::Hnsw { m, .. } = meta.spec.kind else {
            return Err(IndexError::Damaged { what: "no graph", offset: 0 });
        };
        let entry_exists = meta.entry.is_none_or(|entry| (entry as usize) < meta.rows);
        if !entry_exists || meta.entry.is_none() != (meta.rows == 0) || meta.top_level > links::MOST_LEVELS {
            return Err(IndexError::Damaged { what: "entry point", offset: 0 });
        }
        let places = meta.rows.saturating_mul(2 * m);
        Ok(Self {
            m,
            base: file.section(Section::Links, places)?,
            upper_starts: file.section(Section::UpperStarts, meta.rows)?,
            upper: file.section_of_any_length(Section::UpperLinks)?,
            inverse_norms: open_inverse_norms(&file)?,
            codes: Codes::open(&file)?,
            file,
        })
    }

    fn graph(&self) -> StoredGraph<'_> {
        StoredGraph {
            m: self.m,
            base: self.file.get(&self.base),
            upper_starts: self.file.get(&self.upper_starts),
            upper: self.file.get(&self.upper),
        }
    }
}

impl VectorIndex for HnswIndex {
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
        let meta = self.file.meta();
        let Some(entry) = meta.entry else { return Ok(Vec::new()) };
        let passing = filter.map(|filter| (filter, filter.count_ones()));
        let search = Search {
            graph: self.graph(),
            entry,
            top_level: meta.top_level,
            vectors,
            inverse_norms: self.inverse_norms.as_ref().map(|norms| self.file.get(norms)),
            metric: meta.spec.metric,
            query,
            params,
            filter: passing.filter(|(_, passing)| *passing < meta.rows),
        };
        let Scratch { visited, beam, batch, distances, products, query_codes, bridges } = scratch;
        let mut front = Front { visited, beam, batch, distances };
        match &self.codes {
            Some(codes) => {
                let mut scorer = codes.aim(&self.file, query, query_codes, products);
                search.run(&mut scorer, true, &mut front, bridges)
            }
            None => {
                let mut scorer = ExactScorer::new(vectors, search.metric, search.inverse_norms, query);
                search.run(&mut scorer, false, &mut front, bridges)
            }
        }
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
