//! Create-if-absent is what fences logs: at most one is told success, nobody is told wrong.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use redkite_storage::{BucketSettings, BucketStore, Error, ObjectStore};
use redkite_test_bucket::Faults;

use crate::world::World;

const RACERS: u8 = 8;

/// Races of several writers, each with a store of its own, for one name. Returns how many did not know.
async fn race(world: &World, rounds: u32, faults: impl Fn(u64) -> Faults) -> usize {
    let mut stores = Vec::new();
    for racer in 0..RACERS {
        stores.push(world.store(&format!("cache-{racer}")).await);
    }
    let mut unknown_in_all = 0;
    for round in 0..rounds {
        world.faults(faults(u64::from(round)));
        let path = format!("race/{round}");
        let racers = stores.iter().zip(0..RACERS).map(|(store, racer)| {
            let path = &path;
            async move { store.create(path, Bytes::from(vec![racer])).await }
        });
        let outcomes = join_all(racers).await;
        world.no_faults();
        let owner = stores[0].get(&path).await.unwrap()[0];
        let mut winners = 0;
        for (racer, outcome) in (0..RACERS).zip(outcomes) {
            match outcome {
                Ok(()) => {
                    winners += 1;
                    assert_eq!(racer, owner, "round {round}: told success, and it is not its object");
                }
                Err(Error::AlreadyExists { .. }) => {
                    assert_ne!(racer, owner, "round {round}: told that its own object is another's");
                }
                Err(error) => {
                    assert!(error.maybe_applied() && !error.retryable(), "round {round}: {error}");
                    unknown_in_all += 1;
                }
            }
        }
        assert!(winners <= 1, "round {round}: {winners} winners");
    }
    unknown_in_all
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creators_wins() {
    let world = World::new().await;
    assert_eq!(race(&world, 100, |_| Faults::default()).await, 0, "nothing was lost, so everybody knows");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_lost_answers_nobody_is_told_wrong() {
    let world = World::new().await;
    let unknown = race(&world, 100, |seed| Faults::lost_answers(seed, 0.4)).await;
    assert!(unknown > 20, "{unknown} lost answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_faults_nobody_is_told_wrong() {
    let world = World::new().await;
    race(&world, 40, |seed| Faults::everything(seed, 0.1)).await;
}

#[tokio::test]
async fn a_lost_answer_is_reported_and_settled_by_reading() {
    let world = World::new().await;
    let settings = BucketSettings { retry_timeout: Duration::from_millis(200), ..world.settings() };
    let store = BucketStore::open(&settings, &world.cache("cache")).await.unwrap();
    world.faults(Faults { methods: vec!["PUT".to_owned()], fail_after: 1.0, ..Faults::default() });
    let error = store.create("a", "mine".into()).await.unwrap_err();
    assert!(error.maybe_applied(), "{error}");
    assert!(error.to_string().contains("unknown whether object a was created: status 500"), "{error}");
    assert_eq!(store.get("a").await.unwrap(), "mine");
}

#[tokio::test]
async fn what_surely_did_nothing_is_tried_again_and_says_so() {
    let world = World::new().await;
    let patient = world.store("patient").await;
    let settings = BucketSettings { retry_timeout: Duration::from_millis(200), ..world.settings() };
    let hasty = BucketStore::open(&settings, &world.cache("hasty")).await.unwrap();
    world.faults(Faults { conflict: 1.0, ..Faults::default() });
    let error = hasty.create("a", "1".into()).await.unwrap_err();
    assert!(!error.maybe_applied() && error.retryable(), "{error}");
    assert!(error.to_string().contains("409 ConditionalRequestConflict"), "{error}");
    world.faults(Faults { seed: 3, conflict: 0.5, ..Faults::default() });
    for at in 0..20 {
        patient.create(&format!("b/{at}"), "1".into()).await.unwrap();
    }
}

#[tokio::test]
async fn no_connection_means_that_nothing_was_created() {
    let world = World::new().await;
    let settings = BucketSettings { retry_timeout: Duration::from_millis(200), ..world.settings() };
    let store = BucketStore::open(&settings, &world.cache("cache")).await.unwrap();
    let address = world.server.address().to_string();
    world.server.stop().await;
    // An answer may be lost on a connection that was open; after that, none can be made.
    _ = store.create("a", "1".into()).await.unwrap_err();
    let error = store.create("a", "1".into()).await.unwrap_err();
    assert!(!error.maybe_applied() && error.retryable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("files/a") && text.contains(&address) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up() {
    let world = World::new().await;
    let settings = BucketSettings {
        request_timeout: Duration::from_millis(100),
        retry_timeout: Duration::from_millis(300),
        ..world.settings()
    };
    let store = BucketStore::open(&settings, &world.cache("cache")).await.unwrap();
    world.faults(Faults { hang: 1.0, ..Faults::default() });
    let error = store.create("a", "1".into()).await.unwrap_err();
    assert!(error.maybe_applied(), "{error}");
    let error = store.get("a").await.unwrap_err();
    assert!(error.retryable() && error.to_string().contains("timed out"), "{error}");
    world.no_faults();
    assert_eq!(store.get("a").await.unwrap(), "1");
}
