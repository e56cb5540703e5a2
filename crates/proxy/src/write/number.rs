//! Which write of this proxy is it, and which of them are settled?
//!
//! Writes to a shard are numbered in a row, so that its leader knows which of them it has applied. Each tells
//! below which number all are settled: answered, or given up because the client went away. The
//! leader forgets those.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngCore;
use redkite_runtime::chance;
use redkite_service::{MAX_UNSETTLED_WRITES, WriteId};
use redkite_types::{ProxyRun, ShardId};
use tokio::sync::Notify;

/// Shards remembered before those of dropped collections are looked for.
const MANY: usize = 1024;

/// The writes of one run of a proxy.
#[derive(Debug)]
pub(crate) struct Numbers {
    run: ProxyRun,
    shards: Mutex<Shards>,
}

#[derive(Debug)]
struct Shards {
    numbers: HashMap<ShardId, Arc<Row>>,
    many: usize,
}

/// The writes to one shard.
#[derive(Debug, Default)]
struct Row {
    state: Mutex<State>,
    /// Tells one who waits for room.
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    unsettled: BTreeSet<u64>,
}

impl State {
    fn settled_below(&self) -> u64 {
        self.unsettled.first().copied().unwrap_or(self.next)
    }
}

/// One write. It is settled when this is dropped.
#[derive(Debug)]
pub(crate) struct Numbered {
    run: ProxyRun,
    row: Arc<Row>,
    sequence: u64,
}

impl Numbers {
    /// For a proxy that starts.
    pub(crate) fn new() -> Self {
        let run = ProxyRun(chance::generator().next_u64());
        let shards = Shards { numbers: HashMap::new(), many: MANY };
        Self { run, shards: Mutex::new(shards) }
    }

    /// Numbers a write to a shard; waits while too many are not settled. `exists` says whether a shard may
    /// still be written to: numbers of the others are forgotten.
    pub(crate) async fn number(&self, shard: ShardId, exists: impl Fn(ShardId) -> bool) -> Numbered {
        let row = self.row(shard, exists);
        loop {
            let settled = row.settled.notified();
            {
                let mut state = row.state.lock();
                if state.next - state.settled_below() < MAX_UNSETTLED_WRITES {
                    let sequence = state.next;
                    state.next += 1;
                    state.unsettled.insert(sequence);
                    drop(state);
                    // There may be room for more than one of those who wait.
                    row.settled.notify_one();
                    return Numbered { run: self.run, row: row.clone(), sequence };
                }
            }
            settled.await;
        }
    }

    fn row(&self, shard: ShardId, exists: impl Fn(ShardId) -> bool) -> Arc<Row> {
        let mut shards = self.shards.lock();
        if shards.numbers.len() >= shards.many && !shards.numbers.contains_key(&shard) {
            // Who holds a row may still number.
            shards.numbers.retain(|shard, row| Arc::strong_count(row) > 1 || exists(*shard));
            shards.many = MANY.max(2 * shards.numbers.len());
        }
        shards.numbers.entry(shard).or_default().clone()
    }
}

impl Numbered {
    /// The id to send the write with, now.
    pub(crate) fn id(&self) -> WriteId {
        let settled_below = self.row.state.lock().settled_below();
        WriteId { proxy: self.run, sequence: self.sequence, settled_below }
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.row.state.lock().unsettled.remove(&self.sequence);
        self.row.settled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use redkite_types::CollectionId;

    use super::*;

    const SHARD: ShardId = ShardId { collection: CollectionId(1), ordinal: 0 };

    fn numbers(write: &Numbered) -> (u64, u64) {
        (write.id().sequence, write.id().settled_below)
    }

    #[tokio::test]
    async fn writes_are_numbered_by_shard_and_settled_when_dropped() {
        let all = Numbers::new();
        let first = all.number(SHARD, |_| true).await;
        let second = all.number(SHARD, |_| true).await;
        let other = all.number(ShardId { ordinal: 1, ..SHARD }, |_| true).await;
        assert_eq!([numbers(&first), numbers(&second), numbers(&other)], [(0, 0), (1, 0), (0, 0)]);
        drop(first);
        assert_eq!(numbers(&second), (1, 1));
        drop(second);
        assert_eq!(numbers(&all.number(SHARD, |_| true).await), (2, 2));
        assert_ne!(Numbers::new().run, all.run);
    }

    #[tokio::test]
    async fn a_write_waits_for_the_first_that_is_not_settled() {
        let all = Numbers::new();
        let mut writes = Vec::new();
        for _ in 0..MAX_UNSETTLED_WRITES {
            writes.push(all.number(SHARD, |_| true).await);
        }
        let mut late = Box::pin(all.number(SHARD, |_| true));
        let mut later = Box::pin(all.number(SHARD, |_| true));
        assert!((&mut late).now_or_never().is_none() && (&mut later).now_or_never().is_none());
        writes.remove(5);
        assert!((&mut late).now_or_never().is_none(), "the first is not settled");
        drop(writes);
        assert_eq!(late.await.sequence, MAX_UNSETTLED_WRITES);
        assert_eq!(later.await.sequence, MAX_UNSETTLED_WRITES + 1);
    }

    #[tokio::test]
    async fn shards_of_dropped_collections_are_forgotten() {
        let all = Numbers::new();
        let held = all.number(SHARD, |_| true).await;
        for ordinal in 1..=u16::try_from(MANY).unwrap() {
            drop(all.number(ShardId { ordinal, ..SHARD }, |_| false).await);
        }
        assert!(all.shards.lock().numbers.len() <= 2);
        drop(held);
        assert_eq!(all.number(SHARD, |_| true).await.sequence, 1, "numbers are never used twice");
    }
}
