//! kill -9 at any moment: acknowledged writes are there, none twice, nothing half made.
//!
//! `REDKITE_MODEL_SECONDS` says for how long the random test runs, `REDKITE_MODEL_SEED` repeats one.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redkite_tests::client::{CallError, Client, Row};
use redkite_tests::environment::{number, seed};
use redkite_tests::server::{Options, Server};
use redkite_tests::workload::{self, Stopped, Writer};
use tokio::task::JoinSet;

const WRITERS: i64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_work_and_random_kills_agree_with_the_model() {
    let (seconds, seed) = (number("REDKITE_MODEL_SECONDS", 40), seed());
    eprintln!("REDKITE_MODEL_SECONDS={seconds}");
    let mut random = SmallRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &Options::busy()).await.unwrap();
    let mut client = workload::connect(server.address).await.unwrap();
    let mut writers = Vec::new();
    for shards in [1, 2] {
        let collection = format!("model_{shards}");
        workload::prepare(&mut client, &collection, shards).await.unwrap();
        writers.extend((0..WRITERS).map(|number| Writer::new(&collection, number, shards, seed)));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    while Instant::now() < end {
        let address = server.address;
        let mut at_work = JoinSet::new();
        for mut writer in writers.drain(..) {
            at_work.spawn(async move {
                let stopped = writer.work(address, u64::MAX).await;
                (writer, stopped)
            });
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(50..4000))).await;
        server.kill().await.unwrap();
        kills += 1;
        for (writer, stopped) in at_work.join_all().await {
            assert_eq!(stopped.unwrap_or_else(|error| panic!("seed {seed}: {error:#}")), Stopped::ServerGone);
            writers.push(writer);
        }
        server = Server::start(directory.path(), &Options::busy()).await.unwrap();
    }
    let mut client = workload::connect(server.address).await.unwrap();
    for writer in &mut writers {
        writer.check(&mut client).await.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    }
    let operations: u64 = writers.iter().map(Writer::operations).sum();
    assert!(operations > 0, "no operation was ever acknowledged");
    eprintln!("{operations} operations, {kills} kills, no difference");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_are_made_and_dropped_wholly() {
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &Options::busy()).await.unwrap();
    // What must be there, and the one collection of which both is allowed.
    let mut expected: Vec<String> = Vec::new();
    let mut next = 0;
    for _ in 0..5 {
        let mut client = workload::connect(server.address).await.unwrap();
        let kill = tokio::time::sleep(Duration::from_millis(random.random_range(20..600)));
        tokio::pin!(kill);
        let open = loop {
            let create = expected.len() < 3 || random.random_bool(0.5);
            let name = if create { format!("made_{next}") } else { expected[0].clone() };
            next += i32::from(create);
            let outcome = tokio::select! {
                () = &mut kill => break name,
                outcome = make_or_drop(&mut client, create, &name) => outcome,
            };
            outcome.unwrap_or_else(|error| panic!("seed {seed}: {name}: {error}"));
            if create { expected.push(name) } else { expected.retain(|one| *one != name) }
        };
        server.kill().await.unwrap();
        server = Server::start(directory.path(), &Options::busy()).await.unwrap();
        let mut client = workload::connect(server.address).await.unwrap();
        let mut found = client.collections().await.unwrap();
        found.sort();
        expected.retain(|one| *one != open);
        if found.contains(&open) {
            expected.push(open.clone());
        }
        expected.sort();
        assert_eq!(found, expected, "seed {seed}, open command on {open}");
        for name in &found {
            usable(&mut client, name).await.unwrap_or_else(|error| panic!("seed {seed}: {name}: {error}"));
        }
    }
}

async fn make_or_drop(client: &mut Client, create: bool, name: &str) -> Result<(), CallError> {
    if create { client.create_collection(name, 1).await } else { client.drop_collection(name).await }
}

/// A collection that exists takes rows and gives them back.
async fn usable(client: &mut Client, name: &str) -> Result<(), CallError> {
    let row = Row { id: 1, version: 1, tag: "there".to_owned() };
    client.upsert(name, std::slice::from_ref(&row)).await?;
    client.create_index(name).await?;
    client.load(name).await?;
    assert_eq!(client.query(name, "id == 1").await?, [row]);
    Ok(())
}
