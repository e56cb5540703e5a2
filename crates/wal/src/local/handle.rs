//! How do many appends become one write, and what happens to all of them when it fails?
//!
//! Two locks: the queue gives out positions and is held for moments; the files are held through a
//! write and its sync. Whoever takes from the queue holds the files, so records reach the file in the
//! order of their positions.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_runtime::blocking;
use redkite_types::{Epoch, Lsn, ShardId};
use tokio::sync::oneshot;

use super::files::{Files, Payload, WriteError};
use super::read;
use super::threads::Threads;
use crate::log::check;
use crate::{Append, Log, Reader, Record, WalError};

/// The handle given out.
#[derive(Debug)]
pub(super) struct LocalLog(pub(super) Arc<Inner>);

/// A log, as its handle, the writing threads and its readers see it.
#[derive(Debug)]
pub(super) struct Inner {
    shard: ShardId,
    epoch: Epoch,
    first: AtomicU64,
    durable: AtomicU64,
    queue: Mutex<Queue>,
    pub(super) files: Mutex<Files>,
    group_bytes: usize,
    threads: Arc<Threads>,
}

#[derive(Debug)]
struct Queue {
    next: Lsn,
    waiting: VecDeque<Waiting>,
    /// Whether the log stands in line for a thread, or is being written by one.
    in_line: bool,
    /// Why no more is taken.
    refusal: Option<WalError>,
    /// Why what waits will not be written.
    abandoned: Option<WalError>,
}

/// An append that is not written yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) first: Lsn,
    pub(super) payloads: Vec<Payload>,
    bytes: usize,
    done: oneshot::Sender<Result<(), WalError>>,
}

impl Waiting {
    fn end(self, result: Result<(), WalError>) {
        // A caller that has given up does not want to know.
        let _ = self.done.send(result);
    }
}

impl Inner {
    pub(super) fn new(files: Files, group_bytes: usize, threads: Arc<Threads>) -> Arc<Self> {
        Arc::new(Self {
            shard: files.shard(),
            epoch: files.epoch(),
            first: AtomicU64::new(files.first().0),
            durable: AtomicU64::new(files.durable().0),
            queue: Mutex::new(Queue {
                next: files.durable().next(),
                waiting: VecDeque::new(),
                in_line: false,
                refusal: None,
                abandoned: None,
            }),
            files: Mutex::new(files),
            group_bytes,
            threads,
        })
    }

    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(super) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Makes room for a later opening with `epoch`.
    pub(super) async fn hand_over(self: Arc<Self>, epoch: Epoch) -> Result<(), WalError> {
        if epoch < self.epoch {
            return Err(WalError::Fenced { shard: self.shard, epoch, current: self.epoch });
        }
        let fenced = WalError::Fenced { shard: self.shard, epoch: self.epoch, current: epoch };
        self.abandon(fenced).await;
        Ok(())
    }

    /// Takes no more appends, fails those that wait, and returns when nothing is being written.
    pub(super) async fn abandon(self: Arc<Self>, why: WalError) {
        {
            let mut queue = self.queue.lock();
            queue.refusal.get_or_insert_with(|| why.clone());
            queue.abandoned.get_or_insert(why);
        }
        // The flush finds the queue abandoned and empties it.
        blocking(move || self.flush()).await;
    }

    /// Writes one group of what waits, if anything does.
    pub(super) fn flush(&self) {
        let mut files = self.files.lock();
        let group = self.take_group();
        let Some(last) = group.last().map(|waiting| waiting.first.0 + waiting.payloads.len() as u64 - 1)
        else {
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| files.write(&group))) {
            Ok(Ok(())) => {
                if self.queue.lock().waiting.is_empty() {
                    files.mark();
                }
                // The last step: who was answered may drop the log and open it anew.
                self.durable.store(last, Ordering::Release);
                group.into_iter().for_each(|waiting| waiting.end(Ok(())));
            }
            Ok(Err(error)) => self.fail(group, error),
            Err(_) => {
                let source = Arc::new(io::Error::other("the writing thread panicked"));
                let path = files.active_path().to_owned();
                let error = WalError::Io { action: "write", path, source, maybe_applied: true };
                self.fail(group, WriteError::Poisoning(error));
            }
        }
    }

    /// Whatever waits, up to the size of a group, at least one append.
    fn take_group(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        if let Some(why) = queue.abandoned.clone() {
            queue.waiting.drain(..).for_each(|waiting| waiting.end(Err(why.clone())));
            return Vec::new();
        }
        let mut group: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        while let Some(waiting) = queue.waiting.front() {
            bytes += waiting.bytes;
            if !group.is_empty() && bytes > self.group_bytes {
                break;
            }
            group.extend(queue.waiting.pop_front());
        }
        group
    }

    /// Fails the group and everything behind it: positions are dense, so none of it can be written.
    fn fail(&self, group: Vec<Waiting>, error: WriteError) {
        let (cause, poisoned) = match error {
            WriteError::Clean(cause) => (cause, false),
            WriteError::Poisoning(cause) => (cause, true),
        };
        tracing::error!(shard = %self.shard, %cause, poisoned, "append to shard log failed");
        let mut queue = self.queue.lock();
        if poisoned {
            let poison = WalError::Poisoned { shard: self.shard, cause: cause.to_string() };
            queue.refusal.get_or_insert_with(|| poison.clone());
            queue.abandoned.get_or_insert(poison);
        }
        queue.next = self.durable().next();
        for waiting in group.into_iter().chain(queue.waiting.drain(..)) {
            waiting.end(Err(cause.clone()));
        }
    }

    /// Called by a thread that has written a group.
    pub(super) fn stand_in_line_again(self: Arc<Self>) {
        let more = {
            let mut queue = self.queue.lock();
            queue.in_line = !queue.waiting.is_empty();
            queue.in_line
        };
        if more {
            let threads = self.threads.clone();
            threads.submit(self);
        }
    }

    fn check_open(&self) -> Result<(), WalError> {
        self.queue.lock().refusal.clone().map_or(Ok(()), Err)
    }

    fn truncate(&self, through: Lsn) -> Result<(), WalError> {
        let mut files = self.files.lock();
        self.check_open()?;
        let result = files.truncate(through);
        self.first.store(files.first().0, Ordering::Release);
        match result {
            Ok(()) => Ok(()),
            Err(WriteError::Clean(error)) => Err(error),
            Err(error @ WriteError::Poisoning(_)) => {
                self.fail(Vec::new(), error);
                self.check_open()
            }
        }
    }

    fn finish(&self) -> Result<(), WalError> {
        while !self.queue.lock().waiting.is_empty() {
            self.flush();
        }
        let mut files = self.files.lock();
        if self.queue.lock().abandoned.is_some() {
            return Ok(());
        }
        files.finish()
    }
}

#[async_trait]
impl Log for LocalLog {
    fn shard(&self) -> ShardId {
        self.0.shard
    }

    fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    fn append(&self, records: Vec<Record>) -> Result<Append, WalError> {
        check(&records)?;
        // Checksums are the caller's work: the writing threads are few.
        let payloads: Vec<Payload> = records.into_iter().map(Payload::new).collect();
        let bytes = payloads.iter().map(Payload::frame_bytes).sum();
        let (done, durable) = oneshot::channel();
        let mut queue = self.0.queue.lock();
        if let Some(refusal) = &queue.refusal {
            return Err(refusal.clone());
        }
        let first = queue.next;
        queue.next = Lsn(first.0 + payloads.len() as u64);
        let append = Append::new(self.0.shard, first, Lsn(queue.next.0 - 1), durable);
        queue.waiting.push_back(Waiting { first, payloads, bytes, done });
        let submit = !std::mem::replace(&mut queue.in_line, true);
        drop(queue);
        if submit {
            self.0.threads.submit(self.0.clone());
        }
        Ok(append)
    }

    fn read(&self, from: Lsn) -> Reader {
        read::reader(self.0.clone(), Lsn(from.0.max(1)))
    }

    fn first_lsn(&self) -> Lsn {
        Lsn(self.0.first.load(Ordering::Acquire))
    }

    fn last_lsn(&self) -> Lsn {
        self.0.durable()
    }

    async fn truncate(&self, through: Lsn) -> Result<(), WalError> {
        let inner = self.0.clone();
        blocking(move || inner.truncate(through)).await
    }

    async fn close(&self) -> Result<(), WalError> {
        let shard = self.0.shard;
        self.0.queue.lock().refusal.get_or_insert(WalError::Closed { shard });
        let inner = self.0.clone();
        blocking(move || inner.finish()).await
    }
}
