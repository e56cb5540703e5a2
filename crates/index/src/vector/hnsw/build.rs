//! Building the graph, all threads inserting rows at once.
//!
//! Levels are drawn before anything is inserted, so that all arrays have their final size, and rows go in by
//! falling level, at random within a level: the entry point is there first and upper levels are complete
//! when most rows arrive. Rows are compared by codes where codes tell them apart, see [`choose_codes`].

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::coding::choose_codes;
use super::links::{GrowingGraph, Layout, MOST_LEVELS, NONE};
use super::prune::{Chooser, RowScorer};
use super::rows::{CodeRowScorer, CodeRows, ExactRowScorer};
use super::walk::{Front, descend, walk};
use crate::vector::brute_force::number;
use crate::vector::codes::Codes;
use crate::vector::file::{Meta, Section, Values};
use crate::vector::flat::{build_inverse_norms, push_inverse_norms};
use crate::vector::{Artifact, BuildContext, IndexError, Scratch, VectorIndexSpec, VectorsView};

/// Rows a thread inserts between two looks at the cancel flag.
const ROWS_PER_TURN: usize = 64;

pub(crate) fn build(
    spec: VectorIndexSpec,
    m: usize,
    ef_construction: usize,
    vectors: VectorsView<'_>,
    context: &BuildContext<'_>,
) -> Result<Artifact, IndexError> {
    let norms = build_inverse_norms(spec.metric, vectors, context);
    let plan = Plan::draw(vectors.rows(), m, ef_construction, context.seed);
    let coded = choose_codes(vectors, spec.metric, norms.as_deref(), context)?;
    let meta = Meta {
        spec,
        rows: vectors.rows(),
        dim: vectors.dim(),
        codes: coded.as_ref().map(|(quantizer, _)| quantizer.into()),
        entry: plan.order.first().copied(),
        top_level: plan.top_level,
        lists: 0,
    };
    let Some((quantizer, codes)) = coded else {
        let scorer = || ExactRowScorer::new(vectors, spec.metric, norms.as_deref());
        return Ok(artifact(meta, plan.insert_all(scorer, context)?, &norms));
    };
    let rows = CodeRows::new(&quantizer, vectors, codes, context);
    let graph = plan.insert_all(|| CodeRowScorer::new(&rows), context)?;
    let mut artifact = artifact(meta, graph, &norms);
    Codes::push(&mut artifact, &quantizer, rows.codes, rows.terms, spec.metric);
    Ok(artifact)
}

fn artifact(meta: Meta, graph: GrowingGraph, norms: &Option<Vec<f32>>) -> Artifact {
    let mut artifact = Artifact::new(meta);
    let (base, upper_starts, upper) = graph.into_parts();
    artifact.push(Section::Links, Values::U32(base));
    artifact.push(Section::UpperStarts, Values::U32(upper_starts));
    artifact.push(Section::UpperLinks, Values::U32(upper));
    push_inverse_norms(&mut artifact, norms);
    artifact
}

/// Everything drawn by lot, and the order of insertion.
#[derive(Debug)]
struct Plan {
    ef_construction: usize,
    layout: Layout,
    levels: Vec<u8>,
    top_level: usize,
    /// Rows by falling level.
    order: Vec<u32>,
}

impl Plan {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small positive numbers"
    )]
    fn draw(rows: usize, m: usize, ef_construction: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // The paper's m_L = 1 / ln M.
        let scale = 1.0 / (m as f64).ln();
        let levels: Vec<u8> = (0..rows)
            .map(|_| {
                let drawn = -(1.0 - rng.random::<f64>()).ln() * scale;
                drawn.min(MOST_LEVELS as f64) as u8
            })
            .collect();
        let mut upper_lists = 0;
        let upper_starts = levels
            .iter()
            .map(|level| {
                let start = if *level == 0 { NONE } else { number(upper_lists) };
                upper_lists += usize::from(*level);
                start
            })
            .collect();
        let mut order: Vec<u32> = (0..number(rows)).collect();
        order.shuffle(&mut rng);
        order.sort_by_key(|row| std::cmp::Reverse(levels[*row as usize]));
        let top_level = order.first().map_or(0, |row| usize::from(levels[*row as usize]));
        Self { ef_construction, layout: Layout { m, upper_starts, upper_lists }, levels, top_level, order }
    }

    /// A graph of all rows.
    fn insert_all<S: RowScorer>(
        &self,
        scorer: impl Fn() -> S + Sync,
        context: &BuildContext<'_>,
    ) -> Result<GrowingGraph, IndexError> {
        let graph = GrowingGraph::new(self.layout.clone(), self.order.len());
        // The first row has nobody to be linked with.
        let next = AtomicUsize::new(1);
        context.on_every_worker(|| {
            let mut inserter = Inserter {
                plan: self,
                graph: &graph,
                searcher: scorer(),
                pruner: scorer(),
                scratch: Scratch::default(),
                chooser: Chooser::default(),
                candidates: Vec::new(),
            };
            loop {
                let start = next.fetch_add(ROWS_PER_TURN, Ordering::Relaxed);
                let Some(rest) = self.order.get(start..).filter(|rest| !rest.is_empty()) else { return };
                if context.cancelled() {
                    return;
                }
                let rows = &rest[..rest.len().min(ROWS_PER_TURN)];
                rows.iter().for_each(|row| inserter.insert(*row));
                context.progress.fetch_add(rows.len() as u64, Ordering::Relaxed);
            }
        });
        context.check()?;
        Ok(graph)
    }
}

/// One thread that inserts rows.
struct Inserter<'a, S> {
    plan: &'a Plan,
    graph: &'a GrowingGraph,
    /// Aims at the row being inserted.
    searcher: S,
    /// Aims at its neighbours.
    pruner: S,
    scratch: Scratch,
    chooser: Chooser,
    candidates: Vec<(f32, u32)>,
}

impl<S: RowScorer> Inserter<'_, S> {
    fn insert(&mut self, row: u32) {
        let Plan { levels, top_level, order, .. } = self.plan;
        let level = usize::from(levels[row as usize]);
        self.searcher.aim(row);
        let mut nearest = {
            let mut front = front(&mut self.scratch);
            let levels = (level + 1..=*top_level).rev();
            descend(self.graph, &mut self.searcher, order[0], levels, &mut front, order.len())
        };
        for level in (0..=level).rev() {
            self.collect(row, level, nearest);
            nearest = self.candidates.first().copied().unwrap_or(nearest);
            self.link(row, level);
        }
    }

    /// The nearest rows on a level, into `candidates`.
    fn collect(&mut self, row: u32, level: usize, nearest: (f32, u32)) {
        let mut front = front(&mut self.scratch);
        front.restart(nearest, self.plan.ef_construction, self.plan.order.len());
        front.visited.see(row);
        walk(self.graph, &mut self.searcher, level, &mut front);
        self.candidates.clear();
        self.candidates.extend(self.scratch.beam.rows());
    }

    /// Links a row with the best candidates, both ways.
    fn link(&mut self, row: u32, level: usize) {
        let m = self.plan.layout.m;
        self.chooser.choose(&self.candidates, m, &mut self.pruner);
        let chosen = std::mem::take(&mut self.chooser.chosen);
        self.graph.set(row, level, &chosen);
        let most = if level == 0 { 2 * m } else { m };
        for neighbour in &chosen {
            self.graph.connect(*neighbour, level, row, |candidates| {
                self.chooser.choose_around(*neighbour, candidates, most, &mut self.pruner);
                candidates.clone_from(&self.chooser.chosen);
            });
        }
        self.chooser.chosen = chosen;
    }
}

fn front(scratch: &mut Scratch) -> Front<'_> {
    Front {
        visited: &mut scratch.visited,
        beam: &mut scratch.beam,
        batch: &mut scratch.batch,
        distances: &mut scratch.distances,
    }
}
