//! Two writers on one shard: one of them freezes at any step, and wakes up after the other has taken over.
//!
//! Its later appends are never acknowledged and never seen; whatever of it was acknowledged, the other one
//! sees exactly once and in order. `REDKITE_WAL_SEED` is the first round, `REDKITE_WAL_ROUNDS` their number.

#![expect(clippy::unwrap_used, reason = "a test")]

mod bucket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bucket::{Bucket, Client, Faults};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use rand::rngs::{SmallRng, StdRng};
use rand::{Rng, SeedableRng};
use redkite_runtime::Tasks;
use redkite_types::{CollectionId, Epoch, Lsn, ShardId};
use redkite_wal::{Append, Log, LogProvider, ObjectLogSettings, ObjectLogs, Record, WalError};
use tokio::time::timeout;

const SHARD: ShardId = ShardId { collection: CollectionId(7), ordinal: 1 };
/// Far longer than anything takes, by a clock that jumps.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Records by position.
type Records = BTreeMap<u64, String>;

/// What the old writer did and was told.
#[derive(Default)]
struct Story {
    /// The other one has the log.
    taken_over: bool,
    /// Of each append: its records, and whether the log was taken over already.
    appended: Vec<(Records, bool)>,
    acknowledged: Records,
    late_acknowledgements: usize,
    /// Failed for certain.
    refused: Records,
    truncated: u64,
    opened: bool,
}

fn settings(chance: &mut SmallRng) -> ObjectLogSettings {
    ObjectLogSettings {
        batch_bytes: chance.random_range(1..200),
        max_delay: Duration::from_millis(chance.random_range(0..30)),
        puts_in_flight: chance.random_range(1..9),
        reads_in_flight: chance.random_range(1..5),
        read_ahead_bytes: chance.random_range(1..4000),
        // Longer than any series of faults.
        retry_for: FOR_EVER,
    }
}

fn faults(chance: &mut SmallRng) -> Faults {
    match chance.random_range(0..3) {
        0 => Faults { latency: 1..30, ..Faults::NONE },
        1 => Faults { latency: 1..200, fail: 0.02, lose: 0.02, late: 0.02 },
        _ => Faults::MANY,
    }
}

fn logs(client: &Arc<Client>, chance: &mut SmallRng) -> Arc<ObjectLogs> {
    let writers = StdRng::seed_from_u64(chance.random());
    ObjectLogs::with_writers(client.clone(), settings(chance), writers)
}

async fn read(log: &dyn Log) -> Records {
    let mut records = Records::new();
    let mut expected = log.first_lsn();
    let entries = loop {
        match log.read(expected).collect().await {
            // By the old writer, which wakes up in the middle of it.
            Err(WalError::Truncated { first, .. }) if first > expected => expected = first,
            entries => break entries.unwrap(),
        }
    };
    for entry in entries {
        assert_eq!(entry.lsn, expected, "positions are dense");
        expected = entry.lsn.next();
        records.insert(entry.lsn.0, String::from_utf8(entry.payload.to_vec()).unwrap());
    }
    assert_eq!(log.last_lsn().next(), expected);
    records
}

/// Appends some records of one append.
fn begin(log: &dyn Log, who: &str, chance: &mut SmallRng) -> Result<(Append, Records), WalError> {
    let number: u32 = chance.random();
    let payloads: Vec<String> =
        (0..chance.random_range(1..4)).map(|n| format!("{who} {number} {n}")).collect();
    let append = log.append(payloads.iter().map(|payload| Record::from(payload.clone())).collect())?;
    let records = (append.first.0..).zip(payloads).collect();
    Ok((append, records))
}

/// Works until it fails, or long enough.
async fn old_writer(logs: Arc<ObjectLogs>, story: Arc<Mutex<Story>>, mut chance: SmallRng) {
    let log = match logs.open(SHARD, Epoch(1)).await {
        Ok(log) => log,
        Err(error) => {
            assert!(error.is_fenced() && story.lock().taken_over, "{error}");
            return;
        }
    };
    story.lock().opened = true;
    let mut under_way = FuturesUnordered::new();
    for _ in 0..60 {
        let taken_over = story.lock().taken_over;
        match begin(&*log, "old", &mut chance) {
            Ok((append, records)) => {
                story.lock().appended.push((records.clone(), taken_over));
                under_way.push(async move { (append.await, records, taken_over) });
            }
            Err(error) => {
                assert!(error.is_fenced(), "{error}");
                break;
            }
        }
        match chance.random_range(0..20) {
            0..10 => {}
            10..14 => tokio::time::sleep(Duration::from_millis(chance.random_range(0..100))).await,
            14..19 => settle(under_way.next().await, &story),
            _ => {
                let acknowledged = log.last_lsn().0;
                let through = chance.random_range(0..=acknowledged);
                {
                    let mut story = story.lock();
                    story.truncated = story.truncated.max(through);
                }
                // May be told that it lost the log.
                let _ = log.truncate(Lsn(through)).await;
            }
        }
    }
    while let Some(end) = under_way.next().await {
        settle(Some(end), &story);
    }
}

fn settle(end: Option<(Result<Lsn, WalError>, Records, bool)>, story: &Mutex<Story>) {
    let Some((result, records, late)) = end else { return };
    let mut story = story.lock();
    match result {
        Ok(_) => {
            story.late_acknowledgements += usize::from(late);
            story.acknowledged.extend(records);
        }
        Err(error) => {
            assert!(error.is_fenced() && !error.maybe_applied(), "{error}");
            story.refused.extend(records);
        }
    }
}

/// What a round had in it, to see that the rounds are worth something.
#[derive(Default, Debug)]
struct Seen {
    acknowledged_before: usize,
    acknowledged_after: usize,
    refused: usize,
    late: usize,
    frozen_in_opening: usize,
    truncated: usize,
    stragglers: usize,
}

async fn append_some(log: &dyn Log, count: usize, chance: &mut SmallRng) -> Records {
    let mut all = Records::new();
    let mut appends = Vec::new();
    for _ in 0..count {
        let (append, records) = begin(log, "new", chance).unwrap();
        appends.push(append);
        all.extend(records);
    }
    for append in appends {
        append.await.unwrap();
    }
    all
}

async fn round(seed: u64, seen: &mut Seen) {
    let mut chance = SmallRng::seed_from_u64(seed);
    let chance = &mut chance;
    let world = Bucket::default();
    let story = Arc::new(Mutex::new(Story::default()));
    let tasks = Tasks::new("test");

    let old = world.client(faults(chance), chance.random());
    let same_epoch = chance.random_bool(0.2);
    let lively = chance.random_bool(0.15);
    let step = chance.random_range(1..150);
    if !same_epoch && !lively {
        old.freeze_at(step);
    }
    let (writer, end) =
        (old_writer(logs(&old, chance), story.clone(), SmallRng::seed_from_u64(seed)), Arc::default());
    let ended: Arc<tokio::sync::Notify> = Arc::clone(&end);
    tasks.spawn("old", |_| async move {
        writer.await;
        ended.notify_one();
    });
    if same_epoch || lively {
        // Freezes only after it has opened: of two who open with one epoch, the later one counts.
        while !story.lock().opened {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..300))).await;
    }
    if same_epoch && !lively {
        old.freeze_at(1 + step / 4);
    }
    if !lively {
        // It may have nothing left to do before that step.
        let _ = timeout(Duration::from_secs(20), old.frozen()).await;
        old.freeze();
    }
    let acknowledged_before = story.lock().acknowledged.len();
    seen.frozen_in_opening += usize::from(!story.lock().opened);

    let client = world.client(faults(chance), chance.random());
    let mut epoch = if same_epoch { 1 } else { 2 };
    let mut new = logs(&client, chance).open(SHARD, Epoch(epoch)).await.unwrap();
    story.lock().taken_over = true;
    let mut model = read(&*new).await;
    let taken = model.clone();
    let mut truncated = new.first_lsn().0 - 1;
    let resumes = chance.random_range(0..4);
    for step in 0..4 {
        if step == resumes {
            old.resume();
        }
        let count = chance.random_range(0..6);
        model.extend(append_some(&*new, count, chance).await);
        if chance.random_bool(0.4) {
            let through = chance.random_range(truncated..=new.last_lsn().0);
            new.truncate(Lsn(through)).await.unwrap();
            truncated = new.first_lsn().0 - 1;
            seen.truncated += 1;
        }
        if chance.random_bool(0.2) {
            epoch += u64::from(chance.random_bool(0.5));
            let client = world.client(faults(chance), chance.random());
            new = logs(&client, chance).open(SHARD, Epoch(epoch)).await.unwrap();
        }
    }
    timeout(FOR_EVER, end.notified()).await.expect("the old writer ends");
    model.extend(append_some(&*new, 2, chance).await);
    drop(new);

    // What was late has arrived by now.
    tokio::time::sleep(FOR_EVER).await;
    let client = world.client(Faults::NONE, 0);
    let last = logs(&client, chance).open(SHARD, Epoch(epoch + 1)).await.unwrap();
    let kept = read(&*last).await;
    assert!(
        last.first_lsn().0 <= truncated.max(story.lock().truncated) + 1,
        "no more than asked for is truncated"
    );
    assert_eq!(
        kept,
        model.split_off(&last.first_lsn().0),
        "what the new one saw and wrote, and nothing else"
    );

    let story = story.lock();
    assert_eq!(story.late_acknowledgements, 0, "an append after the log was taken over was acknowledged");
    for (lsn, payload) in &story.acknowledged {
        let there = taken.get(lsn) == Some(payload);
        assert!(there || *lsn <= story.truncated, "{payload:?} was acknowledged at {lsn}, but is lost");
    }
    let old: Records =
        story.appended.iter().filter(|(_, late)| !late).flat_map(|(records, _)| records.clone()).collect();
    for (lsn, payload) in &taken {
        assert_eq!(old.get(lsn), Some(payload), "position {lsn}");
        assert!(story.refused.get(lsn) != Some(payload), "{payload:?} was refused, but is there");
    }
    seen.acknowledged_before += acknowledged_before;
    seen.acknowledged_after += story.acknowledged.len() - acknowledged_before;
    seen.refused += story.refused.len();
    seen.late += story.appended.iter().filter(|(_, late)| *late).count();
    let slots = world.names().len();
    seen.stragglers += usize::from(slots > 20);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Issue "Cluster", must show 3.
#[test]
fn a_writer_that_was_taken_over_is_never_acknowledged_and_never_seen() {
    let first = bucket::number("REDKITE_WAL_SEED", 0);
    let rounds = bucket::number("REDKITE_WAL_ROUNDS", 1000);
    let mut seen = Seen::default();
    for seed in first..first + rounds {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime().block_on(round(seed, &mut seen));
        }));
        assert!(played.is_ok(), "round REDKITE_WAL_SEED={seed} REDKITE_WAL_ROUNDS=1");
    }
    println!("{rounds} rounds: {seen:?}");
    if rounds >= 1000 {
        assert!(seen.acknowledged_before > 0 && seen.acknowledged_after > 0 && seen.refused > 0);
        assert!(seen.late > 0 && seen.frozen_in_opening > 0 && seen.truncated > 0);
    }
}

/// A process that dies at any step, again and again: what was acknowledged is there, in order, and what was not
/// is there up to some record or not at all.
async fn crashes(seed: u64) {
    let mut chance = SmallRng::seed_from_u64(seed);
    let chance = &mut chance;
    let world = Bucket::default();
    // Records from position 1 on; so many of them are acknowledged, and may be forgotten.
    let mut records: Vec<String> = Vec::new();
    let (mut acknowledged, mut truncated, mut epoch) = (0, 0, 1);
    for life in 0..8 {
        let faults = if life == 7 { Faults::NONE } else { faults(chance) };
        let client = world.client(faults, chance.random());
        if life < 7 {
            client.freeze_at(chance.random_range(1..100));
        }
        epoch += u64::from(chance.random_bool(0.5));
        let logs = logs(&client, chance);
        let work = async {
            let log = logs.open(SHARD, Epoch(epoch)).await.unwrap();
            let found = read(&*log).await;
            assert!(log.first_lsn().0 <= truncated + 1 && log.last_lsn().0 >= acknowledged);
            for (lsn, payload) in &found {
                assert_eq!(&records[*lsn as usize - 1], payload, "position {lsn}");
            }
            acknowledged = log.last_lsn().0;
            records.truncate(acknowledged as usize);
            loop {
                let mut appends = Vec::new();
                for _ in 0..chance.random_range(1..10) {
                    let (append, appended) = begin(&*log, "record", chance).unwrap();
                    records.extend(appended.into_values());
                    appends.push(append);
                }
                for append in appends {
                    acknowledged = append.await.unwrap().0;
                }
                if chance.random_bool(0.3) {
                    truncated = truncated.max(chance.random_range(0..=acknowledged));
                    log.truncate(Lsn(truncated)).await.unwrap();
                }
                if records.len() > 400 {
                    break;
                }
            }
        };
        tokio::select! {
            () = client.frozen() => client.kill(),
            () = work => {}
        }
    }
}

#[test]
fn a_log_survives_crashes_at_any_step() {
    let first = bucket::number("REDKITE_WAL_SEED", 0);
    for seed in first..first + bucket::number("REDKITE_WAL_ROUNDS", 300) {
        let played = std::panic::catch_unwind(|| runtime().block_on(crashes(seed)));
        assert!(played.is_ok(), "round REDKITE_WAL_SEED={seed} REDKITE_WAL_ROUNDS=1");
    }
}
