//! What callers see while etcd dies, hangs, or cannot be reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redkite_cluster::kv::{Compare, EtcdKv, EtcdSettings, Event, Kv, KvError, Txn, Watch};
use redkite_types::Revision;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::relay::{Relay, Wire};
use crate::server::{Etcd, settings};

const PATIENCE: Duration = Duration::from_secs(120);
const PREFIX: &str = "by-dev/meta/";

fn open(settings: &EtcdSettings) -> Arc<EtcdKv> {
    EtcdKv::new(settings, PREFIX).unwrap()
}

/// Impatient enough for a test, patient enough for a busy machine.
fn impatient(endpoints: &[String]) -> EtcdSettings {
    EtcdSettings {
        request_timeout: Duration::from_secs(3),
        dial_timeout: Duration::from_secs(1),
        ..settings(endpoints)
    }
}

async fn until<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// What became of the values written, by the number in them.
#[derive(Default, Debug)]
struct Written {
    acknowledged: BTreeMap<u64, Revision>,
    unknown: Vec<u64>,
}

/// Writes numbers until told to stop; tells how many were acknowledged.
async fn write(kv: &EtcdKv, stop: watch::Receiver<bool>, done: watch::Sender<usize>) -> Written {
    let mut written = Written::default();
    let mut number = 0;
    while !*stop.borrow() {
        number += 1;
        let txn = Txn::new()
            .put(format!("w/{}", number % 7), number.to_string())
            .put(format!("w/also-{}", number % 3), number.to_string());
        match kv.txn(txn).await {
            Ok(outcome) => {
                written.acknowledged.insert(number, outcome.revision);
                done.send_modify(|done| *done += 1);
            }
            Err(error) if error.maybe_applied() => written.unknown.push(number),
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
    written
}

fn number(event: &Event) -> u64 {
    let Event::Put(entry) = event else { panic!("nothing was deleted: {event:?}") };
    std::str::from_utf8(&entry.value).unwrap().parse().unwrap()
}

/// Reads the watch until it has come to the end, which is told when it is known. Every batch must hold
/// the two puts of one transaction.
async fn read(watch: &mut Watch, mut end: watch::Receiver<Revision>) -> BTreeMap<u64, Revision> {
    let mut seen = BTreeMap::new();
    let mut reached = Revision(0);
    while reached < *end.borrow_and_update() {
        let batch = tokio::select! {
            batch = watch.next() => batch.unwrap(),
            told = end.changed() => {
                told.unwrap();
                continue;
            }
        };
        assert!(batch.revision > reached, "{} after {reached}", batch.revision);
        reached = batch.revision;
        if !batch.events.is_empty() {
            let numbers: Vec<_> = batch.events.iter().map(number).collect();
            assert!(numbers.len() == 2 && numbers[0] == numbers[1], "one whole transaction: {numbers:?}");
            assert_eq!(seen.insert(numbers[0], batch.revision), None, "{} twice", numbers[0]);
        }
    }
    seen
}

fn assert_complete(seen: &BTreeMap<u64, Revision>, written: &Written) {
    for (number, revision) in &written.acknowledged {
        assert_eq!(seen.get(number), Some(revision), "{number} was acknowledged");
    }
    let strange: Vec<_> = seen
        .keys()
        .filter(|number| !written.acknowledged.contains_key(number) && !written.unknown.contains(number))
        .collect();
    assert!(strange.is_empty(), "said to have failed without effect: {strange:?}");
}

/// Follows a writer through `trouble`, which is told how much was acknowledged.
async fn follow_through(
    reader: &EtcdKv,
    writer: &EtcdKv,
    trouble: impl AsyncFnOnce(&mut watch::Receiver<usize>),
) {
    let start = reader.range("").await.unwrap().revision;
    let mut watch = reader.watch("w/", Revision(start.0 + 1)).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let (done, mut progress) = watch::channel(0);
    let (last, end) = watch::channel(Revision(i64::MAX));
    let writing = async {
        let written = write(writer, stopped, done).await;
        last.send_replace(until("listing", revision(writer)).await);
        // The reader waits for it.
        (written, last)
    };
    let troubling = async {
        trouble(&mut progress).await;
        stop.send_replace(true);
    };
    let reading = until("watching", read(&mut watch, end));
    let ((written, _last), (), seen) = tokio::join!(writing, troubling, reading);
    assert!(!written.acknowledged.is_empty());
    assert_complete(&seen, &written);
}

async fn revision(kv: &EtcdKv) -> Revision {
    loop {
        match kv.range("w/").await {
            Ok(range) => return range.revision,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
}

async fn more(progress: &mut watch::Receiver<usize>, count: usize) {
    let wanted = *progress.borrow() + count;
    until("writing", progress.wait_for(|done| *done >= wanted)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_through_restarts_without_gap_or_repetition() {
    let etcd = Etcd::start();
    let (reader, writer) = (etcd.kv(), etcd.kv());
    let restarts = async |progress: &mut watch::Receiver<usize>| {
        for _ in 0..4 {
            more(progress, 50).await;
            etcd.kill();
            etcd.restart();
        }
        more(progress, 50).await;
    };
    follow_through(&reader, &writer, restarts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_through_cut_wires_and_lost_answers() {
    let etcd = Etcd::start();
    let relay = Relay::to(etcd.port).await;
    let settings = impatient(std::slice::from_ref(&relay.endpoint));
    let (reader, writer) = (open(&settings), open(&settings));
    let cuts = async |progress: &mut watch::Receiver<usize>| {
        for wire in [Wire::Cut, Wire::OneWay, Wire::Cut] {
            more(progress, 30).await;
            relay.set(wire);
            // Somebody has noticed when the revision cannot be had.
            let unreachable = open(&settings);
            until("noticing", async { while unreachable.get("x").await.is_ok() {} }).await;
            relay.set(Wire::Cut);
            relay.set(Wire::Whole);
        }
        more(progress, 30).await;
    };
    follow_through(&reader, &writer, cuts).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_survives_the_death_and_the_paralysis_of_members() {
    let members = Etcd::cluster(3);
    let endpoints: Vec<_> = members.iter().map(Etcd::endpoint).collect();
    let (reader, writer) = (open(&impatient(&endpoints)), open(&impatient(&endpoints)));
    let deaths = async |progress: &mut watch::Receiver<usize>| {
        for member in &members {
            more(progress, 30).await;
            member.kill();
            more(progress, 30).await;
            member.restart();
            more(progress, 30).await;
            member.freeze();
            more(progress, 30).await;
            member.thaw();
        }
        more(progress, 30).await;
    };
    follow_through(&reader, &writer, deaths).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_etcd_makes_clear_timeouts_and_comes_back() {
    let etcd = Etcd::start();
    let kv = open(&impatient(&[etcd.endpoint()]));
    kv.put("a".to_owned(), Bytes::from("1")).await.unwrap();
    let lease = kv.grant_lease(Duration::from_secs(3600)).await.unwrap();
    let now = kv.range("").await.unwrap().revision;
    let mut watch = kv.watch("", Revision(now.0 + 1)).await.unwrap();

    etcd.freeze();
    let began = Instant::now();
    let (read, kept, written, listed, watched) = tokio::join!(
        kv.get("a"),
        kv.keep_alive(lease),
        kv.put("b".to_owned(), Bytes::from("2")),
        kv.range(""),
        kv.watch("other/", now),
    );
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let harmless = [read.unwrap_err(), kept.unwrap_err(), listed.unwrap_err(), watched.unwrap_err()];
    for error in harmless {
        assert!(matches!(error, KvError::Unavailable { .. }), "{error:?}");
        assert!(error.retryable() && !error.maybe_applied());
        let text = error.to_string();
        assert!(text.contains(&etcd.endpoint()) && text.contains("within"), "{text}");
    }
    let error = written.unwrap_err();
    assert!(matches!(error, KvError::Unknown { .. }) && error.maybe_applied(), "{error:?}");
    assert!(error.to_string().contains(&etcd.endpoint()), "{error}");

    etcd.thaw();
    kv.put("c".to_owned(), Bytes::from("3")).await.unwrap();
    kv.keep_alive(lease).await.unwrap();
    let mut keys = Vec::new();
    while keys.last().is_none_or(|key| key != "c") {
        let batch = until("watching", watch.next()).await.unwrap();
        keys.extend(batch.events.iter().map(|event| event.key().to_owned()));
    }
    // The write whose answer was lost was applied, as was said to be possible, or not at all.
    assert!(keys == ["c"] || keys == ["b", "c"], "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_not_taken_for_a_failure() {
    let etcd = Etcd::start();
    let relay = Relay::to(etcd.port).await;
    let (kv, direct) = (open(&impatient(std::slice::from_ref(&relay.endpoint))), etcd.kv());
    let lease = kv.grant_lease(Duration::from_secs(3600)).await.unwrap();
    relay.set(Wire::OneWay);
    let create = || Txn::new().when(Compare::absent("once")).put("once", "1");
    let (written, read, revoked) = tokio::join!(kv.txn(create()), kv.get("once"), kv.revoke_lease(lease));
    assert!(written.unwrap_err().maybe_applied());
    assert!(!read.unwrap_err().maybe_applied());
    assert!(revoked.unwrap_err().maybe_applied());
    assert_eq!(&*direct.get("once").await.unwrap().unwrap().value, b"1", "it was applied");

    // The first try cuts the deaf connections; nothing is said to be applied twice.
    relay.set(Wire::Cut);
    relay.set(Wire::Whole);
    assert!(!kv.txn(create()).await.unwrap().committed);
    let error = kv.revoke_lease(lease).await.unwrap_err();
    assert!(matches!(error, KvError::LeaseNotFound { .. }), "{error}");
    let error = kv.keep_alive(lease).await.unwrap_err();
    assert!(matches!(error, KvError::LeaseNotFound { .. }), "{error}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_endpoints_are_named() {
    let etcd = Etcd::start();
    let dead = Etcd::start();
    dead.kill();
    let wrong = [dead.endpoint(), "no-such-host.invalid:2379".to_owned()];
    // Whoever resolves names may take its time.
    let (request_timeout, dial_timeout) = (Duration::from_secs(12), Duration::from_secs(5));
    let kv = open(&EtcdSettings { request_timeout, dial_timeout, ..settings(&wrong) });
    let (read, written, granted, watched) = tokio::join!(
        kv.get("a"),
        kv.put("a".to_owned(), Bytes::new()),
        kv.grant_lease(Duration::from_secs(5)),
        kv.watch("", Revision(1)),
    );
    for error in [read.unwrap_err(), written.unwrap_err(), granted.unwrap_err(), watched.unwrap_err()] {
        assert!(matches!(error, KvError::Unavailable { .. }), "nothing was sent: {error:?}");
        let text = error.to_string();
        assert!(wrong.iter().all(|endpoint| text.contains(endpoint)), "{text}");
        assert!(text.contains("refused"), "{text}");
    }

    // One good endpoint is enough, wherever it stands.
    let kv = open(&settings(&[wrong[0].clone(), wrong[1].clone(), etcd.endpoint()]));
    kv.put("a".to_owned(), Bytes::from("1")).await.unwrap();
    let mut watch = kv.watch("", Revision(1)).await.unwrap();
    assert_eq!(until("watching", watch.next()).await.unwrap().events[0].key(), "a");
    assert!(kv.version().await.unwrap().starts_with("3."));
}
