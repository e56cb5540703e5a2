//! How do watches follow the store without queues of their own?
//!
//! The last changes are kept in one ring, in the order of their revisions. A watch is a position in
//! it: a slow one costs no memory, and falls out with "compacted" when the ring has moved past it.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream;
use parking_lot::RwLock;
use redkite_types::Revision;
use tokio::sync::watch;

use crate::kv::{Event, KvError, Watch, WatchBatch};

#[derive(Debug)]
pub(super) struct History {
    ring: RwLock<Ring>,
    /// Last revision in the ring; closed channel = closed store.
    tip: RwLock<Option<watch::Sender<Revision>>>,
    max_bytes: usize,
    max_revisions: usize,
}

#[derive(Debug)]
struct Ring {
    /// Revision of the front; revisions are dense.
    first: i64,
    changes: VecDeque<Arc<[Event]>>,
    bytes: usize,
}

impl Ring {
    fn last(&self) -> i64 {
        self.first + i64::try_from(self.changes.len()).expect("a ring fits in memory") - 1
    }

    fn drop_front(&mut self) {
        if let Some(events) = self.changes.pop_front() {
            self.bytes -= size(&events);
            self.first += 1;
        }
    }
}

/// Memory held by the events of one revision, roughly.
fn size(events: &[Event]) -> usize {
    let event = |event: &Event| match event {
        Event::Put(entry) => entry.key.len() + entry.value.len(),
        Event::Delete { key } => key.len(),
    };
    events.iter().map(|one| event(one) + size_of::<Event>()).sum()
}

impl History {
    /// An empty history after `revision`.
    pub(super) fn new(revision: Revision, max_bytes: usize, max_revisions: usize) -> Self {
        Self {
            ring: RwLock::new(Ring { first: revision.0 + 1, changes: VecDeque::new(), bytes: 0 }),
            tip: RwLock::new(Some(watch::Sender::new(revision))),
            max_bytes,
            max_revisions,
        }
    }

    /// Adds the changes of the next revisions, which are durable, and wakes the watches.
    pub(super) fn publish(&self, revisions: Vec<Vec<Event>>) {
        if revisions.is_empty() {
            return;
        }
        let last = {
            let mut ring = self.ring.write();
            for events in revisions {
                ring.bytes += size(&events);
                ring.changes.push_back(events.into());
            }
            while ring.changes.len() > 1
                && (ring.bytes > self.max_bytes || ring.changes.len() > self.max_revisions)
            {
                ring.drop_front();
            }
            ring.last()
        };
        if let Some(tip) = self.tip.read().as_ref() {
            tip.send_replace(Revision(last));
        }
    }

    /// Drops everything up to and including `through`.
    pub(super) fn forget(&self, through: Revision) {
        let mut ring = self.ring.write();
        while ring.first <= through.0 && !ring.changes.is_empty() {
            ring.drop_front();
        }
    }

    /// Begins anew after `revision`: every watch that is not there yet falls out.
    pub(super) fn restart(&self, revision: Revision) {
        *self.ring.write() = Ring { first: revision.0 + 1, changes: VecDeque::new(), bytes: 0 };
        if let Some(tip) = self.tip.read().as_ref() {
            tip.send_replace(revision);
        }
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.tip.write().take();
    }

    pub(super) fn watch(self: Arc<Self>, prefix: String, from: Revision) -> Result<Watch, KvError> {
        let tip = self.tip.read().as_ref().ok_or(KvError::Closed)?.subscribe();
        self.check(from)?;
        let position = Position { history: self, prefix, next: from.0, tip };
        Ok(Watch::new(stream::unfold(Some(position), |position| async {
            let mut position = position?;
            let batch = position.next().await;
            let position = batch.is_ok().then_some(position);
            Some((batch, position))
        })))
    }

    fn check(&self, from: Revision) -> Result<(), KvError> {
        let oldest = Revision(self.ring.read().first);
        if from < oldest { Err(KvError::Compacted { requested: from, oldest }) } else { Ok(()) }
    }

    /// The next batch from `next` on: the first revision with matching events, else progress to the
    /// end, else nothing new.
    fn scan(&self, prefix: &str, next: i64) -> Result<Option<WatchBatch>, KvError> {
        let ring = self.ring.read();
        if next < ring.first {
            return Err(KvError::Compacted { requested: Revision(next), oldest: Revision(ring.first) });
        }
        let skip = usize::try_from(next - ring.first).expect("compared above");
        for (revision, events) in (next..).zip(ring.changes.iter().skip(skip)) {
            let mut matching = events.iter().filter(|event| event.key().starts_with(prefix)).peekable();
            if matching.peek().is_some() {
                let events = matching.cloned().collect();
                return Ok(Some(WatchBatch { revision: Revision(revision), events }));
            }
        }
        let last = ring.last();
        Ok((last >= next).then(|| WatchBatch { revision: Revision(last), events: Vec::new() }))
    }
}

struct Position {
    history: Arc<History>,
    prefix: String,
    next: i64,
    tip: watch::Receiver<Revision>,
}

impl Position {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        loop {
            self.tip.mark_unchanged();
            if let Some(batch) = self.history.scan(&self.prefix, self.next)? {
                self.next = batch.revision.0 + 1;
                return Ok(batch);
            }
            self.tip.changed().await.map_err(|_| KvError::Closed)?;
        }
    }
}
