//! What is written once on the metastore, on etcd: sessions, elections, ids, copies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use parking_lot::Mutex;
use redkite_cluster::kv::{EtcdKv, EtcdSettings, Event, KeyValue, Kv, Txn};
use redkite_cluster::view::{Target, follow};
use redkite_cluster::{Candidate, IdAllocator, LeadershipError, Session, SessionInfo, SessionSettings};
use redkite_runtime::{ManualClock, Tasks};
use tokio::time::timeout;

use crate::relay::{Relay, Wire};
use crate::server::{Etcd, settings};

const PATIENCE: Duration = Duration::from_secs(60);
/// The shortest that etcd grants.
const TTL: SessionSettings = SessionSettings { ttl: 2 };

fn info(id: i64, role: &str) -> SessionInfo {
    SessionInfo { server_id: id, server_name: role.to_owned(), ..SessionInfo::default() }
}

async fn candidate(kv: &Arc<EtcdKv>, id: i64, tasks: &Tasks) -> Candidate {
    let clock = Arc::new(ManualClock::new(0));
    Candidate::start(kv.clone(), info(id, "rootcoord"), &TTL, clock, tasks).await.unwrap()
}

async fn until<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

fn write(value: &str) -> Txn {
    Txn::new().put("written", value.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_told_of_a_lost_lease_and_survives_a_restart_of_etcd() {
    let etcd = Etcd::start();
    let kv = etcd.kv();
    let tasks = Tasks::new("test");
    let session = Session::start(kv.clone(), info(7, "querynode"), &TTL, &tasks).await.unwrap();
    let first = session.current_lease().await.unwrap();
    let entry = kv.get("session/querynode-7").await.unwrap().unwrap();
    assert_eq!(entry.lease, Some(first));
    kv.revoke_lease(first).await.unwrap();
    let mut lease = session.lease();
    let replaced = lease.wait_for(|lease| lease.is_some_and(|lease| lease != first));
    let second = until("registering", replaced).await.unwrap().unwrap();
    assert_eq!(kv.get(session.key()).await.unwrap().unwrap().lease, Some(second));

    etcd.kill();
    etcd.restart();
    session.update(|info| info.stopping = true).await.unwrap();
    let entry = kv.get(session.key()).await.unwrap().unwrap();
    assert!(SessionInfo::from_value("x", &entry.value).unwrap().stopping);
    session.end().await.unwrap();
    assert!(kv.get(session.key()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_incarnation_waits_for_the_old_lease() {
    let etcd = Etcd::start();
    let kv = etcd.kv();
    let tasks = Tasks::new("test");
    let first = Session::start(kv.clone(), info(7, "querynode"), &TTL, &tasks).await.unwrap();
    let old = first.current_lease().await.unwrap();
    drop(first);
    let second =
        until("waiting", Session::start(kv.clone(), info(7, "querynode"), &TTL, &tasks)).await.unwrap();
    let new = second.current_lease().await.unwrap();
    assert_ne!(old, new);
    assert_eq!(kv.get(second.key()).await.unwrap().unwrap().lease, Some(new));
    assert!(kv.keep_alive(old).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_active_and_hands_over_when_it_resigns() {
    let etcd = Etcd::start();
    let kv = etcd.kv();
    let tasks = Tasks::new("test");
    let (one, two) = (candidate(&kv, 1, &tasks).await, candidate(&kv, 2, &tasks).await);
    let first = one.campaign().await.unwrap();
    first.txn(write("one")).await.unwrap();
    let (second, resigned) = tokio::join!(until("handing over", two.campaign()), first.resign());
    let second = second.unwrap();
    resigned.unwrap();
    assert!(second.revision() > first.revision());
    let error = first.txn(write("too late")).await.unwrap_err();
    assert!(matches!(error, LeadershipError::Fenced { .. }), "{error}");
    second.txn(write("two")).await.unwrap();

    kv.delete("session/rootcoord".to_owned()).await.unwrap();
    until("noticing", second.lost()).await;
    assert!(second.txn(write("deposed")).await.is_err());
    assert_eq!(&*kv.get("written").await.unwrap().unwrap().value, b"two");
}

/// The active one is cut off from etcd; when it comes back, it can write nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_is_replaced_and_fenced() {
    let etcd = Etcd::start();
    let relay = Relay::to(etcd.port).await;
    let patience = Duration::from_secs(1);
    let behind =
        EtcdSettings { request_timeout: patience, ..settings(std::slice::from_ref(&relay.endpoint)) };
    let (cut, kv) = (EtcdKv::new(&behind, "by-dev/meta/").unwrap(), etcd.kv());
    let tasks = Tasks::new("test");
    let (one, two) = (candidate(&cut, 1, &tasks).await, candidate(&kv, 2, &tasks).await);
    let first = one.campaign().await.unwrap();
    relay.set(Wire::Cut);
    let second = until("taking over", two.campaign()).await.unwrap();
    until("noticing", first.lost()).await;
    second.txn(write("two")).await.unwrap();
    relay.set(Wire::Whole);
    let error = until("coming back", async {
        loop {
            match first.txn(write("one")).await {
                Err(LeadershipError::Kv(error)) => assert!(error.retryable(), "{error}"),
                other => return other.unwrap_err(),
            }
        }
    });
    assert!(matches!(error.await, LeadershipError::Fenced { .. }));
    assert_eq!(&*kv.get("written").await.unwrap().unwrap().value, b"two");

    second.resign().await.unwrap();
    let third = until("coming back", one.campaign()).await.unwrap();
    third.txn(write("three")).await.unwrap();
    tasks.stop(Duration::from_secs(5)).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_unique_over_allocators_and_rise_across_restarts() {
    let etcd = Etcd::start();
    let clock = Arc::new(ManualClock::new(1_000));
    let allocators: Vec<_> = (0..4).map(|_| IdAllocator::new(etcd.kv(), "test", clock.clone())).collect();
    let takes = (0..200).map(|n| allocators[n % 4].take(10_000));
    let mut firsts = try_join_all(takes).await.unwrap();
    firsts.sort_unstable();
    assert!(firsts.windows(2).all(|pair| pair[0] + 10_000 <= pair[1]), "no id twice");
    etcd.kill();
    etcd.restart();
    clock.set(0);
    let next = IdAllocator::new(etcd.kv(), "test", clock).next().await.unwrap();
    assert!(next >= firsts[199] + 10_000, "also when the clock steps back");
}

#[derive(Default)]
struct Copy {
    entries: Mutex<BTreeMap<String, KeyValue>>,
    resets: Mutex<u32>,
}

impl Target for Copy {
    fn reset(&self, entries: Vec<KeyValue>) {
        *self.resets.lock() += 1;
        *self.entries.lock() = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    }

    fn apply(&self, events: Vec<Event>) {
        let mut entries = self.entries.lock();
        for event in events {
            match event {
                Event::Put(entry) => drop(entries.insert(entry.key.clone(), entry)),
                Event::Delete { key } => drop(entries.remove(&key)),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_follows_through_changes_restarts_and_compaction() {
    let etcd = Etcd::start();
    let relay = Relay::to(etcd.port).await;
    let behind = EtcdKv::new(&settings(std::slice::from_ref(&relay.endpoint)), "by-dev/meta/").unwrap();
    let kv = etcd.kv();
    let tasks = Tasks::new("test");
    kv.put("a/1".to_owned(), Bytes::from("first")).await.unwrap();
    let copy = Arc::new(Copy::default());
    let progress = follow(behind.clone(), "a/", copy.clone(), &tasks).await.unwrap();
    let same = async || {
        let original = behind.range("a/").await.unwrap();
        until("following", progress.wait_for(original.revision)).await;
        assert!(copy.entries.lock().values().eq(&original.entries));
    };
    kv.txn(Txn::new().put("a/2", "second").delete("a/1")).await.unwrap();
    kv.put("elsewhere".to_owned(), Bytes::new()).await.unwrap();
    same().await;
    etcd.kill();
    etcd.restart();
    kv.put("a/3".to_owned(), Bytes::from("after the restart")).await.unwrap();
    same().await;
    assert_eq!(*copy.resets.lock(), 1, "the watch went on by itself");

    relay.set(Wire::Cut);
    for n in 0..10 {
        kv.put(format!("a/{n}"), Bytes::from("while away")).await.unwrap();
    }
    kv.delete("a/2".to_owned()).await.unwrap();
    kv.compact(kv.range("").await.unwrap().revision).await.unwrap();
    relay.set(Wire::Whole);
    same().await;
    assert_eq!(*copy.resets.lock(), 2, "listed again");
    tasks.stop(Duration::from_secs(5)).await;
    relay.stop().await;
}
