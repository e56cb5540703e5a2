//! How does one log use the object store? Its objects by slot, errors that pass tried again.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use redkite_runtime::Backoff;
use redkite_storage::{Error as StoreError, ObjectEntry, ObjectStore};
use redkite_types::{Lsn, ShardId};
use tokio::time::Instant;

use super::format::{HEADER_BYTES, Header, Slot, Start};
use crate::WalError;

/// First and longest wait between tries.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Objects deleted at the same time.
const DELETES: usize = 32;

/// The objects of one log.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) shard: ShardId,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) retry_for: Duration,
}

/// What is in a slot after a try to fill it.
#[derive(Debug)]
pub(super) enum Filled {
    /// What was to be there.
    Ours,
    /// Something else.
    Other(Header),
}

impl Bucket {
    /// Fills a slot unless it is filled already, and says by what.
    ///
    /// Whatever the store answers, the slot itself decides: an answer that was lost, or that tells of an
    /// earlier try of ours, is settled by reading back. `Err` means that it is not known, and that the
    /// object may still turn up.
    pub(super) async fn fill(&self, slot: Slot, bytes: &Bytes) -> Result<Filled, WalError> {
        let name = slot.name(self.shard);
        let mut retry = Retry::new(self.retry_for);
        loop {
            let Err(error) = self.store.create(&name, bytes.clone()).await else { return Ok(Filled::Ours) };
            metrics::counter!("redkite_wal_put_retries_total").increment(1);
            match self.read_back(slot, bytes).await {
                Ok(Some(filled)) => return Ok(filled),
                Err(failed @ (WalError::Corrupt { .. } | WalError::Format { .. })) => return Err(failed),
                // Nothing there, or not to be read now.
                Ok(None) | Err(_) => {}
            }
            tracing::debug!(object = name, %error, "create of a log object failed, trying again");
            if !retry.again().await {
                return Err(io("create", &name, error, true));
            }
        }
    }

    async fn read_back(&self, slot: Slot, bytes: &Bytes) -> Result<Option<Filled>, WalError> {
        let name = slot.name(self.shard);
        match self.store.get_range(&name, 0..HEADER_BYTES as u64).await {
            // The header's checksum covers who wrote it and where.
            Ok(found) if found[..] == bytes[..HEADER_BYTES] => Ok(Some(Filled::Ours)),
            Ok(found) => Header::decode(self.shard, slot, &found).map(|header| Some(Filled::Other(header))),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(StoreError::OutOfRange { size, .. }) => Err(too_short(&name, size)),
            Err(error) => Err(io("read", &name, error, false)),
        }
    }

    /// The header of the object in a slot, if there is one.
    pub(super) async fn header(&self, slot: Slot) -> Result<Option<Header>, WalError> {
        let name = slot.name(self.shard);
        let read = || self.store.get_range(&name, 0..HEADER_BYTES as u64);
        match patiently("read", &name, self.retry_for, read).await {
            Ok(bytes) => Header::decode(self.shard, slot, &bytes).map(Some),
            Err(Failure::Absent) => Ok(None),
            Err(Failure::TooShort { size }) => Err(too_short(&name, size)),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// The object in a slot, if there is one.
    pub(super) async fn object(&self, slot: Slot) -> Result<Option<Bytes>, WalError> {
        self.get(&slot.name(self.shard)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, WalError> {
        match patiently("read", name, self.retry_for, || self.store.get(name)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Failure::Absent) => Ok(None),
            Err(Failure::TooShort { size }) => Err(too_short(name, size)),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// The place recorded by the truncation that left `first` as first record.
    pub(super) async fn start(&self, first: Lsn) -> Result<Option<Start>, WalError> {
        let bytes = self.get(&Start::name(self.shard, first)).await?;
        bytes.map(|bytes| Start::decode(self.shard, first, &bytes)).transpose()
    }

    /// Records where the log begins. A record of the same position, whoever made it, is as good.
    pub(super) async fn record_start(&self, start: Start) -> Result<(), WalError> {
        let name = Start::name(self.shard, start.first);
        let bytes = start.encode(self.shard);
        let mut retry = Retry::new(self.retry_for);
        loop {
            let Err(error) = self.store.create(&name, bytes.clone()).await else { return Ok(()) };
            if self.start(start.first).await?.is_some() {
                return Ok(());
            }
            if !retry.again().await {
                return Err(io("create", &name, error, false));
            }
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>, WalError> {
        list(&*self.store, prefix, self.retry_for).await
    }

    /// Deletes objects; returns those that are still there, and why.
    pub(super) async fn delete(&self, names: Vec<String>) -> (Vec<String>, Option<WalError>) {
        let deletions = names.into_iter().map(|name| async move {
            let delete = || self.store.delete(&name);
            let failure = patiently("delete", &name, self.retry_for, delete).await.err()?;
            let error = failure.of("delete", &name);
            Some((name, error))
        });
        let ends: Vec<_> = stream::iter(deletions).buffer_unordered(DELETES).collect().await;
        let (left, mut errors): (Vec<_>, Vec<_>) = ends.into_iter().flatten().unzip();
        (left, errors.pop())
    }
}

/// The objects under a prefix, of whatever log.
pub(super) async fn list(
    store: &dyn ObjectStore,
    prefix: &str,
    retry_for: Duration,
) -> Result<Vec<ObjectEntry>, WalError> {
    let listed = patiently("list", prefix, retry_for, || store.list(prefix)).await;
    listed.map_err(|failure| failure.of("list", prefix))
}

/// The folders directly under a prefix.
pub(super) async fn folders(
    store: &dyn ObjectStore,
    prefix: &str,
    retry_for: Duration,
) -> Result<Vec<String>, WalError> {
    let listed = patiently("list", prefix, retry_for, || store.folders(prefix)).await;
    listed.map_err(|failure| failure.of("list", prefix))
}

/// Tries again what may succeed later.
async fn patiently<T, F: Future<Output = redkite_storage::Result<T>>>(
    action: &'static str,
    path: &str,
    retry_for: Duration,
    attempt: impl Fn() -> F,
) -> Result<T, Failure> {
    let mut retry = Retry::new(retry_for);
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(StoreError::NotFound { .. }) => return Err(Failure::Absent),
            Err(StoreError::OutOfRange { size, .. }) => return Err(Failure::TooShort { size }),
            Err(error) => error,
        };
        if !error.retryable() || !retry.again().await {
            return Err(Failure::Other(io(action, path, error, false)));
        }
    }
}

enum Failure {
    Absent,
    TooShort { size: u64 },
    Other(WalError),
}

impl Failure {
    /// The failure of a call that needs no object.
    fn of(self, action: &'static str, name: &str) -> WalError {
        match self {
            Self::Other(error) => error,
            Self::Absent | Self::TooShort { .. } => {
                WalError::io(action, Path::new(name), io::ErrorKind::NotFound.into())
            }
        }
    }
}

struct Retry {
    until: Instant,
    backoff: Backoff,
}

impl Retry {
    fn new(retry_for: Duration) -> Self {
        Self { until: Instant::now() + retry_for, backoff: Backoff::new(PATIENCE.0, PATIENCE.1) }
    }

    /// Waits a little; `false` if it is time to give up.
    async fn again(&mut self) -> bool {
        self.backoff.wait().await;
        Instant::now() < self.until
    }
}

fn too_short(name: &str, size: u64) -> WalError {
    WalError::corrupt(Path::new(name), size, "the header is cut short")
}

fn io(action: &'static str, name: &str, error: StoreError, maybe_applied: bool) -> WalError {
    let source = match error {
        StoreError::Io { source, .. } => source,
        other => io::Error::other(other),
    };
    WalError::Io { action, path: name.into(), source: Arc::new(source), maybe_applied }
}
