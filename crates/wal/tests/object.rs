//! Does the log in the object store keep its laws, over a directory and over a bucket that misbehaves?

#![expect(clippy::unwrap_used, reason = "a test")]

mod bucket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bucket::{Bucket, Faults};
use futures::future::{join_all, try_join_all};
use rand::SeedableRng;
use rand::rngs::StdRng;
use redkite_storage::{LocalStore, ObjectStore};
use redkite_types::{CollectionId, Epoch, Lsn, ShardId};
use redkite_wal::contract::{Harness, assert_log_contract};
use redkite_wal::{Log, LogProvider, ObjectLogSettings, ObjectLogs, Record, WalError};
use tokio::time::Instant;

const SHARD: ShardId = ShardId { collection: CollectionId(449), ordinal: 3 };

fn one_record_each() -> ObjectLogSettings {
    ObjectLogSettings { batch_bytes: 1, max_delay: Duration::ZERO, ..ObjectLogSettings::default() }
}

struct InDirectory {
    directory: tempfile::TempDir,
    settings: ObjectLogSettings,
}

#[async_trait]
impl Harness for InDirectory {
    async fn provider(&self) -> Arc<dyn LogProvider> {
        let store = LocalStore::open(self.directory.path()).await.unwrap();
        ObjectLogs::new(Arc::new(store), self.settings.clone())
    }
}

struct InBucket {
    bucket: Bucket,
    faults: Faults,
    settings: ObjectLogSettings,
    seed: AtomicU64,
}

impl InBucket {
    fn new(faults: Faults, settings: ObjectLogSettings, seed: u64) -> Self {
        Self { bucket: Bucket::default(), faults, settings, seed: AtomicU64::new(seed) }
    }

    fn logs(&self) -> Arc<ObjectLogs> {
        let seed = self.seed.fetch_add(1, Ordering::SeqCst);
        let client = self.bucket.client(self.faults.clone(), seed);
        ObjectLogs::with_writers(client, self.settings.clone(), StdRng::seed_from_u64(seed))
    }

    async fn open(&self, epoch: u64) -> Result<Arc<dyn Log>, WalError> {
        self.logs().open(SHARD, Epoch(epoch)).await
    }
}

#[async_trait]
impl Harness for InBucket {
    async fn provider(&self) -> Arc<dyn LogProvider> {
        self.logs()
    }
}

async fn append(log: &dyn Log, payload: &str) -> Lsn {
    log.append(vec![Record::from(payload.to_owned())]).unwrap().await.unwrap()
}

async fn payloads(log: &dyn Log) -> Result<Vec<String>, WalError> {
    let entries = log.read(log.first_lsn()).collect().await?;
    Ok(entries.into_iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect())
}

#[tokio::test]
async fn keeps_the_contract_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    assert_log_contract(&InDirectory { directory, settings: ObjectLogSettings::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract_in_a_bucket() {
    assert_log_contract(&InBucket::new(Faults::NONE, ObjectLogSettings::default(), 0)).await;
    assert_log_contract(&InBucket::new(Faults::NONE, one_record_each(), 0)).await;
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract_in_a_bucket_that_misbehaves() {
    let first = bucket::number("REDKITE_WAL_SEED", 0);
    // A put that arrives after its log was removed leaves an object: no removal can see it coming.
    let faults = Faults { late: 0.0, ..Faults::MANY };
    for seed in first..first + 10 {
        println!("REDKITE_WAL_SEED={seed}");
        assert_log_contract(&InBucket::new(faults.clone(), ObjectLogSettings::default(), seed << 32)).await;
        assert_log_contract(&InBucket::new(faults.clone(), one_record_each(), seed << 32)).await;
    }
}

async fn eight_objects() -> InBucket {
    let world = InBucket::new(Faults::NONE, one_record_each(), 1);
    let log = world.open(1).await.unwrap();
    for n in 1..=4 {
        append(&*log, &n.to_string()).await;
    }
    let log = world.open(2).await.unwrap();
    for n in 5..=8 {
        append(&*log, &n.to_string()).await;
    }
    drop(log);
    // The fence of nobody's term, that of the first, and the records.
    assert_eq!(world.bucket.names().len(), 10);
    world
}

async fn recover(world: &InBucket) -> Result<Vec<String>, WalError> {
    let log = world.open(9).await?;
    payloads(&*log).await
}

#[tokio::test(start_paused = true)]
async fn every_damaged_byte_is_refused_with_its_object() {
    let world = eight_objects().await;
    let objects = world.bucket.objects.lock().clone();
    for (name, bytes) in &objects {
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x10;
            *world.bucket.objects.lock() = objects.clone();
            world.bucket.objects.lock().insert(name.clone(), damaged.into());
            match recover(&world).await.unwrap_err() {
                WalError::Corrupt { file, .. } => assert_eq!(file.to_str().unwrap(), name, "byte {at}"),
                error => panic!("byte {at} of {name}: {error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn missing_and_shortened_objects_are_refused() {
    let world = eight_objects().await;
    let objects = world.bucket.objects.lock().clone();
    let last = objects.keys().next_back().unwrap();
    for (name, bytes) in &objects {
        *world.bucket.objects.lock() = objects.clone();
        world.bucket.objects.lock().remove(name);
        let recovered = recover(&world).await;
        if name == last {
            // Nothing tells of it any more; who knows the position it should have, compares.
            assert_eq!(recovered.unwrap().len(), 7);
        } else {
            let error = recovered.unwrap_err();
            assert!(
                matches!(&error, WalError::Corrupt { file, .. } if file.to_str() == Some(name)),
                "{error}"
            );
        }
        for end in [0, 60, 128, bytes.len() - 1] {
            if end < bytes.len() {
                *world.bucket.objects.lock() = objects.clone();
                world.bucket.objects.lock().insert(name.clone(), bytes.slice(..end));
                let error = recover(&world).await.unwrap_err();
                assert!(
                    matches!(&error, WalError::Corrupt { file, .. } if file.to_str() == Some(name)),
                    "{error}"
                );
            }
        }
    }
    let names: Vec<_> = objects.keys().cloned().collect();
    *world.bucket.objects.lock() = objects.clone();
    let swapped = objects[&names[2]].clone();
    world.bucket.objects.lock().insert(names[3].clone(), swapped);
    let error = recover(&world).await.unwrap_err();
    assert!(error.to_string().contains(&names[2]) && error.to_string().contains(&names[3]), "{error}");
}

/// What is truncated is deleted in the background.
async fn swept(world: &InBucket, left: usize) {
    let deleted = async {
        while world.bucket.names().len() > left {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), deleted).await;
    assert!(in_time.is_ok() && world.bucket.names().len() == left, "{:?}", world.bucket.names());
}

#[tokio::test(start_paused = true)]
async fn truncation_leaves_few_objects() {
    let world = InBucket::new(Faults::NONE, one_record_each(), 1);
    let log = world.open(1).await.unwrap();
    for n in 1..=30 {
        append(&*log, &n.to_string()).await;
    }
    log.truncate(Lsn(15)).await.unwrap();
    assert_eq!(log.first_lsn(), Lsn(16));
    swept(&world, 15 + 2).await;
    let reader = log.read(Lsn(20));
    log.truncate(Lsn(25)).await.unwrap();
    let error = reader.collect().await.unwrap_err();
    assert!(matches!(error, WalError::Truncated { requested: Lsn(20), first: Lsn(26), .. }), "{error}");
    log.truncate(Lsn(30)).await.unwrap();
    swept(&world, 2).await;
    drop(log);

    // A log that was opened anew finds its objects' positions by their headers.
    let log = world.open(2).await.unwrap();
    assert_eq!((log.first_lsn(), log.last_lsn()), (Lsn(31), Lsn(30)));
    for n in 31..=130 {
        append(&*log, &n.to_string()).await;
    }
    drop(log);
    let log = world.open(3).await.unwrap();
    log.truncate(Lsn(77)).await.unwrap();
    assert_eq!(log.first_lsn(), Lsn(78));
    let entries = log.read(Lsn(100)).collect().await.unwrap();
    assert_eq!((entries[0].lsn, entries.len()), (Lsn(100), 31));
    assert_eq!(&entries[0].payload[..], b"100");
}

#[tokio::test(start_paused = true)]
async fn puts_in_flight_hide_latency_and_share_objects() {
    for latency in [1, 20, 50, 100] {
        let faults = Faults { latency: latency / 2..latency / 2 + 1, ..Faults::NONE };
        let world = InBucket::new(faults, ObjectLogSettings::default(), 1);
        let log = world.open(1).await.unwrap();
        let began = Instant::now();
        for n in 0..20 {
            append(&*log, &n.to_string()).await;
        }
        let alone = began.elapsed() / 20;
        assert!(alone <= Duration::from_millis(latency + 5), "{alone:?} at a latency of {latency} ms");
        let began = Instant::now();
        let writers = (0..64).map(async |writer| {
            for n in 0..50 {
                append(&*log, &format!("{writer} {n}")).await;
            }
        });
        let before = world.bucket.names().len();
        join_all(writers).await;
        let (each, objects) = (began.elapsed() / 50, world.bucket.names().len() - before);
        let began = Instant::now();
        let large = bytes::Bytes::from(vec![b'x'; 64 << 10]);
        let many: Vec<_> =
            (0..2048).map(|_| log.append(vec![Record::from(large.clone())]).unwrap()).collect();
        try_join_all(many).await.unwrap();
        let rate = 128.0 / began.elapsed().as_secs_f64();
        println!(
            "store latency {latency:>3} ms: append alone {alone:?}, of 64 writers {each:?} ({objects} objects \
             for 3200 appends), 128 MiB at {rate:.0} MiB/s"
        );
        // What is acknowledged waited for one put, and at most for half of another one or the delay.
        assert!(each <= Duration::from_millis(latency * 2 + 25), "{each:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_objects_are_listed_once_and_read_in_parallel() {
    let world = InBucket::new(Faults { latency: 10..11, ..Faults::NONE }, one_record_each(), 1);
    let log = world.open(1).await.unwrap();
    let appends: Vec<_> =
        (0..3000).map(|n: u32| log.append(vec![Record::from(n.to_string())]).unwrap()).collect();
    try_join_all(appends).await.unwrap();
    drop(log);
    let log = world.open(2).await.unwrap();
    let began = Instant::now();
    assert_eq!(payloads(&*log).await.unwrap(), (0..3000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(began.elapsed() < Duration::from_secs(3000 / 16 * 20 / 1000 + 1), "{:?}", began.elapsed());
}

/// A recovery of many shards at once must not take all memory.
#[tokio::test(start_paused = true)]
async fn large_objects_are_read_few_at_a_time() {
    let settings = ObjectLogSettings { read_ahead_bytes: 1 << 20, ..one_record_each() };
    let world = InBucket::new(Faults { latency: 10..11, ..Faults::NONE }, settings, 1);
    let log = world.open(1).await.unwrap();
    let large = bytes::Bytes::from(vec![b'x'; 300 << 10]);
    let appends = (0..20).map(|_| log.append(vec![Record::from(large.clone())]).unwrap());
    try_join_all(appends).await.unwrap();
    drop(log);
    let client = world.bucket.client(world.faults.clone(), 2);
    let log = ObjectLogs::new(client.clone(), world.settings.clone()).open(SHARD, Epoch(2)).await.unwrap();
    client.most_at_once.store(0, Ordering::SeqCst);
    assert_eq!(log.read(Lsn(1)).collect().await.unwrap().len(), 20);
    assert_eq!(client.most_at_once.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn pieces_are_the_objects_that_a_recovery_reads() {
    let world = InBucket::new(Faults::NONE, one_record_each(), 1);
    let log = world.open(1).await.unwrap();
    assert_eq!(log.pieces_after(Lsn(0)), 0);
    for n in 1..=10 {
        append(&*log, &n.to_string()).await;
        assert_eq!(log.pieces_after(Lsn(0)), n);
    }
    assert_eq!((log.pieces_after(Lsn(4)), log.pieces_after(Lsn(10))), (6, 0));
    log.truncate(Lsn(7)).await.unwrap();
    assert_eq!(log.pieces_after(Lsn(0)), 3);
    drop(log);
    let log = world.open(2).await.unwrap();
    assert_eq!(payloads(&*log).await.unwrap().len(), 3);
    assert_eq!((log.pieces_after(Lsn(0)), log.pieces_after(Lsn(9))), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_poisons_the_log() {
    let world = InBucket::new(Faults::NONE, ObjectLogSettings::default(), 1);
    let client = world.bucket.client(Faults { fail: 1.0, ..Faults::NONE }, 1);
    let error = ObjectLogs::new(client, world.settings.clone()).open(SHARD, Epoch(1)).await.unwrap_err();
    assert!(matches!(error, WalError::Io { .. }), "{error}");

    let client = world.bucket.client(Faults::NONE, 1);
    let settings = ObjectLogSettings { retry_for: Duration::from_secs(1), ..one_record_each() };
    let log = ObjectLogs::new(client.clone(), settings).open(SHARD, Epoch(1)).await.unwrap();
    append(&*log, "good").await;
    client.break_down();
    let ends: Vec<_> = (0..20).map(|_| log.append(vec![Record::from("lost")]).unwrap()).collect();
    for end in join_all(ends).await {
        assert!(end.as_ref().is_err_and(WalError::maybe_applied), "{end:?}");
    }
    let refused = log.append(vec![Record::from("late")]);
    assert!(matches!(refused, Err(WalError::Poisoned { .. })), "{refused:?}");
    assert_eq!(log.last_lsn(), Lsn(1));
}

/// The old leader does not know that it is deposed, and fills slots faster than one at a time can be fenced.
#[tokio::test(start_paused = true)]
async fn a_writer_at_full_speed_is_overtaken() {
    for seed in 0..20 {
        let world = InBucket::new(Faults { latency: 5..25, ..Faults::NONE }, one_record_each(), seed << 32);
        let old = world.open(1).await.unwrap();
        let keep_writing = async {
            let mut acknowledged = 0;
            loop {
                let appends = (0..64).map(|_| old.append(vec![Record::from("old")]));
                let Ok(appends) = appends.collect::<Result<Vec<_>, _>>() else { return acknowledged };
                for append in appends {
                    match append.await {
                        Ok(_) => acknowledged += 1,
                        Err(error) => assert!(error.is_fenced(), "{error}"),
                    }
                }
            }
        };
        let take_over = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let began = Instant::now();
            let new = world.open(2).await.unwrap();
            (new, began.elapsed())
        };
        let (acknowledged, (new, elapsed)) = tokio::join!(keep_writing, take_over);
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        let seen = payloads(&*new).await.unwrap().len();
        assert!(seen >= acknowledged && acknowledged > 0, "{acknowledged} acknowledged, {seen} seen");
        append(&*new, "new").await;
    }
}

/// Whoever opens last may append; a log opened by many at once is still one log.
#[tokio::test(start_paused = true)]
async fn many_who_open_at_once_leave_one_writer() {
    for seed in 0..50 {
        let faults = Faults { latency: 1..60, fail: 0.05, lose: 0.05, late: 0.05 };
        let world = InBucket::new(faults, one_record_each(), seed << 32);
        let logs = join_all((0..6).map(|_| world.open(1))).await;
        let ends = logs.iter().map(async |log| {
            let log = log.as_ref().unwrap();
            log.append(vec![Record::from("mine")]).unwrap().await
        });
        let ends = join_all(ends).await;
        let acknowledged = ends.iter().filter(|end| end.is_ok()).count();
        for end in ends {
            assert!(end.as_ref().err().is_none_or(WalError::is_fenced), "{end:?}");
        }
        assert_eq!(acknowledged, 1);
        assert_eq!(recover(&world).await.unwrap(), ["mine"]);
    }
}

#[tokio::test]
async fn names_of_other_objects_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::open(directory.path()).await.unwrap());
    let logs = ObjectLogs::new(store.clone(), ObjectLogSettings::default());
    let log = logs.open(SHARD, Epoch(1)).await.unwrap();
    append(&*log, "one").await;
    store.put("wal/449-3/notes", "x".into()).await.unwrap();
    store.put("wal/notes", "x".into()).await.unwrap();
    assert_eq!(logs.list().await.unwrap(), [SHARD]);
    let log = logs.open(SHARD, Epoch(1)).await.unwrap();
    assert_eq!(payloads(&*log).await.unwrap(), ["one"]);
}
