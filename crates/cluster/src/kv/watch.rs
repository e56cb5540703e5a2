//! What does a follower of the metastore receive?

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use redkite_types::Revision;

use super::{KeyValue, KvError};

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The key was written.
    Put(KeyValue),
    /// The key was deleted, by a transaction or with its lease.
    Delete {
        /// The key.
        key: String,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key } => key,
        }
    }
}

/// The changes of one revision under the watched prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchBatch {
    /// Everything up to here has been delivered with this batch.
    pub revision: Revision,
    /// The changes of `revision`, at most one per key; empty when the batch only reports progress.
    pub events: Vec<Event>,
}

/// A running watch; ends when dropped.
///
/// After an error it yields nothing more: start a new watch from the revision after the last batch.
pub struct Watch {
    batches: BoxStream<'static, Result<WatchBatch, KvError>>,
}

impl Watch {
    /// Wraps an implementation's stream.
    pub fn new(batches: impl Stream<Item = Result<WatchBatch, KvError>> + Send + 'static) -> Self {
        Self { batches: batches.boxed() }
    }

    /// The next batch; [`KvError::Closed`] when the watch has ended. Cancel-safe.
    pub async fn next(&mut self) -> Result<WatchBatch, KvError> {
        self.batches.next().await.unwrap_or(Err(KvError::Closed))
    }
}

impl Stream for Watch {
    type Item = Result<WatchBatch, KvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
