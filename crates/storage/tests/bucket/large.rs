//! Objects of several pieces.

use redkite_storage::{Error, ObjectStore};
use redkite_test_bucket::Faults;

use crate::world::{World, pattern};

const MIB: usize = 1 << 20;

async fn publish(store: &impl ObjectStore, path: &str, contents: &[u8]) -> redkite_storage::Result<u64> {
    let mut writer = store.writer(path).await?;
    writer.append(contents)?;
    store.publish(writer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_size_come_back() {
    let world = World::new().await;
    let (writer, reader) = (world.store("writer").await, world.store("reader").await);
    for size in [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 40 * MIB + 17] {
        let contents = pattern(size);
        assert_eq!(publish(&writer, "large", &contents).await.unwrap(), size as u64);
        assert!(reader.get("large").await.unwrap() == contents, "get of {size}");
        let local = reader.local("large").await.unwrap();
        assert_eq!(local.size(), size as u64);
        assert!(local.map().unwrap().as_ref() == contents, "map of {size}");
    }
    let (from, to) = (5 * MIB - 3, 39 * MIB + 5);
    let range = reader.get_range("large", from as u64..to as u64).await.unwrap();
    assert!(range == pattern(40 * MIB + 17)[from..to]);
    let beyond = reader.get_range("large", 0..41 * MIB as u64).await;
    assert!(matches!(beyond, Err(Error::OutOfRange { size, .. }) if size == (40 * MIB + 17) as u64));
    assert_eq!(world.server.stats().uploads, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_survive_faults() {
    let world = World::new().await;
    let (writer, reader) = (world.store("writer").await, world.store("reader").await);
    let contents = pattern(40 * MIB);
    for seed in 0..3 {
        let faults = Faults::everything(seed, 0.15);
        world.faults(Faults { slow_bytes_per_second: 32 << 20, ..faults });
        let path = format!("large/{seed}");
        publish(&writer, &path, &contents).await.unwrap();
        assert!(reader.local(&path).await.unwrap().map().unwrap().as_ref() == contents);
        assert!(reader.get(&path).await.unwrap() == contents);
        writer.delete(&path).await.unwrap();
        world.no_faults();
    }
    assert_eq!(world.server.stats().objects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_leaves_nothing() {
    let world = World::new().await;
    let settings = redkite_storage::BucketSettings {
        retry_timeout: std::time::Duration::from_millis(100),
        ..world.settings()
    };
    let store = redkite_storage::BucketStore::open(&settings, &world.cache("cache")).await.unwrap();
    world.faults(Faults { methods: vec!["PUT".to_owned()], refuse: 1.0, ..Faults::default() });
    let error = publish(&store, "large", &pattern(20 * MIB)).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(error.to_string().contains("files/large in bucket test-bucket at http://127.0.0.1:"), "{error}");
    let stats = world.server.stats();
    assert_eq!((stats.objects, stats.uploads), (0, 0));
    assert_eq!(std::fs::read_dir(world.directory.path().join("cache/staging")).unwrap().count(), 0);
}
