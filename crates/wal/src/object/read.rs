//! How are records found and read back, checked, and in order?

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use redkite_types::Lsn;
use tokio::sync::Semaphore;

use super::chain::newest_start;
use super::format::{Slot, Span, entries};
use super::handle::Inner;
use super::objects::Kept;
use crate::{Entry, Reader, WalError};

/// Reads `from` … the last durable record.
pub(super) fn reader(log: Arc<Inner>, from: Lsn) -> Reader {
    let (until, end) = {
        let state = log.state.lock();
        (state.durable, state.objects.range().1)
    };
    if from > until {
        return Reader::new(stream::empty());
    }
    let found = async move {
        let first = log.state.lock().objects.first();
        if from < first {
            return Err(log.truncated(from, first));
        }
        let begin = log.locate(from, end).await?;
        Ok(objects(log, begin..end, from, until))
    };
    Reader::new(stream::once(found).try_flatten())
}

/// Reads some objects ahead of each other and hands out the records from `from` to `until`.
fn objects(
    log: Arc<Inner>,
    numbers: std::ops::Range<u64>,
    from: Lsn,
    until: Lsn,
) -> impl futures::Stream<Item = Result<Entry, WalError>> {
    let ahead = log.settings.reads_in_flight.max(1);
    let room = Arc::new(Semaphore::new(permits(log.settings.read_ahead_bytes as u64)));
    let reads = stream::iter(numbers).map({
        let log = log.clone();
        move |number| {
            let (log, room) = (log.clone(), room.clone());
            async move {
                let (most, wanted) = (log.settings.read_ahead_bytes as u64, log.size(number, from)?);
                let wanted = u32::try_from(permits(wanted.min(most))).unwrap_or(u32::MAX);
                // In the order of the objects, so that the next one to hand out never waits for later ones. Given
                // back when its records are handed out.
                let room = room.acquire_many_owned(wanted).await.expect("the semaphore is never closed");
                let (slot, span, entries) = log.object(number, from).await?;
                Ok((slot, span, entries, room))
            }
        }
    });
    let mut expected = None;
    reads
        .buffered(ahead)
        .and_then(move |(slot, span, entries, _room)| {
            let in_order = expected.is_none_or(|expected| span.first == expected);
            let wanted = expected.replace(span.last.next());
            let result = match wanted {
                Some(wanted) if !in_order => {
                    let detail = format!("records from {} where record {wanted} belongs", span.first);
                    Err(WalError::corrupt(Path::new(&slot.name(log.shard())), 56, detail))
                }
                _ => Ok(entries),
            };
            futures::future::ready(result)
        })
        .map_ok(|entries| stream::iter(entries).map(Ok))
        .try_flatten()
        .try_filter(move |entry| futures::future::ready(entry.lsn >= from && entry.lsn <= until))
}

/// How much room bytes take.
fn permits(bytes: u64) -> usize {
    usize::try_from(bytes / 1024).map_or(Semaphore::MAX_PERMITS, |kib| (kib + 1).min(Semaphore::MAX_PERMITS))
}

impl Inner {
    pub(super) fn truncated(&self, requested: Lsn, first: Lsn) -> WalError {
        WalError::Truncated { shard: self.shard(), requested, first }
    }

    /// The number of the object that holds a record which is not truncated, of those before `end`.
    pub(super) async fn locate(&self, lsn: Lsn, end: u64) -> Result<u64, WalError> {
        let (mut low, mut high) = (self.state.lock().objects.range().0, end);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let before = match self.span(middle, lsn).await {
                Ok(span) => span.first <= lsn,
                // Whoever had the log before may still truncate it, and so does what lies before.
                Err(WalError::Truncated { first, .. }) if first <= lsn => true,
                Err(error) => return Err(error),
            };
            if before {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The positions of an object's records.
    pub(super) async fn span(&self, number: u64, wanted: Lsn) -> Result<Span, WalError> {
        let Kept { slot, span, .. } = self.place(number, wanted)?;
        if let Some(span) = span {
            return Ok(span);
        }
        let span = match self.bucket.header(slot).await? {
            Some(header) => header.span()?,
            None => return Err(self.missing(slot, wanted).await),
        };
        self.state.lock().objects.learn(number, span);
        Ok(span)
    }

    async fn object(&self, number: u64, wanted: Lsn) -> Result<(Slot, Span, Vec<Entry>), WalError> {
        let slot = self.place(number, wanted)?.slot;
        let Some(bytes) = self.bucket.object(slot).await? else {
            return Err(match self.missing(slot, wanted).await {
                WalError::Truncated { first, .. } if first <= wanted => self.lost(slot),
                error => error,
            });
        };
        let (span, entries) = entries(self.shard(), slot, &bytes)?;
        self.state.lock().objects.learn(number, span);
        Ok((slot, span, entries))
    }

    fn size(&self, number: u64, wanted: Lsn) -> Result<u64, WalError> {
        Ok(self.place(number, wanted)?.size)
    }

    fn place(&self, number: u64, wanted: Lsn) -> Result<Kept, WalError> {
        let state = self.state.lock();
        state.objects.get(number).ok_or_else(|| self.truncated(wanted, state.objects.first()))
    }

    /// Why an object of the log is not there.
    async fn missing(&self, slot: Slot, wanted: Lsn) -> WalError {
        let known = self.state.lock().objects.first();
        match newest_start(&self.bucket).await {
            Err(error) => error,
            // By another handle.
            Ok(Some(first)) if first > known => self.truncated(wanted, first),
            Ok(_) => self.lost(slot),
        }
    }

    fn lost(&self, slot: Slot) -> WalError {
        WalError::corrupt(Path::new(&slot.name(self.shard())), 0, "the object is missing")
    }
}
