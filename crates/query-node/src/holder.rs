//! Which segments are held, and in what state?

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_runtime::machine::CpuTime;
use redkite_segment::SealedSegment;
use redkite_service::{Delete, Error as ServiceError};
use redkite_types::{CollectionId, IndexId, SegmentId, ShardId, Timestamp};
use tokio::sync::watch;

use crate::coverage::Coverage;

/// A segment that is open.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) collection: CollectionId,
    pub(crate) shard: ShardId,
    pub(crate) segment: SealedSegment,
    /// What reads of it have taken.
    cpu: CpuTime,
    /// The deletes it has.
    pub(crate) deletes: Mutex<Coverage>,
    /// Indexes whose files are damaged: not attached again.
    distrusted: Mutex<BTreeSet<IndexId>>,
    /// Why a delete could not be applied.
    spoilt: Mutex<Option<String>>,
}

impl Held {
    /// A segment whose files have every delete up to a timestamp.
    pub(crate) fn new(
        collection: CollectionId,
        shard: ShardId,
        segment: SealedSegment,
        deletes_through: Timestamp,
    ) -> Self {
        let deletes = Mutex::new(Coverage::up_to(deletes_through));
        let (distrusted, spoilt) = (Mutex::default(), Mutex::default());
        Self { collection, shard, segment, cpu: CpuTime::default(), deletes, distrusted, spoilt }
    }

    /// Reads on the calling thread, and counts the time that takes.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Self) -> T) -> T {
        self.cpu.of(|| read(self))
    }

    /// CPU time that reads of it have taken, in microseconds.
    pub(crate) fn cpu_micros(&self) -> u64 {
        self.cpu.micros()
    }

    /// Why it cannot be read, if a delete could not be applied.
    pub(crate) fn spoilt(&self) -> Option<String> {
        self.spoilt.lock().clone()
    }

    /// Applies deletes of the shard as far as they concern the segment.
    pub(crate) fn apply(&self, deletes: &[Arc<Delete>]) -> redkite_segment::Result<()> {
        let concerns = |delete: &&Arc<Delete>| {
            delete.partition.is_none_or(|partition| partition == self.segment.partition())
        };
        deletes
            .iter()
            .filter(concerns)
            .try_for_each(|delete| self.segment.delete(&delete.keys, delete.timestamp).map(|_| ()))
    }

    /// Searches without an index from now on.
    pub(crate) fn distrust(&self, index: IndexId) {
        self.distrusted.lock().insert(index);
        self.segment.detach_index(index);
    }

    pub(crate) fn trusts(&self, index: IndexId) -> bool {
        !self.distrusted.lock().contains(&index)
    }
}

/// A segment that should be held.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// On the way.
    Opening,
    /// Readable, with every delete.
    Ready(Arc<Held>),
    /// It could not be opened; trying goes on.
    Failed(String),
    /// Its bytes are not those that were written.
    Damaged(String),
}

/// The segments of a node.
#[derive(Debug)]
pub(crate) struct Holder {
    state: Mutex<State>,
    /// Counts changes of slots.
    changes: watch::Sender<u64>,
}

/// One stay of a segment on the node: a segment that is given up and wanted again gets another place, so
/// that a load that began before cannot fill it without the deletes of the time between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    pub(crate) collection: CollectionId,
    stay: u64,
}

#[derive(Debug, Default)]
struct State {
    stays: u64,
    slots: BTreeMap<SegmentId, (Place, Slot)>,
    /// Open segments that take pushed deletes: the ready ones and those still catching up.
    fed: HashMap<ShardId, BTreeMap<SegmentId, Arc<Held>>>,
}

impl State {
    fn has(&self, place: Place) -> bool {
        self.slots.get(&place.segment).is_some_and(|(present, _)| *present == place)
    }

    /// Ends the feeding of a segment.
    fn starve(&mut self, segment: SegmentId) {
        self.fed.retain(|_, segments| {
            segments.remove(&segment);
            !segments.is_empty()
        });
    }
}

impl Holder {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), changes: watch::channel(0).0 }
    }

    /// Makes a place for a segment; `None` if it has one already.
    pub(crate) fn begin(&self, segment: SegmentId, collection: CollectionId) -> Option<Place> {
        let mut state = self.state.lock();
        if state.slots.contains_key(&segment) {
            return None;
        }
        state.stays += 1;
        let place = Place { segment, collection, stay: state.stays };
        state.slots.insert(segment, (place, Slot::Opening));
        Some(place)
    }

    /// Whether the place is still there.
    pub(crate) fn wants(&self, place: Place) -> bool {
        self.state.lock().has(place)
    }

    /// From now on the segment takes every pushed delete. `false` if it has lost its place.
    pub(crate) fn feed(&self, place: Place, held: &Arc<Held>) -> bool {
        let mut state = self.state.lock();
        let wanted = state.has(place);
        if wanted {
            state.fed.entry(held.shard).or_default().insert(place.segment, held.clone());
        }
        wanted
    }

    /// Changes the state of a segment, unless it has lost its place. Only what is or may become readable
    /// takes deletes.
    pub(crate) fn set(&self, place: Place, slot: Slot) {
        let mut state = self.state.lock();
        if state.has(place) {
            if matches!(slot, Slot::Failed(_) | Slot::Damaged(_)) {
                state.starve(place.segment);
            }
            state.slots.insert(place.segment, (place, slot));
        }
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }

    /// A delete could not be applied to an open segment: it is not read any more, and takes none.
    pub(crate) fn spoil(&self, held: &Arc<Held>, reason: String) {
        held.spoilt.lock().get_or_insert(reason.clone());
        let mut state = self.state.lock();
        let segment = held.segment.id();
        let ready = match state.slots.get(&segment) {
            Some((place, Slot::Ready(ready))) if Arc::ptr_eq(ready, held) => Some(*place),
            _ => None,
        };
        if let Some(place) = ready {
            state.starve(segment);
            state.slots.insert(segment, (place, Slot::Damaged(reason)));
        }
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Gives a segment up. Reads that have it finish with it.
    pub(crate) fn remove(&self, segment: SegmentId) {
        let mut state = self.state.lock();
        state.slots.remove(&segment);
        state.starve(segment);
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }

    /// All places with their states.
    pub(crate) fn slots(&self) -> Vec<(SegmentId, CollectionId, Slot)> {
        let state = self.state.lock();
        state.slots.values().map(|(place, slot)| (place.segment, place.collection, slot.clone())).collect()
    }

    /// What readable segments take, on the heap and mapped from files.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.state.lock();
        let ready = state.slots.values().filter_map(|(_, slot)| match slot {
            Slot::Ready(held) => Some(held.segment.footprint()),
            _ => None,
        });
        ready.map(|footprint| footprint.resident_bytes + footprint.mapped_bytes).sum()
    }

    /// The open segments of a shard, those that are still catching up too.
    pub(crate) fn fed(&self, shard: ShardId) -> Vec<Arc<Held>> {
        let state = self.state.lock();
        state.fed.get(&shard).map(|segments| segments.values().cloned().collect()).unwrap_or_default()
    }

    /// Notices of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The named segments, waiting at most `patience` for those that `coming` says are on the way.
    pub(crate) async fn ready(
        &self,
        segments: &[SegmentId],
        patience: Duration,
        coming: impl Fn(SegmentId) -> bool,
    ) -> Result<Vec<Arc<Held>>, ServiceError> {
        match self.look(segments, &coming) {
            Looked::Ready(held) => return Ok(held),
            Looked::Gone(error) => return Err(error),
            Looked::Waiting(_) => {}
        }
        let mut changes = self.changes();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            changes.mark_unchanged();
            let error = match self.look(segments, &coming) {
                Looked::Ready(held) => return Ok(held),
                Looked::Gone(error) => return Err(error),
                Looked::Waiting(error) => error,
            };
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(error);
            }
        }
    }

    fn look(&self, segments: &[SegmentId], coming: &impl Fn(SegmentId) -> bool) -> Looked {
        let state = self.state.lock();
        let mut held = Vec::with_capacity(segments.len());
        for segment in segments {
            let not_loaded = ServiceError::SegmentNotLoaded { segment: segment.0 };
            match state.slots.get(segment) {
                Some((_, Slot::Ready(ready))) => held.push(ready.clone()),
                Some((_, Slot::Opening)) => return Looked::Waiting(not_loaded),
                Some((_, Slot::Failed(reason))) => return Looked::Waiting(unreadable(*segment, reason)),
                Some((_, Slot::Damaged(reason))) => return Looked::Gone(unreadable(*segment, reason)),
                None if coming(*segment) => return Looked::Waiting(not_loaded),
                None => return Looked::Gone(not_loaded),
            }
        }
        Looked::Ready(held)
    }
}

fn unreadable(segment: SegmentId, reason: &str) -> ServiceError {
    ServiceError::Io { reason: format!("segment {segment}: {reason}") }
}

enum Looked {
    Ready(Vec<Arc<Held>>),
    /// Worth waiting; if that is in vain, the error.
    Waiting(ServiceError),
    Gone(ServiceError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentId = SegmentId(7);

    #[tokio::test(start_paused = true)]
    async fn a_read_waits_for_a_segment_on_the_way_and_no_other() {
        let holder = Holder::new();
        let wait = Duration::from_secs(5);
        let gone = holder.ready(&[SEGMENT], wait, |_| false).await.unwrap_err();
        assert_eq!(gone, ServiceError::SegmentNotLoaded { segment: 7 });
        let place = holder.begin(SEGMENT, CollectionId(1)).unwrap();
        assert!(holder.begin(SEGMENT, CollectionId(1)).is_none());
        let (read, ()) = tokio::join!(holder.ready(&[SEGMENT], wait, |_| true), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            holder.remove(SEGMENT);
            let again = holder.begin(SEGMENT, CollectionId(1)).unwrap();
            holder.set(again, Slot::Failed("damaged".to_owned()));
            holder.set(place, Slot::Failed("from before".to_owned()));
        });
        assert!(read.unwrap_err().to_string().contains("damaged"));
        assert!(!holder.wants(place));
    }
}
