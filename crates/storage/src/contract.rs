//! The laws of [`ObjectStore`], as a suite that every implementation runs.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use crate::{Error, ObjectEntry, ObjectStore};

/// Contents of an object that none of the racers made.
const LATE: u8 = 0xff;

/// Runs every law against an empty store.
///
/// # Panics
/// If a law is broken.
pub async fn assert_object_store_contract(store: Arc<dyn ObjectStore>) {
    reads_what_was_put(&*store).await;
    create_has_one_winner(&store).await;
    lists_by_prefix_in_order(&*store).await;
    streamed_objects_appear_at_once(&*store).await;
    deleted_objects_stay_readable(&*store).await;
    bad_names_are_refused(&*store).await;
    concurrent_puts_and_deletes_of_neighbours(&store).await;
    for entry in list(&*store, "").await {
        store.delete(&entry.path).await.expect("delete");
    }
    assert_eq!(list(&*store, "").await, []);
}

async fn list(store: &dyn ObjectStore, prefix: &str) -> Vec<ObjectEntry> {
    store.list(prefix).await.expect("list")
}

async fn names(store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    list(store, prefix).await.into_iter().map(|entry| entry.path).collect()
}

async fn reads_what_was_put(store: &dyn ObjectStore) {
    assert!(matches!(store.get("put/a").await, Err(Error::NotFound { .. })));
    store.put("put/a", Bytes::from_static(b"0123456789")).await.expect("put");
    assert_eq!(store.get("put/a").await.expect("get"), "0123456789");
    assert_eq!(store.get_range("put/a", 3..6).await.expect("range"), "345");
    assert_eq!(store.get_range("put/a", 10..10).await.expect("empty range"), "");
    assert!(matches!(store.get_range("put/a", 8..11).await, Err(Error::OutOfRange { size: 10, .. })));
    assert!(matches!(store.get_range("put/b", 0..1).await, Err(Error::NotFound { .. })));
    store.put("put/a", Bytes::new()).await.expect("replace");
    assert_eq!(store.get("put/a").await.expect("get"), "");
    assert!(matches!(store.get("put").await, Err(Error::NotFound { .. })), "a prefix is no object");
}

async fn create_has_one_winner(store: &Arc<dyn ObjectStore>) {
    for round in 0..8 {
        let path = format!("create/{round}");
        let racers = (0..8_u8).map(|racer| {
            let (store, path) = (store.clone(), path.clone());
            async move { (racer, store.create(&path, Bytes::from(vec![racer])).await) }
        });
        let (mut winners, mut unknown, mut losers) = (Vec::new(), Vec::new(), Vec::new());
        for (racer, result) in join_all(racers).await {
            match result {
                Ok(()) => winners.push(racer),
                Err(Error::AlreadyExists { .. }) => losers.push(racer),
                Err(error) if error.maybe_applied() => unknown.push(racer),
                Err(error) => panic!("{error}"),
            }
        }
        let owner = settled(&**store, &path).await;
        assert!(winners.len() <= 1, "winners of {path}: {winners:?}");
        assert!(!losers.contains(&owner), "{path} belongs to {owner}, who was told that it does not");
        match winners.first() {
            Some(winner) => assert_eq!(*winner, owner, "owner of {path}"),
            // Without a lost answer there is a winner.
            None => assert!(
                (owner == LATE && !unknown.is_empty()) || unknown.contains(&owner),
                "{path} belongs to {owner}, unknown: {unknown:?}"
            ),
        }
    }
}

/// Who made an object; if all answers were lost and it is not there, a late comer makes it.
async fn settled(store: &dyn ObjectStore, path: &str) -> u8 {
    for _ in 0..100 {
        match store.get(path).await {
            Ok(contents) => return contents[0],
            Err(Error::NotFound { .. }) => match store.create(path, Bytes::from_static(&[LATE])).await {
                Ok(()) | Err(Error::AlreadyExists { .. } | Error::Unknown { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{path} can neither be created nor read");
}

async fn lists_by_prefix_in_order(store: &dyn ObjectStore) {
    for name in ["list/b/2", "list/b/1", "list/ab", "list/a", "listing"] {
        store.put(name, Bytes::from_static(b"xyz")).await.expect("put");
    }
    assert_eq!(names(store, "list/").await, ["list/a", "list/ab", "list/b/1", "list/b/2"]);
    assert_eq!(names(store, "list/a").await, ["list/a", "list/ab"]);
    assert_eq!(names(store, "list/b/").await, ["list/b/1", "list/b/2"]);
    assert_eq!(names(store, "list").await.len(), 5);
    assert_eq!(names(store, "lost/").await.len(), 0);
    assert_eq!(store.folders("list/").await.expect("folders"), ["list/b/"]);
    store.put("list/0/1", Bytes::from_static(b"xyz")).await.expect("put");
    store.put("list/b/c/1", Bytes::from_static(b"xyz")).await.expect("put");
    assert_eq!(store.folders("list/").await.expect("folders"), ["list/0/", "list/b/"]);
    assert_eq!(store.folders("list/b/").await.expect("folders"), ["list/b/c/"]);
    assert_eq!(store.folders("lost/").await.expect("folders").len(), 0);
    for name in ["list/0/1", "list/b/c/1"] {
        store.delete(name).await.expect("delete");
    }
    let entries = list(store, "list/a").await;
    assert!(entries.iter().all(|entry| entry.size == 3 && entry.modified_millis > 1_500_000_000_000));
}

async fn streamed_objects_appear_at_once(store: &dyn ObjectStore) {
    let mut writer = store.writer("stream/a").await.expect("writer");
    writer.append(b"one ").expect("append");
    writer.append(b"two").expect("append");
    assert_eq!(writer.written(), 7);
    assert_eq!(names(store, "stream/").await.len(), 0, "visible before publish");
    assert_eq!(store.publish(writer).await.expect("publish"), 7);
    assert_eq!(store.get("stream/a").await.expect("get"), "one two");

    let mut writer = store.writer("stream/b").await.expect("writer");
    writer.append(b"never").expect("append");
    let temporary = writer.temporary().to_owned();
    drop(writer);
    assert!(!temporary.exists(), "an abandoned object leaves no temporary");
    assert_eq!(names(store, "stream/").await, ["stream/a"]);
}

async fn deleted_objects_stay_readable(store: &dyn ObjectStore) {
    assert!(matches!(store.local("gone/a").await, Err(Error::NotFound { .. })));
    store.put("gone/a", Bytes::from_static(b"still here")).await.expect("put");
    let local = store.local("gone/a").await.expect("local");
    store.delete("gone/a").await.expect("delete");
    store.delete("gone/a").await.expect("delete again");
    assert_eq!(local.size(), 10);
    assert_eq!(local.map().expect("map").as_ref(), b"still here");
    assert!(matches!(store.get("gone/a").await, Err(Error::NotFound { .. })));
}

async fn bad_names_are_refused(store: &dyn ObjectStore) {
    for name in ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a b", "a\\b", "ä"] {
        let refused = store.put(name, Bytes::new()).await;
        assert!(matches!(refused, Err(Error::InvalidPath { .. })), "{name:?}: {refused:?}");
    }
}

/// Directories come and go under the objects: neither side may notice.
async fn concurrent_puts_and_deletes_of_neighbours(store: &Arc<dyn ObjectStore>) {
    let work = (0..16_u8).map(|worker| {
        let store = store.clone();
        async move {
            let path = format!("busy/deep/er/{worker}");
            for _ in 0..10 {
                store.put(&path, Bytes::from(vec![worker])).await.expect("put");
                assert_eq!(store.get(&path).await.expect("get"), [worker][..]);
                store.delete(&path).await.expect("delete");
            }
        }
    });
    join_all(work).await;
    assert_eq!(names(&**store, "busy/").await.len(), 0);
}
