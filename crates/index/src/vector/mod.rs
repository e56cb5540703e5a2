//! Which rows of a segment are nearest to a query vector?
//!
//! [`brute_force()`] compares all rows; an index built by [`build()`] and opened by [`open`] compares few.
//! Vectors stay where they are (a memory-mapped column, a growing chunk) and come in as a [`VectorsView`];
//! an index file holds what it adds to them: a graph, lists, 8-bit codes, inverse norms. Inside, everything is
//! ordered by *distance* (smaller is nearer; inner product and cosine negated); only [`Hit`]s carry Milvus's
//! raw scores.

mod brute_force;
mod build;
mod codes;
mod error;
mod file;
mod flat;
mod hit;
mod hnsw;
mod ivf;
mod kmeans;
mod order;
mod quantizer;
mod range;
mod scorer;
mod scratch;
mod spec;
#[cfg(test)]
mod tests;
mod top_k;
mod view;

use std::fmt;

use redkite_types::Bitmap;

pub use brute_force::{brute_force, brute_force_many};
pub use build::{BuildContext, build};
pub use error::IndexError;
pub use file::{Artifact, FORMAT_VERSION, IndexBytes};
pub use hit::Hit;
pub use range::Range;
pub use redkite_types::Metric;
pub use scratch::{Scratch, ScratchPool};
pub use spec::{AUTOINDEX, SearchParams, VectorIndexKind, VectorIndexSpec};
pub use top_k::TopK;
pub use view::{Elements, VectorsView, inverse_norms};

/// An opened index over the vectors of one segment.
///
/// Laws every implementation keeps:
/// - hits come best first, at most `k`, no row twice, scores are exact (computed from the vectors);
/// - with a filter, only rows whose bit is set; with a range, only scores inside it;
/// - if at least `k` rows qualify, `k` hits come back, whatever the filter and the range;
/// - a damaged file gives an error or wrong hits, never a panic or undefined behaviour.
pub trait VectorIndex: Send + Sync + fmt::Debug {
    /// The best `params.k` rows. `vectors` MUST be what the index was built over.
    ///
    /// # Errors
    /// If the shapes of vectors, query or filter do not fit the index.
    fn search(
        &self,
        vectors: VectorsView<'_>,
        query: &[f32],
        params: &SearchParams,
        filter: Option<&Bitmap>,
        scratch: &mut Scratch,
    ) -> Result<Vec<Hit>, IndexError>;

    /// What was asked for when the index was built.
    fn spec(&self) -> &VectorIndexSpec;

    /// Rows indexed.
    fn rows(&self) -> usize;

    /// Dimension of the vectors.
    fn dim(&self) -> usize;

    /// Bytes of the opened file plus what was allocated beside it.
    fn memory_bytes(&self) -> usize;

    /// Reads the whole file and compares its checksums.
    ///
    /// # Errors
    /// If a section does not have the checksum that was written.
    fn verify(&self) -> Result<(), IndexError>;
}

/// Opens an index in place; takes time independent of the number of rows.
///
/// # Errors
/// If the bytes are no index of this format, or are damaged in a way visible without reading all of them.
pub fn open(bytes: IndexBytes) -> Result<Box<dyn VectorIndex>, IndexError> {
    let file = file::File::open(bytes)?;
    Ok(match file.meta().spec.kind {
        VectorIndexKind::Flat => Box::new(flat::FlatIndex::open(file)?),
        VectorIndexKind::IvfFlat { .. } | VectorIndexKind::IvfSq8 { .. } => {
            Box::new(ivf::IvfIndex::open(file)?)
        }
        VectorIndexKind::Hnsw { .. } => Box::new(hnsw::HnswIndex::open(file)?),
    })
}
