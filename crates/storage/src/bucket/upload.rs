//! Large objects go up in parts, some at a time; nothing is visible before the last step.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use redkite_runtime::blocking;

use super::remote::{PIECE, PIECES_AT_ONCE, Remote};
use super::transport::{Failure, Verdict};
use crate::{Error, ObjectWriter, Result};

/// S3 takes so many parts of an object.
const MOST_PARTS: u64 = 10_000;

impl Remote {
    /// Uploads what a writer has written; the object's entity tag, if the service gave one.
    pub(super) async fn upload(&self, writer: &ObjectWriter) -> Result<Option<String>> {
        let source = Source::open(writer).await?;
        if source.size <= PIECE {
            let bytes = source.read(0, source.size).await?;
            return self.put(writer.object(), bytes).await;
        }
        self.upload_parts(writer.object(), &source).await
    }

    async fn upload_parts(&self, path: &str, source: &Source) -> Result<Option<String>> {
        let key = self.key(path)?;
        let id = self.retry(|| self.store.create_multipart(&key)).await;
        let id = id.map_err(self.error("begin upload of", path))?;
        let finished = async {
            let parts = self.put_parts(path, &key, &id, source).await?;
            self.complete(path, &key, &id, parts, source.size).await
        };
        let finished = finished.await;
        if finished.is_err()
            && let Err(error) = self.store.abort_multipart(&key, &id).await
        {
            // What is left is invisible; the bucket's own rule for abandoned uploads removes it.
            tracing::warn!(bucket = self.name(), path, %error, "parts of a failed upload stay in the bucket");
        }
        finished
    }

    async fn put_parts(&self, path: &str, key: &Key, id: &String, source: &Source) -> Result<Vec<PartId>> {
        let part = PIECE.max(source.size.div_ceil(MOST_PARTS));
        let count = usize::try_from(source.size.div_ceil(part)).expect("at most ten thousand");
        let uploads = (0..count).map(|index| async move {
            let _turn = self.turn().await;
            let start = index as u64 * part;
            let bytes = source.read(start, part.min(source.size - start)).await?;
            let put = || self.store.put_part(key, id, index, PutPayload::from(bytes.clone()));
            self.retry(put).await.map_err(self.error("upload part of", path))
        });
        stream::iter(uploads).buffered(PIECES_AT_ONCE).try_collect().await
    }

    async fn complete(
        &self,
        path: &str,
        key: &Key,
        id: &String,
        parts: Vec<PartId>,
        size: u64,
    ) -> Result<Option<String>> {
        let failure: Failure =
            match self.retry(|| self.store.complete_multipart(key, id, parts.clone())).await {
                Ok(result) => return Ok(result.e_tag),
                Err(failure) => failure,
            };
        // The upload is gone: an earlier try, whose answer was lost, has completed it.
        if failure.verdict == Verdict::Absent
            && let Ok(version) = self.head(path).await
            && version.size == size
        {
            return Ok(Some(version.etag));
        }
        Err(Error::Bucket {
            operation: "complete upload of",
            bucket: self.name().to_owned(),
            path: key.to_string(),
            retryable: failure.verdict.retryable() || failure.verdict == Verdict::Absent,
            source: failure.into(),
        })
    }
}

/// The file of a writer, read in pieces.
struct Source {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
}

impl Source {
    async fn open(writer: &ObjectWriter) -> Result<Self> {
        let (path, size) = (writer.temporary().to_owned(), writer.written());
        blocking(move || {
            let file = Arc::new(File::open(&path).map_err(Error::io("open", path.display()))?);
            Ok(Self { file, path, size })
        })
        .await
    }

    async fn read(&self, start: u64, length: u64) -> Result<Bytes> {
        let (file, path) = (self.file.clone(), self.path.clone());
        let length = usize::try_from(length).expect("a part fits into memory");
        blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, start).map_err(Error::io("read", path.display()))?;
            Ok(bytes.into())
        })
        .await
    }
}
