//! A second opinion: `moto` plays S3. `make moto` starts it and runs these.

use std::sync::Arc;

use redkite_storage::contract::assert_object_store_contract;
use redkite_storage::{BucketSettings, BucketStore, CacheSettings, ObjectStore};

use crate::world::{pattern, settings};

async fn store(directory: &tempfile::TempDir, bucket: &str) -> BucketStore {
    let address = std::env::var("MOTO_ADDRESS").expect("MOTO_ADDRESS tells where moto listens");
    let settings = BucketSettings { bucket_name: bucket.to_owned(), ..settings(&address) };
    let cache = CacheSettings { path: directory.path().join("cache"), ..CacheSettings::default() };
    BucketStore::open(&settings, &cache).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: make moto"]
async fn moto_agrees_on_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    assert_object_store_contract(Arc::new(store(&directory, "contract").await)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: make moto"]
async fn moto_agrees_on_large_objects() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, "large").await;
    let contents = pattern(20 << 20);
    let mut writer = store.writer("large").await.unwrap();
    writer.append(&contents).unwrap();
    store.publish(writer).await.unwrap();
    assert!(store.get("large").await.unwrap() == contents);
    assert!(store.get_range("large", 5..17_000_000).await.unwrap() == contents[5..17_000_000]);
    store.delete("large").await.unwrap();
}
