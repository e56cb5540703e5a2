//! Copies on the node's disk.

use std::sync::Arc;

use futures::future::join_all;
use redkite_runtime::units;
use redkite_storage::{BucketStore, CacheSettings, Error, ObjectStore};
use redkite_test_bucket::Faults;

use crate::world::{World, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_downloaded_once_however_many_ask() {
    let world = World::new().await;
    let (writer, reader) = (world.store("writer").await, Arc::new(world.store("reader").await));
    writer.put("a", pattern(1 << 20)).await.unwrap();
    world.faults(Faults { latency_millis: 20, ..Faults::default() });
    let before = world.server.stats().gets;
    let asked = (0..16).map(|_| {
        let reader = reader.clone();
        async move { reader.local("a").await.unwrap().map().unwrap().as_ref().len() }
    });
    assert_eq!(join_all(asked).await, [1 << 20; 16]);
    assert_eq!(world.server.stats().gets - before, 1);
    assert_eq!(reader.cache_usage().misses, 1);
}

#[tokio::test]
async fn a_restart_finds_the_copies() {
    let world = World::new().await;
    let store = world.store("cache").await;
    store.put("a", pattern(1000)).await.unwrap();
    drop(store.local("a").await.unwrap());
    drop(store);
    let store = world.store("cache").await;
    let before = world.server.stats().gets;
    assert_eq!(store.local("a").await.unwrap().size(), 1000);
    assert_eq!(world.server.stats().gets, before);
    assert_eq!(store.cache_usage().hits, 1);
}

#[tokio::test]
async fn what_was_published_need_not_be_downloaded() {
    let world = World::new().await;
    let store = world.store("cache").await;
    let mut writer = store.writer("a").await.unwrap();
    writer.append(b"contents").unwrap();
    store.publish(writer).await.unwrap();
    let before = world.server.stats().gets;
    assert_eq!(store.local("a").await.unwrap().map().unwrap().as_ref(), b"contents");
    assert_eq!(world.server.stats().gets, before);
}

#[tokio::test]
async fn a_copy_of_another_version_or_of_nothing_is_not_taken() {
    let world = World::new().await;
    let (one, two) = (world.store("one").await, world.store("two").await);
    one.put("a", "first".into()).await.unwrap();
    assert_eq!(two.local("a").await.unwrap().map().unwrap().as_ref(), b"first");
    one.put("a", "other".into()).await.unwrap();
    assert_eq!(two.local("a").await.unwrap().map().unwrap().as_ref(), b"other");
    one.delete("a").await.unwrap();
    assert!(matches!(two.local("a").await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn the_capacity_is_kept_and_what_is_in_use_stays() {
    let world = World::new().await;
    let cache = CacheSettings { capacity: units::Bytes(2500), ..world.cache("small") };
    let store = BucketStore::open(&world.settings(), &cache).await.unwrap();
    for name in ["a", "b", "c", "d"] {
        store.put(name, pattern(1000)).await.unwrap();
    }
    let mapped = store.local("a").await.unwrap().map().unwrap();
    for name in ["b", "c", "d", "b", "c"] {
        store.local(name).await.unwrap();
        assert!(store.cache_usage().bytes <= 2500);
    }
    let before = world.server.stats().gets;
    store.local("a").await.unwrap();
    assert_eq!(world.server.stats().gets, before, "what is mapped is still there");
    assert_eq!(mapped.as_ref(), pattern(1000));
}

#[tokio::test]
async fn an_abandoned_download_leaves_nothing_and_blocks_nobody() {
    let world = World::new().await;
    let store = world.store("cache").await;
    store.put("a", pattern(100_000)).await.unwrap();
    let gets = vec!["GET".to_owned()];
    world.faults(Faults { methods: gets, slow: 1.0, slow_bytes_per_second: 1000, ..Faults::default() });
    let before = world.server.stats().gets;
    {
        let mut asked = std::pin::pin!(store.local("a"));
        while world.server.stats().gets == before {
            assert!(futures::poll!(&mut asked).is_pending());
            tokio::task::yield_now().await;
        }
    }
    world.no_faults();
    assert_eq!(store.local("a").await.unwrap().size(), 100_000);
    assert_eq!(store.cache_usage().reserved, 0);
    assert_eq!(std::fs::read_dir(world.directory.path().join("cache/staging")).unwrap().count(), 0);
}
