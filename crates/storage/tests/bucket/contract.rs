use std::sync::Arc;

use redkite_storage::contract::assert_object_store_contract;
use redkite_storage::{BucketSettings, BucketStore, ObjectStore};
use redkite_test_bucket::Faults;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let world = World::new().await;
    assert_object_store_contract(Arc::new(world.store("cache").await)).await;
    let stats = world.server.stats();
    assert_eq!((stats.objects, stats.bytes, stats.uploads), (0, 0, 0), "left in the bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_with_short_pages_and_no_root() {
    let world = World::new().await;
    let settings = BucketSettings { root_path: String::new(), list_objects_max_keys: 2, ..world.settings() };
    let store = BucketStore::open(&settings, &world.cache("cache")).await.unwrap();
    assert_object_store_contract(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_under_faults() {
    let world = World::new().await;
    for seed in 0..3 {
        let store = world.store(&format!("cache-{seed}")).await;
        world.faults(Faults::everything(seed, 0.07));
        assert_object_store_contract(Arc::new(store)).await;
        assert!(world.server.stats().faults > 10, "nothing went wrong");
        world.no_faults();
    }
}

#[tokio::test]
async fn roots_keep_clusters_apart() {
    let world = World::new().await;
    let (one, two) =
        (world.settings(), BucketSettings { root_path: "files2".to_owned(), ..world.settings() });
    let one = BucketStore::open(&one, &world.cache("one")).await.unwrap();
    let two = BucketStore::open(&two, &world.cache("two")).await.unwrap();
    one.put("a", "1".into()).await.unwrap();
    assert!(two.list("").await.unwrap().is_empty());
    two.create("a", "2".into()).await.unwrap();
    assert_eq!(one.list("").await.unwrap().len(), 1);
    assert_eq!(one.get("a").await.unwrap(), "1");
}
