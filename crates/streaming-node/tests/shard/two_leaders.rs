//! Two leaders of one shard. The log of the old one freezes in the middle of whatever it does, the new one
//! takes over, the old one wakes up. Writers repeat under the same ids, at whoever leads, until they are
//! answered: every write is applied exactly once, and nothing that only the old one was told afterwards
//! is acknowledged or seen.
//!
//! `REDKITE_LEADERS_SEED` is the first round, `REDKITE_LEADERS_ROUNDS` their number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use rand::rngs::{SmallRng, StdRng};
use rand::{Rng, SeedableRng};
use redkite_runtime::units::Bytes;
use redkite_service::{Consistency, Retry, Shard, WriteAck, WriteId, WriteOp, WriteRequest};
use redkite_streaming_node::{StreamingNode, StreamingNodeSettings};
use redkite_types::{Epoch, NodeId, PrimaryKeys, ProxyRun};
use redkite_wal::{ObjectLogSettings, ObjectLogs};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::bucket::{self, Bucket, Client, Faults};
use crate::world::{Logs, PARTITION, SHARD, World, all, count, request, rows, settings};

/// Far longer than a round takes.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: i64 = 4;

type Leader = Arc<StreamingNode>;

fn logs(client: &Arc<Client>, chance: &mut SmallRng) -> Arc<ObjectLogs> {
    let settings = ObjectLogSettings {
        batch_bytes: chance.random_range(1..2000),
        max_delay: Duration::from_millis(chance.random_range(0..3)),
        puts_in_flight: chance.random_range(1..6),
        reads_in_flight: chance.random_range(1..5),
        read_ahead_bytes: chance.random_range(1..4000),
        retry_for: PATIENCE,
    };
    ObjectLogs::with_writers(client.clone(), settings, StdRng::seed_from_u64(chance.random()))
}

fn faults(chance: &mut SmallRng) -> Faults {
    match chance.random_range(0..3) {
        0 => Faults { latency: 0..1, ..Faults::NONE },
        1 => Faults { latency: 0..3, ..Faults::NONE },
        _ => Faults { latency: 0..4, fail: 0.02, lose: 0.03, late: 0.02 },
    }
}

/// One client of a proxy: it writes to keys of its own, one write after the other.
struct Writer {
    number: i64,
    chance: SmallRng,
    sequence: u64,
    /// What is acknowledged.
    rows: BTreeMap<i64, i64>,
    repeated: usize,
}

impl Writer {
    fn next(&mut self) -> WriteRequest {
        let known = self.rows.keys().nth(self.chance.random_range(0..self.rows.len().max(1))).copied();
        let new = self.number * 1_000_000 + i64::try_from(self.sequence).unwrap();
        let value = new;
        let op = match (self.chance.random_range(0..10), known) {
            (0..2, Some(key)) => {
                self.rows.remove(&key);
                WriteOp::Delete { partition: None, keys: PrimaryKeys::Int64(vec![key]) }
            }
            (2..5, Some(key)) => {
                self.rows.insert(key, value);
                WriteOp::Upsert(vec![(PARTITION, rows(&[key], value))])
            }
            // Applied twice, it is counted twice.
            _ => {
                self.rows.insert(new, value);
                WriteOp::Insert(vec![(PARTITION, rows(&[new], value))])
            }
        };
        let proxy = ProxyRun(u64::try_from(self.number).unwrap());
        let id = WriteId { proxy, sequence: self.sequence, settled_below: self.sequence };
        self.sequence += 1;
        WriteRequest { id, ..request(op) }
    }

    /// Writes until told to end, everything until it is answered.
    async fn work(mut self, mut leader: watch::Receiver<Leader>, end: &AtomicBool) -> Self {
        while !end.load(Ordering::SeqCst) {
            let write = self.next();
            let written = timeout(PATIENCE, self.insist(&mut leader, &write)).await;
            written.unwrap_or_else(|_| panic!("write {:?} was not answered", write.id));
        }
        self
    }

    async fn insist(&mut self, leader: &mut watch::Receiver<Leader>, write: &WriteRequest) -> WriteAck {
        loop {
            let present = leader.borrow_and_update().clone();
            tokio::select! {
                answer = present.write(write.clone()) => match answer {
                    Ok(ack) => return ack,
                    Err(error) => assert_ne!(error.retry(), Retry::No, "{error}"),
                },
                _ = leader.changed() => {}
            }
            self.repeated += 1;
            let _ = timeout(Duration::from_millis(2), leader.changed()).await;
        }
    }
}

/// What the rounds had in them, to see that they are worth something.
#[derive(Default, Debug)]
struct Seen {
    writes: u64,
    repeated: usize,
    frozen: usize,
    late: usize,
    hung: usize,
    flushed: usize,
}

async fn flush_now_and_then(world: &World, leader: &watch::Receiver<Leader>, seed: u64, end: &AtomicBool) {
    let mut chance = SmallRng::seed_from_u64(seed);
    while !end.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(chance.random_range(1..30))).await;
        let present = leader.borrow().clone();
        // A frozen leader does not answer.
        let _ = timeout(Duration::from_millis(20), present.flush(SHARD)).await;
        let publish = world.ground.publish(&world.holder, &present, SHARD);
        let _ = timeout(Duration::from_millis(20), publish).await;
    }
}

async fn check(world: &World, leader: &Leader, expected: &BTreeMap<i64, i64>) {
    while world.ground.publish(&world.holder, leader, SHARD).await {}
    assert_eq!(&all(leader, Consistency::Strong).await, expected);
    assert_eq!(count(leader).await.unwrap(), expected.len() as u64, "a write was applied twice");
}

async fn round(seed: u64, seen: &mut Seen) {
    let mut chance = SmallRng::seed_from_u64(seed);
    let chance = &mut chance;
    let small = StreamingNodeSettings { seal_bytes: Bytes(4 << 10), ..settings() };
    let world = World::without_leader(Logs::Objects, small).await;
    let bucket = Bucket::default();
    let frozen = bucket.client(faults(chance), chance.random());
    let (old, following) = world.another_that_can_hang(NodeId(3), logs(&frozen, chance), None).await;
    world.assign(NodeId(3), Epoch(1)).await;
    let leader = watch::Sender::new(old.clone());
    let end = AtomicBool::new(false);
    let late_ends = AtomicUsize::new(0);

    let writers = (1..=WRITERS).map(|number| Writer {
        number,
        chance: SmallRng::seed_from_u64(chance.random()),
        sequence: 0,
        rows: BTreeMap::new(),
        repeated: 0,
    });
    let writers: Vec<_> = writers.collect();
    let work = join_all(writers.into_iter().map(|writer| writer.work(leader.subscribe(), &end)));
    let flushes = leader.subscribe();
    let flush = flush_now_and_then(&world, &flushes, chance.random(), &end);

    let (frozen_after, pause, go_on) = (
        chance.random_range(1..400),
        Duration::from_millis(chance.random_range(0..40)),
        Duration::from_millis(chance.random_range(0..60)),
    );
    let hangs = chance.random_bool(0.5);
    let new_logs = {
        let client = bucket.client(faults(chance), chance.random());
        logs(&client, chance)
    };
    let take_over = async {
        frozen.freeze_at(frozen_after);
        if timeout(Duration::from_millis(300), frozen.frozen()).await.is_err() {
            frozen.freeze();
        }
        if hangs {
            following.stop(PATIENCE).await;
        }
        let new = world.another(NodeId(2), new_logs);
        world.assign(NodeId(2), Epoch(2)).await;
        // From here on writers repeat at the new one, also what the old one has in its hands.
        leader.send_replace(new.clone());
        // Loaded before it is read: rows that the old one made files of are nobody's at first.
        world.ground.publish(&world.holder, &new, SHARD).await;
        timeout(PATIENCE, count(&new)).await.expect("the new one takes over").unwrap();
        let late = join_all((0..20).map(async |n| {
            let id = WriteId { proxy: ProxyRun(99), sequence: n, settled_below: 0 };
            let key = -1 - i64::try_from(n).unwrap();
            let op = WriteOp::Insert(vec![(PARTITION, rows(&[key], 0))]);
            let end = timeout(PATIENCE, old.write(WriteRequest { id, ..request(op) })).await;
            let end = end.expect("the old one answers when it has woken up");
            assert!(end.is_err(), "acknowledged after the log was taken over: {end:?}");
            late_ends.fetch_add(1, Ordering::SeqCst);
        }));
        let wake = async {
            sleep(pause).await;
            frozen.resume();
        };
        join(late, wake).await;
        sleep(go_on).await;
        end.store(true, Ordering::SeqCst);
        new
    };
    let (writers, (), new) = tokio::join!(work, flush, take_over);

    let expected: BTreeMap<i64, i64> = writers.iter().flat_map(|writer| writer.rows.clone()).collect();
    check(&world, &new, &expected).await;
    seen.writes += writers.iter().map(|writer| writer.sequence).sum::<u64>();
    seen.repeated += writers.iter().map(|writer| writer.repeated).sum::<usize>();
    seen.frozen += usize::from(frozen_after < 400);
    seen.late += late_ends.load(Ordering::SeqCst);
    seen.hung += usize::from(hangs);
    seen.flushed += world.ground.flushed(SHARD).len();

    old.stop().await;
    new.stop().await;
    let client = bucket.client(Faults::NONE, 0);
    let third = world.another(NodeId(4), logs(&client, chance));
    world.assign(NodeId(4), Epoch(3)).await;
    check(&world, &third, &expected).await;
    third.stop().await;
    world.stop().await;
}

#[test]
fn every_write_is_applied_once_through_a_change_of_leaders() {
    let first = bucket::number("REDKITE_LEADERS_SEED", 0);
    let rounds = bucket::number("REDKITE_LEADERS_ROUNDS", 30);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut seen = Seen::default();
    for seed in first..first + rounds {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                timeout(2 * PATIENCE, round(seed, &mut seen)).await.expect("a round ends");
            });
        }));
        assert!(played.is_ok(), "round REDKITE_LEADERS_SEED={seed} REDKITE_LEADERS_ROUNDS=1");
    }
    println!("{rounds} rounds: {seen:?}");
    assert!(rounds < 10 || (seen.repeated > 0 && seen.late > 0 && seen.hung > 0 && seen.flushed > 0));
}
