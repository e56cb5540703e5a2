//! A node joins, and gets its share.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::environment::{number, seed};
use redkite_tests::players::{Company, Players};

use crate::scene::{PATIENCE, Scene, Stock, bytes, given_up, json, options, spread_percent, spread_rows};

/// B1 and B2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_gets_its_share() {
    async fn run() -> anyhow::Result<()> {
        let rows = spread_rows(90, 80);
        let collections = [Stock::of("still", &rows), Stock::of("single", &[1])];
        let mut scene = Scene::set(2, options(), &collections).await?;
        let company = Company { writers: 2, definers: 0, searchers: false };
        let mut players = Players::enter(&scene.cluster, seed(), company).await?;
        let before = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        eprintln!("before: {}", scene.readers.took_since(before));

        let earlier = scene.moved().await?.len();
        let total: u64 = bytes(&scene.held().await?).values().sum();
        let joined = Instant::now();
        let node = scene.add_node(&[]).await?;
        while !is_settled(&scene, node).await? {
            scene.readers.all_well()?;
            players.all_well()?;
            ensure!(joined.elapsed() < PATIENCE, "it never ends: {}", scene.status().await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = joined.elapsed();
        eprintln!("while moving: {}", scene.readers.took_since(joined));
        let now = bytes(&scene.held().await?);
        let moved = scene.moved().await?.split_off(earlier);
        let moved_bytes: u64 = moved.iter().filter_map(|one| one["bytes"].as_u64()).sum();
        eprintln!(
            "{} moves, {moved_bytes} of {total} B in {took:.1?}, spread {} %: {now:?}",
            moved.len(),
            spread_percent(&now)
        );
        let lost = given_up(&moved);
        ensure!(lost.is_empty(), "moves were given up: {lost:?}");
        ensure!(spread_percent(&now) <= 5, "not even: {now:?}");
        // What the new node needs at least to be as full as the others.
        let optimum = total / 3;
        ensure!(moved_bytes * 10 <= optimum * 11, "{moved_bytes} B moved, {optimum} are needed");

        players.everybody_is_answered(Duration::from_secs(30)).await?;
        players.leave(&scene.cluster).await?;
        scene.quiet().await?;
        let even = scene.moved().await?.len();
        let end = Instant::now() + Duration::from_secs(number("REDKITE_QUIET_SECONDS", 5));
        while Instant::now() < end {
            scene.readers.all_well()?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        ensure!(
            scene.moved().await?.len() == even,
            "moved again: {:?}",
            scene.moved().await?.split_off(even)
        );
        scene.end("a node joins").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

async fn is_settled(scene: &Scene, node: i64) -> anyhow::Result<bool> {
    let state = scene.metastore.get("balance/state").await?;
    let state = state.map(|entry| json(&entry)).transpose()?.unwrap_or_default();
    let settled = state["settled"].as_array().is_some_and(|nodes| nodes.iter().any(|it| *it == node));
    Ok(settled && scene.metastore.range("move/").await?.1.is_empty())
}

/// Shard leaders move to a streaming node that joins, while their collections are read and written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streaming_node_that_joins_gets_its_share() {
    async fn run() -> anyhow::Result<()> {
        let collections = ["a", "b", "c", "d"].map(|name| Stock::of(name, &[300, 200]));
        let mut scene = Scene::set(2, options(), &collections).await?;
        let company = Company { writers: 2, definers: 0, searchers: false };
        let mut players = Players::enter(&scene.cluster, seed(), company).await?;
        let before = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        eprintln!("before: {}", scene.readers.took_since(before));

        let joined = Instant::now();
        let added = scene.cluster.add_with("streamingnode", &[]).await?;
        let node = added.node().context("it has not joined")?;
        while !has_shards(&scene, node).await? {
            scene.readers.all_well()?;
            players.all_well()?;
            ensure!(joined.elapsed() < PATIENCE, "it never ends: {}", scene.status().await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        eprintln!("moved in {:.1?}, meanwhile: {}", joined.elapsed(), scene.readers.took_since(joined));
        let leads = leads(&scene).await?;
        eprintln!("{}", scene.status().await?);
        ensure!(leads.len() == 2 && leads.values().all(|led| led.len() > 1), "not even: {leads:?}");

        players.everybody_is_answered(Duration::from_secs(30)).await?;
        players.leave(&scene.cluster).await?;
        let even = self::leads(&scene).await?;
        let end = Instant::now() + Duration::from_secs(number("REDKITE_QUIET_SECONDS", 5));
        while Instant::now() < end {
            scene.readers.all_well()?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let later = self::leads(&scene).await?;
        ensure!(later == even, "moved again: {even:?}, {later:?}");
        scene.end("a streaming node joins").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Whether a streaming node has had its share.
async fn has_shards(scene: &Scene, node: i64) -> anyhow::Result<bool> {
    let state = scene.metastore.get("balance/state").await?;
    let state = state.map(|entry| json(&entry)).transpose()?.unwrap_or_default();
    Ok(state["leaders"].as_array().is_some_and(|nodes| nodes.iter().any(|it| *it == node)))
}

/// Streaming nodes, with the shards they lead and the number of their assignment.
async fn leads(scene: &Scene) -> anyhow::Result<BTreeMap<i64, Vec<(String, u64)>>> {
    let mut leads: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in scene.metastore.range("shard/").await?.1 {
        let record = json(&entry)?;
        let node = record["node"].as_i64().context("node")?;
        let epoch = record["epoch"].as_u64().context("epoch")?;
        leads.entry(node).or_default().push((entry.key.clone(), epoch));
    }
    Ok(leads)
}
