//! One index of one segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use redkite_catalog::{IndexMethod, IndexSpec, SegmentIndexFile};
use redkite_index::scalar::{self, ScalarIndexKind};
use redkite_index::vector::{self, BuildContext, VectorIndexKind, VectorIndexSpec};
use redkite_runtime::failpoint::reach;
use redkite_segment::SealedSegment;
use redkite_storage::ObjectWriter;
use redkite_types::{CollectionId, FieldId, IndexId, Metric, SegmentId};

use crate::Environment;
use crate::error::{Error, Result};
use crate::failpoint::BEFORE_INDEX;

/// Nothing depends on the seed but which of equally good graphs is built.
const SEED: u64 = 0x5eed;

/// What to build.
pub(crate) struct Job {
    pub(crate) collection: CollectionId,
    pub(crate) segment: SegmentId,
    pub(crate) index: IndexId,
    pub(crate) spec: IndexSpec,
    pub(crate) path: String,
}

/// Builds the index and makes its file durable. A segment from before the field existed has nothing
/// to index: its file is empty and has no path.
pub(crate) async fn run(
    environment: &Environment,
    job: Job,
    cancel: Arc<AtomicBool>,
) -> Result<SegmentIndexFile> {
    let record = environment.segment(job.collection, job.segment)?;
    let segment = environment.open(&record).await?;
    let field = environment
        .view
        .read(|metadata| {
            let indexes = metadata.indexes.get(&job.collection)?;
            indexes.indexes.iter().find(|index| index.id == job.index).map(|index| index.field)
        })
        .ok_or(Error::Cancelled)?;
    let writer = environment.store.writer(&job.path).await?;
    let pool = environment.cpu.clone();
    let built =
        environment.cpu.run(move || build(&segment, field, &job.spec, writer, &pool, &cancel)).await??;
    reach(BEFORE_INDEX)?;
    match built {
        Some(writer) => {
            let path = writer.object().to_owned();
            let bytes = environment.store.publish(writer).await?;
            Ok(SegmentIndexFile { path, bytes })
        }
        None => Ok(SegmentIndexFile { path: String::new(), bytes: 0 }),
    }
}

fn build(
    segment: &SealedSegment,
    field: FieldId,
    spec: &IndexSpec,
    mut writer: ObjectWriter,
    pool: &redkite_runtime::CpuPool,
    cancel: &AtomicBool,
) -> Result<Option<ObjectWriter>> {
    segment.file().verify().map_err(redkite_segment::Error::from)?;
    let Some(column) = segment.column(field)? else { return Ok(None) };
    let wrong = || Error::WrongField { segment: segment.id(), field };
    if let Some(kind) = scalar_kind(spec.method) {
        writer.append(&scalar::build(kind, column)?)?;
    } else {
        let vectors = segment.vectors(field)?.ok_or_else(wrong)?;
        let spec = vector_spec(spec.method, spec.metric.ok_or_else(wrong)?).ok_or_else(wrong)?;
        let progress = AtomicU64::new(0);
        let context = BuildContext { pool: Some(pool.rayon()), progress: &progress, cancel, seed: SEED };
        let artifact = vector::build(spec, vectors, &context)?;
        // An error of the writer names the object by itself.
        artifact.write_to(&mut writer).map_err(|source| redkite_storage::Error::Io {
            operation: "write",
            path: writer.object().to_owned(),
            source,
        })?;
    }
    Ok(Some(writer))
}

fn scalar_kind(method: IndexMethod) -> Option<ScalarIndexKind> {
    match method {
        IndexMethod::Inverted => Some(ScalarIndexKind::Inverted),
        IndexMethod::StlSort => Some(ScalarIndexKind::StlSort),
        IndexMethod::Trie => Some(ScalarIndexKind::Trie),
        IndexMethod::Bitmap => Some(ScalarIndexKind::Bitmap),
        IndexMethod::Flat
        | IndexMethod::IvfFlat { .. }
        | IndexMethod::IvfSq8 { .. }
        | IndexMethod::Hnsw { .. } => None,
    }
}

fn vector_spec(method: IndexMethod, metric: Metric) -> Option<VectorIndexSpec> {
    let kind = match method {
        IndexMethod::Flat => VectorIndexKind::Flat,
        IndexMethod::IvfFlat { nlist } => VectorIndexKind::IvfFlat { nlist: nlist as usize },
        IndexMethod::IvfSq8 { nlist } => VectorIndexKind::IvfSq8 { nlist: nlist as usize },
        IndexMethod::Hnsw { m, ef_construction } => {
            VectorIndexKind::Hnsw { m: m as usize, ef_construction: ef_construction as usize }
        }
        IndexMethod::Inverted | IndexMethod::StlSort | IndexMethod::Trie | IndexMethod::Bitmap => {
            return None;
        }
    };
    Some(VectorIndexSpec { kind, metric })
}
