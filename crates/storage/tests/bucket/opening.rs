//! What is found out at start.

use redkite_storage::{BucketSettings, BucketStore, Error};
use redkite_test_bucket::{Faults, Lie};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_breaks_its_word_is_refused_and_told_why() {
    let world = World::new().await;
    world.store("cache").await;
    for (lie, said) in [
        (
            Lie::IgnoresCondition,
            "asked to create an object that exists (PUT with If-None-Match: *), it answered success",
        ),
        (Lie::ReplacesWhatItRefuses, "refused to create an object that exists, and yet replaced it"),
        (Lie::ChecksThenActs, "concurrent creators of one object were told success"),
        (Lie::HidesFromLists, "a list did not show an object after it was written"),
        (Lie::KeepsDeleted, "an object could still be read after it was deleted"),
    ] {
        world.faults(Faults { lie: Some(lie), ..Faults::default() });
        let error = world.open("cache").await.unwrap_err();
        assert!(matches!(error, Error::Unsuitable { .. }) && !error.retryable(), "{lie:?}: {error}");
        let text = error.to_string();
        assert!(text.contains(said) && text.contains("test-bucket at http://127.0.0.1:"), "{lie:?}: {text}");
    }
    world.no_faults();
    world.store("cache").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_service_on_a_bad_network_is_not_refused() {
    let world = World::new().await;
    for seed in 0..10 {
        world.faults(Faults::everything(seed, 0.08));
        world.store("cache").await;
    }
}

#[tokio::test]
async fn the_probe_leaves_nothing() {
    let world = World::new().await;
    world.store("cache").await;
    assert_eq!(world.server.stats().objects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_made_only_if_wanted() {
    let world = World::new().await;
    let settings = BucketSettings { create_bucket: false, ..world.settings() };
    let hasty = BucketSettings { retry_timeout: std::time::Duration::ZERO, ..settings.clone() };
    let error = BucketStore::open(&hasty, &world.cache("cache")).await.unwrap_err();
    assert!(error.retryable() && error.to_string().contains("NoSuchBucket"), "{error}");
    // Several nodes start at the same time.
    let (one, two) = tokio::join!(world.open("one"), world.open("two"));
    one.unwrap();
    two.unwrap();
    BucketStore::open(&settings, &world.cache("cache")).await.unwrap();
}

#[tokio::test]
async fn wrong_keys_and_settings_are_told() {
    let world = World::new().await;
    let open = |change: fn(&mut BucketSettings)| {
        let mut settings = world.settings();
        change(&mut settings);
        let cache = world.cache("cache");
        async move { BucketStore::open(&settings, &cache).await.map(drop).unwrap_err() }
    };
    let error = open(|settings| settings.secret_access_key = "wrong".to_owned()).await;
    assert!(!error.retryable() && error.to_string().contains("403 SignatureDoesNotMatch"), "{error}");
    let error = open(|settings| settings.bucket_name.clear()).await;
    assert!(matches!(error, Error::Settings { key: "minio.bucketName", .. }), "{error}");
    let error = open(|settings| settings.root_path = "../up".to_owned()).await;
    assert!(matches!(error, Error::Settings { key: "minio.rootPath", .. }), "{error}");
    let error = open(|settings| {
        settings.use_ssl = true;
        settings.ssl.ca_certificate = Some("/nowhere/ca.pem".into());
    });
    let error = error.await;
    assert!(error.to_string().contains("minio.ssl.tlsCACert: /nowhere/ca.pem"), "{error}");
    // A service without TLS: the system's authorities are read, the connection fails.
    let error = open(|settings| {
        settings.use_ssl = true;
        settings.retry_timeout = std::time::Duration::ZERO;
    });
    assert!(error.await.to_string().contains("at https://127.0.0.1:"));
}
