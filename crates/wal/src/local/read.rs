//! How are records read back, checked, and in order?

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use redkite_runtime::blocking;
use redkite_types::Lsn;

use super::files::{Link, read_header};
use super::frames::{Frames, Step};
use super::handle::Inner;
use crate::{Entry, Reader, WalError};

/// Payload bytes collected before they are handed on: amortises the change of threads.
const BATCH_BYTES: usize = 1 << 20;

/// Reads `from` … the last durable record.
pub(super) fn reader(log: Arc<Inner>, from: Lsn) -> Reader {
    let state = Cursor { until: log.durable(), from, next: from, log, chain: None, current: None };
    let batches = stream::unfold(Some(state), |state| async {
        let mut cursor = state?;
        let (cursor, batch) = blocking(move || {
            let batch = cursor.batch();
            (cursor, batch)
        })
        .await;
        match batch {
            Ok(entries) if entries.is_empty() => None,
            Ok(entries) => Some((entries.into_iter().map(Ok).collect(), Some(cursor))),
            Err(error) => Some((vec![Err(error)], None)),
        }
    });
    Reader::new(batches.flat_map(stream::iter))
}

struct Cursor {
    log: Arc<Inner>,
    from: Lsn,
    until: Lsn,
    /// Position of the next record in the file; below `from` while skipping to it.
    next: Lsn,
    /// The files not yet begun, as they were when reading began.
    chain: Option<VecDeque<Link>>,
    current: Option<(Link, Frames)>,
}

impl Cursor {
    fn batch(&mut self) -> Result<Vec<Entry>, WalError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while self.next <= self.until && bytes < BATCH_BYTES {
            let (lsn, payload) = self.record()?;
            if lsn >= self.from {
                bytes += payload.len();
                entries.push(Entry { lsn, payload });
            }
        }
        Ok(entries)
    }

    fn record(&mut self) -> Result<(Lsn, Bytes), WalError> {
        loop {
            let Some((link, frames)) = &mut self.current else {
                self.open_next()?;
                continue;
            };
            let step = frames.step().map_err(|error| WalError::io("read", &link.path, error))?;
            let (at, at_end) = match step {
                Step::Record { lsn, payload, .. } if lsn == self.next => {
                    self.next = lsn.next();
                    return Ok((lsn, payload));
                }
                Step::Record { at, lsn, .. } => {
                    let detail = format!("record {lsn} where record {} belongs", self.next);
                    return Err(WalError::corrupt(&link.path, at, detail));
                }
                Step::Mark { durable, .. } if durable.next() == self.next => continue,
                Step::End { at } => (at, true),
                Step::Mark { at, .. } | Step::Damaged { at } => (at, false),
            };
            // Behind the last record of an ended file there may be an old mark, whole or in pieces: marks are
            // not synced.
            let next_file = self.chain.as_ref().and_then(|chain| chain.front());
            if next_file.is_some_and(|next| at_end || next.first == self.next) {
                self.current = None;
                continue;
            }
            return Err(WalError::corrupt(&link.path, at, format!("record {} is damaged", self.next)));
        }
    }

    fn open_next(&mut self) -> Result<(), WalError> {
        let beginning = self.chain.is_none();
        let chain = match &mut self.chain {
            Some(chain) => chain,
            None => self.chain.insert(self.log.files.lock().chain().clone()),
        };
        if beginning {
            while chain.get(1).is_some_and(|link| link.first <= self.from) {
                chain.pop_front();
            }
        }
        let Some(link) = chain.pop_front() else {
            // Only asked when a record is missing that is durable: the files end before it.
            let shard = self.log.shard();
            return Err(WalError::Truncated { shard, requested: self.next, first: self.until.next() });
        };
        if beginning && link.first > self.from {
            let shard = self.log.shard();
            return Err(WalError::Truncated { shard, requested: self.from, first: link.first });
        }
        if !beginning && link.first != self.next {
            let detail = format!("record {} is missing before this file", self.next);
            return Err(WalError::corrupt(&link.path, 0, detail));
        }
        self.next = link.first;
        let frames = open(&link).map_err(|error| self.truncated_meanwhile(error))?;
        self.current = Some((link, frames));
        Ok(())
    }

    /// A file that is gone was truncated while we read, unless it is still part of the log.
    fn truncated_meanwhile(&self, error: WalError) -> WalError {
        let missing =
            matches!(&error, WalError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        let first = self.log.files.lock().first();
        if missing && first > self.next {
            return WalError::Truncated { shard: self.log.shard(), requested: self.next, first };
        }
        error
    }
}

fn open(link: &Link) -> Result<Frames, WalError> {
    let (_, seed) = read_header(&link.path)?;
    File::open(&link.path)
        .and_then(|file| Frames::new(file, seed))
        .map_err(|error| WalError::io("read", &link.path, error))
}
