//! What does everybody who uses an open log share?

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_runtime::Tasks;
use redkite_types::{Epoch, Lsn, ShardId};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::ObjectLogSettings;
use super::bucket::Bucket;
use super::format::{Payload, Slot, Term};
use super::objects::Objects;
use super::open::Opened;
use super::read;
use crate::log::check;
use crate::{Append, Log, Reader, Record, WalError};

/// The handle given out. When it is dropped, what was appended is still written.
#[derive(Debug)]
pub(super) struct ObjectLog(pub(super) Arc<Inner>);

/// A log, as its handle, its writer and its readers see it.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) bucket: Bucket,
    pub(super) term: Term,
    pub(super) settings: ObjectLogSettings,
    pub(super) state: Mutex<State>,
    /// Tells the writer that there is something to do.
    pub(super) work: Notify,
    /// Whether the writer has ended.
    pub(super) ended: watch::Sender<bool>,
    /// Held by whoever truncates.
    pub(super) truncating: tokio::sync::Mutex<()>,
    /// Names of objects that nobody needs. Held by whoever deletes them.
    pub(super) garbage: tokio::sync::Mutex<Vec<String>>,
    /// Of all logs: they end by themselves.
    pub(super) tasks: Tasks,
}

#[derive(Debug)]
pub(super) struct State {
    /// The next position to give out.
    pub(super) next: Lsn,
    /// The last record that is durable, as are all before it.
    pub(super) durable: Lsn,
    /// So many slots of the term are filled, from the first on.
    pub(super) settled: u64,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: usize,
    pub(super) objects: Objects,
    /// Why no more is taken.
    pub(super) refusal: Option<WalError>,
    /// Why what waits will not be written.
    pub(super) abandoned: Option<WalError>,
}

/// An append that is not on its way yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) first: Lsn,
    pub(super) payloads: Vec<Payload>,
    pub(super) bytes: usize,
    pub(super) since: Instant,
    pub(super) done: Done,
}

/// Who waits for an append.
#[derive(Debug)]
pub(super) struct Done(oneshot::Sender<Result<(), WalError>>);

impl Done {
    pub(super) fn end(self, result: Result<(), WalError>) {
        // A caller that has given up does not want to know.
        let _ = self.0.send(result);
    }
}

impl Inner {
    pub(super) fn new(
        bucket: Bucket,
        opened: Opened,
        settings: ObjectLogSettings,
        tasks: Tasks,
    ) -> Arc<Self> {
        let Opened { term, chain } = opened;
        let next = chain.next();
        let state = State {
            next,
            durable: Lsn(next.0 - 1),
            settled: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            objects: Objects::new(chain.start.first, chain.records, chain.last),
            refusal: None,
            abandoned: None,
        };
        Arc::new(Self {
            bucket,
            term,
            settings,
            state: Mutex::new(state),
            work: Notify::new(),
            ended: watch::Sender::new(false),
            truncating: tokio::sync::Mutex::default(),
            garbage: tokio::sync::Mutex::new(chain.garbage),
            tasks,
        })
    }

    pub(super) fn shard(&self) -> ShardId {
        self.bucket.shard
    }

    /// The slot of a sequence number of this term.
    pub(super) fn slot(&self, sequence: u64) -> Slot {
        Slot { term: self.term, sequence }
    }

    /// Takes no more appends; those taken are still written.
    pub(super) fn refuse(&self, why: WalError) {
        self.state.lock().refusal.get_or_insert(why);
        self.work.notify_one();
    }

    /// Takes no more appends and fails those that are not on their way.
    pub(super) fn abandon(&self, why: WalError) {
        let mut state = self.state.lock();
        state.refusal.get_or_insert_with(|| why.clone());
        let why = state.abandoned.get_or_insert(why).clone();
        state.fail_waiting(&why);
        drop(state);
        self.work.notify_one();
    }

    /// Waits until nothing is on its way any more.
    pub(super) async fn wait_until_ended(&self) {
        // The sender is in `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

impl State {
    pub(super) fn fail_waiting(&mut self, why: &WalError) {
        self.waiting_bytes = 0;
        self.waiting.drain(..).for_each(|waiting| waiting.done.end(Err(why.clone())));
    }
}

impl Drop for ObjectLog {
    fn drop(&mut self) {
        self.0.refuse(WalError::Closed { shard: self.0.shard() });
    }
}

#[async_trait]
impl Log for ObjectLog {
    fn shard(&self) -> ShardId {
        self.0.shard()
    }

    fn epoch(&self) -> Epoch {
        self.0.term.epoch
    }

    fn append(&self, records: Vec<Record>) -> Result<Append, WalError> {
        check(&records)?;
        let payloads: Vec<Payload> = records.into_iter().map(Payload::new).collect();
        let bytes = payloads.iter().map(Payload::frame_bytes).sum();
        let (done, durable) = oneshot::channel();
        let mut state = self.0.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let first = state.next;
        state.next = Lsn(first.0 + payloads.len() as u64);
        let append = Append::new(self.0.shard(), first, Lsn(state.next.0 - 1), durable);
        state.waiting_bytes += bytes;
        state.waiting.push_back(Waiting { first, payloads, bytes, since: Instant::now(), done: Done(done) });
        drop(state);
        self.0.work.notify_one();
        Ok(append)
    }

    fn read(&self, from: Lsn) -> Reader {
        read::reader(self.0.clone(), Lsn(from.0.max(1)))
    }

    fn first_lsn(&self) -> Lsn {
        self.0.state.lock().objects.first()
    }

    fn last_lsn(&self) -> Lsn {
        self.0.state.lock().durable
    }

    fn pieces_after(&self, lsn: Lsn) -> usize {
        self.0.state.lock().objects.after(lsn)
    }

    async fn truncate(&self, through: Lsn) -> Result<(), WalError> {
        self.0.truncate(through).await
    }

    async fn close(&self) -> Result<(), WalError> {
        self.0.refuse(WalError::Closed { shard: self.0.shard() });
        self.0.wait_until_ended().await;
        Ok(())
    }
}
