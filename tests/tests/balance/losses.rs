//! A query node dies.

use std::time::{Duration, Instant};

use anyhow::ensure;
use redkite_tests::client::Client;

use crate::scene::{PATIENCE, Scene, Stock, options, stock};

const SEGMENTS: [i64; 8] = [1000, 400, 1200, 800, 600, 1000, 700, 900];

/// B4, with two replicas: nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_replicas_the_death_of_a_node_is_not_noticed() {
    async fn run() -> anyhow::Result<()> {
        let mut scene =
            Scene::set(4, options(), &[Stock { replicas: 2, ..Stock::of("twice", &SEGMENTS) }]).await?;
        let begun = Instant::now();
        let node = scene.query_nodes()[0];
        let position = scene.cluster.position(node)?;
        scene.cluster.kill(position).await?;
        while scene.named().await?.iter().any(|(at, _)| *at == node) {
            scene.readers.all_well()?;
            ensure!(begun.elapsed() < PATIENCE, "views still name the dead node");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        eprintln!("replaced after {:.1?}: {}", begun.elapsed(), scene.readers.took_since(begun));
        scene.quiet().await?;
        scene.readers.all_well()?;
        scene.end("two replicas, a node dies").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B4, with one: reads wait or fail until others hold what it held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_replica_a_death_costs_detection_and_reload() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(2, options(), &[]).await?;
        let mut client = Client::connect(scene.cluster.proxies()[0]).await?;
        stock(&mut client, &Stock::of("once", &SEGMENTS)).await?;
        let rows: i64 = SEGMENTS.iter().sum();
        scene.quiet().await?;
        let node = scene.query_nodes()[0];
        let position = scene.cluster.position(node)?;
        let begun = Instant::now();
        scene.cluster.kill(position).await?;
        let (mut longest, mut failed) = (Duration::ZERO, 0);
        let mut whole_since = None;
        while whole_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(2)) {
            let asked = Instant::now();
            match client.count("once", "").await {
                Ok(count) => {
                    ensure!(count == rows, "counted {count} of {rows} rows");
                    whole_since.get_or_insert_with(Instant::now);
                }
                Err(error) => {
                    ensure!(error.code().is_some(), "{error}");
                    (failed, whole_since) = (failed + 1, None);
                }
            }
            longest = longest.max(asked.elapsed());
            ensure!(begun.elapsed() < PATIENCE, "it never recovers");
        }
        let whole = whole_since.map(|since| since - begun).unwrap_or_default();
        eprintln!(
            "one replica: {failed} reads failed, the longest took {longest:.1?}, whole again after {whole:.1?}"
        );
        scene.quiet().await?;
        scene.no_orphans().await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
