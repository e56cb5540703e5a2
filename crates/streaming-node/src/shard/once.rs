//! Has this write been applied already?
//!
//! A proxy that misses an answer sends its write again, to this leader or the next one. Per proxy, the
//! leader knows which writes are applied and which are under way: a repetition of the former is
//! acknowledged without effect, one of the latter waits for the same answer. A write that fails before it
//! is queued is forgotten: its repetition is tried like a new one.
//!
//! What is applied stands in the log (each record carries the id of its write) and, up to the checkpoint,
//! there. So the next leader knows what this one knew, apart from what never became durable: that it
//! applies. A proxy tells with each write below which number everything is settled, and never
//! has more than [`MAX_UNSETTLED_WRITES`] that are not: there is no more to remember of it. Who is silent for
//! [`SILENCE`] is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use redkite_catalog::AppliedWrites;
use redkite_service::{Error as ServiceError, MAX_UNSETTLED_WRITES, Result, WriteAck, WriteId};
use redkite_types::{ProxyRun, Timestamp};
use tokio::sync::oneshot;

/// Milliseconds after which nobody sends a write again: proxies try for seconds.
const SILENCE: u64 = 600_000;

/// What proxies wrote.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<BTreeMap<ProxyRun, Known>>);

/// The writes of one proxy.
#[derive(Debug, Default)]
struct Known {
    heard: Timestamp,
    settled_below: u64,
    applied: BTreeMap<u64, Timestamp>,
    /// And who waits for their ends.
    under_way: BTreeMap<u64, Vec<oneshot::Sender<Result<WriteAck>>>>,
}

/// The end of a write, if it comes to one: it fails if the write was given up before.
pub(super) type Outcome = oneshot::Receiver<Result<WriteAck>>;

/// What is to be done with a write that has come in.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It is new: to be applied by the holder of the claim.
    New(Claim, Outcome),
    /// It is being applied.
    UnderWay(Outcome),
    /// It was applied, at this timestamp or before.
    Applied(Timestamp),
    /// Its proxy has settled it. Whether it was applied is not known any more, and nobody waits to hear it.
    Settled,
}

/// The right and duty to apply a write. Dropped, it gives the write back to whoever sends it again.
#[derive(Debug)]
pub(super) struct Claim {
    writes: Arc<Writes>,
    id: WriteId,
    ended: bool,
}

impl Writes {
    /// What is remembered at a checkpoint.
    pub(super) fn restore(
        remembered: &BTreeMap<ProxyRun, AppliedWrites>,
        checkpoint: Timestamp,
    ) -> Arc<Self> {
        let restore = |(proxy, writes): (&ProxyRun, &AppliedWrites)| {
            let end = writes.settled_below.saturating_add(MAX_UNSETTLED_WRITES);
            let numbers = writes.applied.iter().flat_map(|(first, last)| *first..=(*last).min(end));
            // When exactly is not told: the whole checkpoint is visible, so this guarantees as much.
            let applied = numbers.map(|sequence| (sequence, checkpoint)).collect();
            let (heard, settled_below) = (writes.heard, writes.settled_below);
            (*proxy, Known { heard, settled_below, applied, under_way: BTreeMap::new() })
        };
        Arc::new(Self(Mutex::new(remembered.iter().map(restore).collect())))
    }

    /// What is to be remembered of what is applied by now.
    pub(super) fn applied(&self, now: Timestamp) -> BTreeMap<ProxyRun, AppliedWrites> {
        let mut proxies = self.0.lock();
        proxies.retain(|_, known| !known.is_silent(now));
        let remember = |(proxy, known): (&ProxyRun, &Known)| {
            let applied = rows(known.applied.keys().copied());
            (*proxy, AppliedWrites { heard: known.heard, settled_below: known.settled_below, applied })
        };
        proxies.iter().map(remember).collect()
    }

    /// Takes note of a record of the log.
    pub(super) fn replayed(&self, id: WriteId, timestamp: Timestamp) {
        let mut proxies = self.0.lock();
        let known = proxies.entry(id.proxy).or_default();
        known.hear(id.settled_below, timestamp);
        known.apply(id.sequence, timestamp);
    }

    /// Takes in a write.
    ///
    /// # Errors
    /// If its number cannot be.
    pub(super) fn arrive(self: &Arc<Self>, id: WriteId, now: Timestamp) -> Result<Arrival> {
        let ahead = id.sequence.checked_sub(id.settled_below);
        if ahead.is_none_or(|ahead| ahead >= MAX_UNSETTLED_WRITES) {
            let (sequence, below) = (id.sequence, id.settled_below);
            return Err(ServiceError::invalid(format!("write {sequence}, though settled below {below}")));
        }
        let mut proxies = self.0.lock();
        let known = proxies.entry(id.proxy).or_default();
        known.hear(id.settled_below, now);
        if id.sequence < known.settled_below {
            return Ok(Arrival::Settled);
        }
        if let Some(timestamp) = known.applied.get(&id.sequence) {
            return Ok(Arrival::Applied(*timestamp));
        }
        let (sender, outcome) = oneshot::channel();
        let claimed = known.under_way.contains_key(&id.sequence);
        known.under_way.entry(id.sequence).or_default().push(sender);
        Ok(if claimed {
            Arrival::UnderWay(outcome)
        } else {
            Arrival::New(Claim { writes: self.clone(), id, ended: false }, outcome)
        })
    }

    /// Forgets proxies that have not written for long.
    pub(super) fn forget_silent(&self, now: Timestamp) {
        self.0.lock().retain(|_, known| !known.is_silent(now));
    }
}

impl Known {
    fn hear(&mut self, settled_below: u64, at: Timestamp) {
        self.heard = self.heard.max(at);
        if settled_below > self.settled_below {
            self.settled_below = settled_below;
            self.applied = self.applied.split_off(&settled_below);
        }
    }

    fn apply(&mut self, sequence: u64, timestamp: Timestamp) {
        if sequence >= self.settled_below {
            self.applied.insert(sequence, timestamp);
        }
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        self.under_way.is_empty() && now.physical().saturating_sub(self.heard.physical()) >= SILENCE
    }
}

impl Claim {
    /// The write is in the log.
    pub(super) fn applied(mut self, timestamp: Timestamp, outcome: Result<WriteAck>) {
        self.end(Some(timestamp), outcome);
    }

    /// The write came to nothing, as far as is known.
    pub(super) fn refused(mut self, error: ServiceError) {
        self.end(None, Err(error));
    }

    fn end(&mut self, applied: Option<Timestamp>, outcome: Result<WriteAck>) {
        // From now on the write may be claimed anew.
        self.ended = true;
        let waiting = {
            let mut proxies = self.writes.0.lock();
            let Some(known) = proxies.get_mut(&self.id.proxy) else { return };
            if let Some(timestamp) = applied {
                known.apply(self.id.sequence, timestamp);
            }
            known.under_way.remove(&self.id.sequence)
        };
        for waiting in waiting.into_iter().flatten() {
            // A caller that went away learns from its next read.
            let _ = waiting.send(outcome.clone());
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut proxies = self.writes.0.lock();
        if let Some(known) = proxies.get_mut(&self.id.proxy) {
            known.under_way.remove(&self.id.sequence);
        }
    }
}

/// Rising numbers as rows of consecutive ones: first and last of each.
fn rows(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match rows.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => rows.push((number, number)),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    const PROXY: ProxyRun = ProxyRun(9);

    fn id(sequence: u64, settled_below: u64) -> WriteId {
        WriteId { proxy: PROXY, sequence, settled_below }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_physical(millis)
    }

    fn claim(writes: &Arc<Writes>, id: WriteId) -> (Claim, Outcome) {
        match writes.arrive(id, at(1)).unwrap() {
            Arrival::New(claim, outcome) => (claim, outcome),
            other => panic!("{other:?}"),
        }
    }

    fn under_way(writes: &Arc<Writes>, id: WriteId) -> Outcome {
        match writes.arrive(id, at(1)).unwrap() {
            Arrival::UnderWay(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everybody_who_sent_a_write_hears_of_its_end() {
        let writes = Arc::new(Writes::default());
        let (first, outcome) = claim(&writes, id(3, 3));
        let again = under_way(&writes, id(3, 3));
        let ack = WriteAck { timestamp: at(2) };
        first.applied(at(2), Ok(ack));
        for outcome in [outcome, again] {
            assert_eq!(outcome.now_or_never().unwrap().unwrap(), Ok(ack));
        }
        assert!(matches!(writes.arrive(id(3, 3), at(1)), Ok(Arrival::Applied(found)) if found == at(2)));
    }

    #[test]
    fn a_write_given_up_is_taken_by_who_sends_it_again() {
        let writes = Arc::new(Writes::default());
        let (first, _) = claim(&writes, id(0, 0));
        let again = under_way(&writes, id(0, 0));
        drop(first);
        assert!(again.now_or_never().unwrap().is_err(), "left alone");
        let (second, outcome) = claim(&writes, id(0, 0));
        second.refused(ServiceError::internal("no"));
        assert!(outcome.now_or_never().unwrap().unwrap().is_err());
        let (third, _) = claim(&writes, id(0, 0));
        let waiting = under_way(&writes, id(0, 0));
        third.applied(at(5), Ok(WriteAck { timestamp: at(5) }));
        assert!(waiting.now_or_never().unwrap().unwrap().is_ok());
    }

    #[test]
    fn the_silent_are_forgotten_but_not_those_who_wait() {
        let writes = Arc::new(Writes::default());
        let (one, _outcome) = claim(&writes, id(0, 0));
        let other = WriteId { proxy: ProxyRun(1), ..id(0, 0) };
        writes.replayed(other, at(1));
        writes.forget_silent(at(SILENCE));
        assert_eq!(writes.0.lock().len(), 2);
        writes.forget_silent(at(SILENCE + 1));
        assert_eq!(writes.0.lock().keys().copied().collect::<Vec<_>>(), [PROXY]);
        one.applied(at(1), Ok(WriteAck { timestamp: at(1) }));
        assert!(writes.applied(at(SILENCE + 1)).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded_whatever_a_record_says() {
        let applied = vec![(5, u64::MAX)];
        let record = AppliedWrites { heard: at(1), settled_below: 5, applied };
        let writes = Writes::restore(&BTreeMap::from([(PROXY, record)]), at(1));
        assert!(writes.0.lock()[&PROXY].applied.len() as u64 <= MAX_UNSETTLED_WRITES + 1);
    }

    proptest! {
        /// However writes end, and whenever it is written down and read back: what is not settled is known.
        #[test]
        fn nothing_applied_is_forgotten(
            steps in prop::collection::vec((0_u64..60, 0_u64..4, any::<bool>(), any::<bool>()), 0..200)
        ) {
            let mut writes = Arc::new(Writes::default());
            let (mut applied, mut settled) = (std::collections::BTreeSet::new(), 0);
            for (sequence, below, is_applied, written_down) in steps {
                settled = settled.max(sequence.saturating_sub(20 * below).min(sequence) / 2);
                let write = id(sequence, settled.min(sequence));
                match writes.arrive(write, at(1)).unwrap() {
                    Arrival::New(claim, _) => {
                        assert!(sequence >= settled && !applied.contains(&sequence));
                        if is_applied {
                            claim.applied(at(1), Ok(WriteAck { timestamp: at(1) }));
                            applied.insert(sequence);
                        }
                    }
                    Arrival::Applied(_) => assert!(applied.contains(&sequence)),
                    Arrival::Settled => assert!(sequence < settled),
                    Arrival::UnderWay(_) => panic!("nothing is"),
                }
                if written_down {
                    let remembered = writes.applied(at(2));
                    prop_assert!(remembered.values().all(|of| of.applied.len() <= 60));
                    writes = Writes::restore(&remembered, at(2));
                }
            }
        }
    }
}
