//! Building an index of any kind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;

use super::{Artifact, IndexError, VectorIndexKind, VectorIndexSpec, VectorsView, flat, hnsw, ivf};

/// What a build runs on, and how it is watched and stopped.
#[derive(Clone, Copy, Debug)]
pub struct BuildContext<'a> {
    /// Threads to build with; `None` builds on the calling thread, and then equal inputs and seeds make
    /// equal files.
    pub pool: Option<&'a rayon::ThreadPool>,
    /// Rows done so far, ends at the number of rows.
    pub progress: &'a AtomicU64,
    /// Set it to stop the build soon.
    pub cancel: &'a AtomicBool,
    /// Seed of everything that is drawn by lot.
    pub seed: u64,
}

/// Builds an index over all rows of `vectors`. Memory needed beside the vectors is about that of the result.
///
/// # Errors
/// If a parameter is out of its range, there are too many rows, or the build is cancelled.
pub fn build(
    spec: VectorIndexSpec,
    vectors: VectorsView<'_>,
    context: &BuildContext<'_>,
) -> Result<Artifact, IndexError> {
    spec.validate()?;
    // The graph keeps a flag beside each row number in 32 bits.
    let most = (i32::MAX - 1) as usize;
    if vectors.rows() > most {
        return Err(IndexError::TooManyRows { rows: vectors.rows(), most });
    }
    let artifact = context.install(|| match spec.kind {
        VectorIndexKind::Flat => flat::build(spec, vectors, context),
        VectorIndexKind::IvfFlat { nlist } => ivf::build(spec, nlist, false, vectors, context),
        VectorIndexKind::IvfSq8 { nlist } => ivf::build(spec, nlist, true, vectors, context),
        VectorIndexKind::Hnsw { m, ef_construction } => {
            hnsw::build(spec, m, ef_construction, vectors, context)
        }
    })?;
    context.check()?;
    context.progress.store(vectors.rows() as u64, Ordering::Relaxed);
    Ok(artifact)
}

impl BuildContext<'_> {
    fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Whether somebody wants the build to stop.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        if self.cancelled() { Err(IndexError::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Threads that work at once.
    pub(crate) fn workers(&self) -> usize {
        self.pool.map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Fills `out` in pieces of `piece` elements; `fill` gets the number of the piece.
    pub(crate) fn fill<T: Send>(&self, out: &mut [T], piece: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
        let fill = |(number, piece): (usize, &mut [T])| {
            if !self.cancelled() {
                fill(number, piece);
            }
        };
        match self.pool {
            Some(_) => out.par_chunks_mut(piece).enumerate().for_each(fill),
            None => out.chunks_mut(piece).enumerate().for_each(fill),
        }
    }

    /// Runs `work` once per thread at the same time.
    pub(crate) fn on_every_worker(&self, work: impl Fn() + Sync) {
        if self.pool.is_none() {
            return work();
        }
        rayon::scope(|scope| (0..self.workers()).for_each(|_| scope.spawn(|_| work())));
    }
}
