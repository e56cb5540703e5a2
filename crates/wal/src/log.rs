//! What does a shard's log promise? The traits [`Log`] and [`LogProvider`] and their laws.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use redkite_types::{Epoch, Lsn, ShardId};
use tokio::sync::oneshot;

use crate::WalError;

/// Most bytes of one record.
pub const MAX_RECORD_BYTES: usize = 1 << 30;

/// What to append: one record, whose bytes may lie in several places. They are not copied together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// The record is these parts, one after the other.
    pub parts: Vec<Bytes>,
}

impl Record {
    /// A record of several parts.
    #[must_use]
    pub fn new(parts: Vec<Bytes>) -> Self {
        Self { parts }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether it has no bytes; such a record cannot be appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }
}

impl<T: Into<Bytes>> From<T> for Record {
    fn from(bytes: T) -> Self {
        Self { parts: vec![bytes.into()] }
    }
}

/// A record as it is read back, in one piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its position.
    pub lsn: Lsn,
    /// Its bytes.
    pub payload: Bytes,
}

/// An append under way: positions are taken, durability is awaited.
#[derive(Debug)]
#[must_use = "an append that is not awaited may have failed"]
pub struct Append {
    /// Position of the first of its records.
    pub first: Lsn,
    /// Position of the last of its records.
    pub last: Lsn,
    shard: ShardId,
    durable: oneshot::Receiver<Result<(), WalError>>,
}

impl Append {
    /// An append whose end the sender reports.
    pub fn new(
        shard: ShardId,
        first: Lsn,
        last: Lsn,
        durable: oneshot::Receiver<Result<(), WalError>>,
    ) -> Self {
        Self { first, last, shard, durable }
    }
}

/// Resolves with the last position once all records are durable.
impl Future for Append {
    type Output = Result<Lsn, WalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = WalError::Closed { shard: self.shard };
        Pin::new(&mut self.durable).poll(cx).map(|end| end.unwrap_or(Err(closed)).map(|()| self.last))
    }
}

/// The records from some position on, in order.
pub struct Reader {
    entries: BoxStream<'static, Result<Entry, WalError>>,
}

impl Reader {
    /// Wraps an implementation's stream.
    pub fn new(entries: impl Stream<Item = Result<Entry, WalError>> + Send + 'static) -> Self {
        Self { entries: entries.boxed() }
    }

    /// The next record; `None` after the last that was durable when the reader was made.
    pub async fn next(&mut self) -> Result<Option<Entry>, WalError> {
        self.entries.next().await.transpose()
    }

    /// All that is left.
    pub async fn collect(mut self) -> Result<Vec<Entry>, WalError> {
        let mut entries = Vec::new();
        while let Some(entry) = self.next().await? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl Stream for Reader {
    type Item = Result<Entry, WalError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.entries.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// An open log of one shard.
///
/// Laws, checked by the contract suite:
///
/// - **Dense.** Positions count up from 1 without gaps, in the order of the calls of [`Log::append`]
///   (the call, not the await), also across reopening and truncation.
/// - **Durable.** Once an append resolved with `Ok`, its records MUST be read back, byte for byte,
///   after any crash, until truncated.
/// - **Prefix.** If a record is read back, every earlier one not truncated MUST be too.
/// - **Failing.** An append that fails with [`WalError::maybe_applied`] false MUST NOT be read back; all
///   appends called before it resolves and not yet durable fail with it, and their positions are taken
///   anew. One with `maybe_applied` true may turn up after reopening; the log then MUST refuse every
///   later append with [`WalError::Poisoned`]. Reading stays possible.
/// - **Fenced.** After [`LogProvider::open`] returned with an epoch, no append through a handle opened
///   earlier MUST succeed.
/// - **Loud.** Damage to acknowledged records MUST be reported as [`WalError::Corrupt`], at opening or
///   when they are read; it MUST NOT be taken for the end of the log.
#[async_trait]
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// The shard.
    fn shard(&self) -> ShardId;

    /// The epoch it was opened with.
    fn epoch(&self) -> Epoch;

    /// Takes the next positions for the records and begins to write them. Concurrent appends share syncs.
    /// Dropping the returned future does not take the append back.
    ///
    /// # Errors
    /// If nothing was taken: [`WalError::Empty`], [`WalError::TooLarge`], [`WalError::Poisoned`],
    /// [`WalError::Fenced`], [`WalError::Closed`].
    fn append(&self, records: Vec<Record>) -> Result<Append, WalError>;

    /// Reads the records from `from` to the last that is durable now.
    ///
    /// The reader fails with [`WalError::Truncated`] if `from` is, and with [`WalError::Corrupt`].
    fn read(&self, from: Lsn) -> Reader;

    /// Position of the first record kept (the next one to write if none is).
    fn first_lsn(&self) -> Lsn;

    /// Position of the last durable record; 0 if there never was one.
    fn last_lsn(&self) -> Lsn;

    /// How many pieces a reader that begins after `lsn` has to fetch one by one: what a recovery costs apart
    /// from its bytes. 0 where reading is one run over files.
    fn pieces_after(&self, lsn: Lsn) -> usize {
        let _ = lsn;
        0
    }

    /// Allows records up to and including `through` to be forgotten. Implementations may keep some of them.
    async fn truncate(&self, through: Lsn) -> Result<(), WalError>;

    /// Waits for appends under way and takes no more.
    async fn close(&self) -> Result<(), WalError>;
}

/// Where the logs of all shards are.
#[async_trait]
pub trait LogProvider: fmt::Debug + Send + Sync + 'static {
    /// Opens a shard's log for the leader of `epoch`, creating it if needed, and fences every earlier handle.
    ///
    /// # Errors
    /// [`WalError::Fenced`] if the log was opened with a higher epoch; [`WalError::Corrupt`],
    /// [`WalError::Format`], [`WalError::Io`].
    async fn open(&self, shard: ShardId, epoch: Epoch) -> Result<Arc<dyn Log>, WalError>;

    /// Deletes a shard's log, if there is one, and closes its handles.
    async fn remove(&self, shard: ShardId) -> Result<(), WalError>;

    /// The shards that have a log, sorted.
    async fn list(&self) -> Result<Vec<ShardId>, WalError>;
}

/// Checks what every implementation refuses before it tries anything.
pub(crate) fn check(records: &[Record]) -> Result<(), WalError> {
    if records.is_empty() || records.iter().any(Record::is_empty) {
        return Err(WalError::Empty);
    }
    match records.iter().map(Record::len).find(|len| *len > MAX_RECORD_BYTES) {
        Some(bytes) => Err(WalError::TooLarge { bytes, limit: MAX_RECORD_BYTES }),
        None => Ok(()),
    }
}
