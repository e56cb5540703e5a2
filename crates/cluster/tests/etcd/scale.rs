//! What is too large for one answer: listings of many pages, revisions in many parts, long histories.

use bytes::Bytes;
use redkite_cluster::kv::{Kv, Txn};
use redkite_types::Revision;

use crate::server::Etcd;

/// A transaction writes keys of the first and of the last page: a listing must show both or neither.
#[tokio::test]
async fn a_listing_of_many_pages_is_a_snapshot() {
    let etcd = Etcd::start();
    let kv = etcd.kv();
    for block in 0..20 {
        let fill = |txn: Txn, n: usize| txn.put(format!("p/m{:04}", block * 100 + n), vec![b'x'; 9_000]);
        kv.txn((0..100).fold(Txn::new(), fill)).await.unwrap();
    }
    let write = |generation: usize| {
        Txn::new().put("p/a", generation.to_string()).put("p/z", generation.to_string()).delete("p/m0500")
    };
    kv.txn(write(0)).await.unwrap();
    let stop = std::cell::Cell::new(false);
    let writing = async {
        let mut generation = 0;
        while !stop.get() {
            generation += 1;
            kv.txn(write(generation)).await.unwrap();
        }
    };
    let reading = async {
        let mut changed = 0;
        let mut before = None;
        for _ in 0..6 {
            let listed = kv.range("p/").await.unwrap();
            assert_eq!(listed.entries.len(), 2_001);
            assert!(listed.entries.is_sorted_by(|left, right| left.key < right.key));
            let (first, last) = (&listed.entries[0], &listed.entries[2_000]);
            assert_eq!((&*first.key, &*last.key), ("p/a", "p/z"));
            assert_eq!((&first.value, first.mod_revision), (&last.value, last.mod_revision));
            assert!(last.mod_revision <= listed.revision);
            changed += usize::from(before.replace(first.value.clone()) != Some(first.value.clone()));
        }
        assert!(changed > 1, "writers were at work");
        stop.set(true);
    };
    tokio::join!(writing, reading);
}

/// etcd sends such histories in parts that end in the middle of a revision.
#[tokio::test]
async fn large_revisions_arrive_whole() {
    let etcd = Etcd::start();
    let kv = etcd.kv();
    let mut wanted = Vec::new();
    for round in 0..8_u8 {
        let keys = 1 + usize::from(round) % 3;
        let put = |txn: Txn, n: usize| txn.put(format!("big/{n}"), vec![round; 1_500_000 / keys - 100]);
        let outcome = kv.txn((0..keys).fold(Txn::new(), put)).await.unwrap();
        wanted.push((outcome.revision, keys));
    }
    let mut watch = kv.watch("big/", wanted[0].0).await.unwrap();
    for (revision, keys) in wanted {
        let batch = watch.next().await.unwrap();
        assert_eq!((batch.revision, batch.events.len()), (revision, keys));
    }
}

/// More revisions than etcd sends a follower at once.
#[tokio::test]
async fn a_long_history_is_replayed_whole() {
    const WRITES: i64 = 3_000;
    let etcd = Etcd::start();
    let kv = etcd.kv();
    let first = kv.put("h/0".to_owned(), Bytes::new()).await.unwrap();
    let writers = (0..20).map(|writer| {
        let kv = kv.clone();
        async move {
            for n in 0..WRITES / 20 {
                kv.put(format!("h/{}", (writer + n) % 50), Bytes::from(n.to_string())).await.unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
    let mut watch = kv.watch("h/", first).await.unwrap();
    for n in 0..=WRITES {
        let batch = watch.next().await.unwrap();
        assert_eq!((batch.revision, batch.events.len()), (Revision(first.0 + n), 1));
    }
}
