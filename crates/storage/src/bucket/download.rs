//! From the bucket to a file: whole, of one version, or not at all.

use futures::StreamExt;
use redkite_runtime::blocking;

use super::failpoint::{self, BEFORE_COPY_WRITE};
use super::remote::{Remote, Version};
use super::transport::Verdict;
use crate::{Error, ObjectWriter, Result};

/// How a download ended that did not fail.
pub(super) enum Download {
    /// The writer holds the object.
    Complete(ObjectWriter),
    /// The object was replaced meanwhile: look again which version there is.
    Replaced,
}

impl Remote {
    /// Writes a version of an object into a file.
    pub(super) async fn download(&self, mut writer: ObjectWriter, version: &Version) -> Result<Download> {
        let path = writer.object().to_owned();
        let key = self.key(&path)?;
        let mut pieces = self.pieces(&key, 0..version.size, Some(version.etag.clone()));
        while let Some(piece) = pieces.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(failure) if matches!(failure.verdict, Verdict::Precondition | Verdict::OutOfRange) => {
                    return Ok(Download::Replaced);
                }
                Err(failure) => return Err(self.error("get", &path)(failure)),
            };
            writer = blocking(move || -> Result<_> {
                failpoint::reach(BEFORE_COPY_WRITE, writer.object())?;
                writer.append(&piece)?;
                Ok(writer)
            })
            .await?;
        }
        if writer.written() == version.size {
            return Ok(Download::Complete(writer));
        }
        let problem = format!("{} bytes came instead of {}", writer.written(), version.size);
        Err(Error::Corrupt { path, offset: writer.written(), problem })
    }
}
