//! The index that compares everything; it only keeps what makes comparing faster.

use redkite_types::{Bitmap, Metric};

use super::brute_force::brute_force;
use super::file::{File, Meta, Section, Slice, Values};
use super::{
    Artifact, BuildContext, Hit, IndexError, Scratch, SearchParams, TopK, VectorIndex, VectorIndexSpec,
    VectorsView,
};

/// Rows whose norms one task computes.
const PIECE: usize = 4096;

pub(crate) fn build(
    spec: VectorIndexSpec,
    vectors: VectorsView<'_>,
    context: &BuildContext<'_>,
) -> Result<Artifact, IndexError> {
    let meta = Meta {
        spec,
        rows: vectors.rows(),
        dim: vectors.dim(),
        codes: None,
        entry: None,
        top_level: 0,
        lists: 0,
    };
    let mut artifact = Artifact::new(meta);
    push_inverse_norms(&mut artifact, &build_inverse_norms(spec.metric, vectors, context));
    Ok(artifact)
}

/// The inverse norms for cosine, nothing for other metrics.
pub(crate) fn build_inverse_norms(
    metric: Metric,
    vectors: VectorsView<'_>,
    context: &BuildContext<'_>,
) -> Option<Vec<f32>> {
    (metric == Metric::Cosine).then(|| {
        let mut norms = vec![0.0; vectors.rows()];
        context.fill(&mut norms, PIECE, |piece, norms| {
            let rows = piece * PIECE..;
            norms.iter_mut().zip(rows).for_each(|(norm, row)| *norm = vectors.inverse_norm(row));
        });
        norms
    })
}

pub(crate) fn push_inverse_norms(artifact: &mut Artifact, norms: &Option<Vec<f32>>) {
    if let Some(norms) = norms {
        artifact.push(Section::InverseNorms, Values::F32(norms.clone()));
    }
}

/// The inverse norms a file must have if its metric is cosine.
pub(crate) fn open_inverse_norms(file: &File) -> Result<Option<Slice<f32>>, IndexError> {
    let meta = file.meta();
    (meta.spec.metric == Metric::Cosine).then(|| file.section(Section::InverseNorms, meta.rows)).transpose()
}

/// Whether the vectors have the shape of the index.
pub(crate) fn check_shape(meta: &Meta, vectors: VectorsView<'_>) -> Result<(), IndexError> {
    if vectors.rows() == meta.rows && vectors.dim() == meta.dim {
        return Ok(());
    }
    Err(IndexError::Shape {
        rows: meta.rows,
        dim: meta.dim,
        given_rows: vectors.rows(),
        given_dim: vectors.dim(),
    })
}

#[derive(Debug)]
pub(crate) struct FlatIndex {
    file: File,
    inverse_norms: Option<Slice<f32>>,
}

impl FlatIndex {
    pub(crate) fn open(file: File) -> Result<Self, IndexError> {
        Ok(Self { inverse_norms: open_inverse_norms(&file)?, file })
    }
}

impl VectorIndex for FlatIndex {
    fn search(
        &self,
        vectors: VectorsView<'_>,
        query: &[f32],
        params: &SearchParams,
        filter: Option<&Bitmap>,
        _scratch: &mut Scratch,
    ) -> Result<Vec<Hit>, IndexError> {
        check_shape(self.file.meta(), vectors)?;
        let norms = self.inverse_norms.as_ref().map(|norms| self.file.get(norms));
        let metric = self.spec().metric;
        let mut top = TopK::new(params.k, metric, params.range);
        brute_force(vectors, norms, query, metric, filter, &mut top)?;
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
