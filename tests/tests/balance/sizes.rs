//! What counts is what nodes have to hold and to do, in relation to what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::client::Client;
use redkite_tests::environment::number;
use redkite_tests::workload;
use tokio::task::JoinSet;

use crate::scene::{PATIENCE, Scene, Stock, bytes, json, options, spread_percent, spread_rows, stock};

/// B5: one collection has ten times the bytes a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_count_and_not_rows() {
    async fn run() -> anyhow::Result<()> {
        let (few, many) = (spread_rows(40, 40), spread_rows(20, 600));
        let wide = Stock { tag_bytes: 900, ..Stock::of("wide", &few) };
        let thin = Stock { tag_bytes: 10, ..Stock::of("thin", &many) };
        let mut scene = Scene::set(1, options(), &[wide, thin]).await?;
        scene.add_node(&[]).await?;
        scene.quiet().await?;
        let now = bytes(&scene.held().await?);
        ensure!(spread_percent(&now) <= 5, "not even: {now:?}");
        scene.readers.all_well()?;
        scene.end("bytes, not rows").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B12: nodes of 256, 512 and 1024 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unequal_nodes_get_their_share() {
    async fn run() -> anyhow::Result<()> {
        const MIB: u64 = 1 << 20;
        let rows = spread_rows(80, 80);
        let still = Stock::of("still", &rows);
        let small = options().set("queryNode.memoryLimit=256MiB");
        let mut scene = Scene::set(1, small, &[still]).await?;
        let first = scene.query_nodes()[0];
        let second = scene.add_node(&["queryNode.memoryLimit=512MiB"]).await?;
        let third = scene.add_node(&["queryNode.memoryLimit=1GiB"]).await?;
        scene.quiet().await?;
        let limits = BTreeMap::from([(first, 256 * MIB), (second, 512 * MIB), (third, 1024 * MIB)]);
        let held = bytes(&scene.held().await?);
        // In thousand millionths of what each has.
        let levels = held.iter().map(|(node, bytes)| (*node, bytes * 1_000_000_000 / limits[node])).collect();
        // A large segment is a sixth of what the smallest of them should hold.
        ensure!(spread_percent(&levels) <= 15, "not in proportion: {held:?} of {limits:?}");
        scene.readers.all_well()?;
        scene.end("unequal nodes").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B13: many collections of one segment each are spread by what nodes hold of all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_collections_are_spread() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(2, options(), &[]).await?;
        let mut client = workload::connect(scene.cluster.proxies()[0]).await?;
        let collections = number("REDKITE_COLLECTIONS", 24);
        for at in 0..collections {
            let rows = [300 + i64::try_from(at * 7 % 5)? * 20];
            stock(&mut client, &Stock::of(&format!("small_{at}"), &rows)).await?;
        }
        scene.quiet().await?;
        let node = scene.add_node(&[]).await?;
        scene.quiet().await?;
        let held = scene.held().await?;
        let now = bytes(&held);
        eprintln!("{collections} collections: {now:?}");
        // A segment is an eighth of what each of them should hold.
        ensure!(!held[&node].is_empty() && spread_percent(&now) <= 20, "not even: {now:?}");
        for at in 0..collections {
            let count = client.count(&format!("small_{at}"), "").await?;
            ensure!(count == 300 + i64::try_from(at * 7 % 5)? * 20, "small_{at}: {count} rows");
        }
        scene.no_orphans().await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B6: nodes hold the same, but all that is searched is on one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heat_is_spread_too() {
    async fn run() -> anyhow::Result<()> {
        let options = options()
            .set("queryCoord.balanceIntervalSeconds=1")
            .set("queryCoord.cpuUsageMaxDifferencePercentage=3")
            .set("queryCoord.cpuBalanceGoalPercentage=3")
            .set("queryCoord.minimumStaySeconds=5");
        let scene = Scene::set(2, options, &[]).await?;
        let mut client = workload::connect(scene.cluster.proxies()[0]).await?;
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        for name in NAMES {
            // One insert makes one segment.
            stock(&mut client, &Stock { tag_bytes: 900, ..Stock::of(name, &[1000]) }).await?;
        }
        scene.quiet().await?;
        // Two collections on one node become hot.
        let places = places(&scene).await?;
        let first = scene.query_nodes()[0];
        let hot: Vec<i64> =
            places.iter().filter(|(_, node)| **node == first).map(|(id, _)| *id).take(2).collect();
        ensure!(hot.len() == 2, "{places:?}");
        let (mut names, mut busy) = (BTreeSet::new(), JoinSet::new());
        for name in NAMES {
            if hot.contains(&scene.collection(name).await?) {
                names.insert(name);
                for _ in 0..3 {
                    busy.spawn(look_through(scene.cluster.proxies()[0], name));
                }
            }
        }
        let end = Instant::now() + PATIENCE;
        let mut now = self::places(&scene).await?;
        while now[&hot[0]] == now[&hot[1]] {
            if let Some(ended) = busy.try_join_next() {
                ended??;
            }
            ensure!(Instant::now() < end, "{names:?} stay on one node: {}", scene.status().await?);
            tokio::time::sleep(Duration::from_millis(100)).await;
            now = self::places(&scene).await?;
        }
        eprintln!("{}", scene.status().await?);
        let moved = scene.moved().await?;
        ensure!(moved.iter().any(|one| one["reason"] == "uneven_heat"), "no move says why: {moved:?}");
        busy.shutdown().await;
        scene.no_orphans().await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Reads every row, over and over: that is work.
async fn look_through(proxy: SocketAddr, collection: &'static str) -> anyhow::Result<()> {
    let mut client = Client::connect(proxy).await?;
    loop {
        let found = client.count(collection, r#"tag like "%y%""#).await?;
        ensure!(found == 0, "{collection} has {found} such rows");
    }
}

/// The node that answers for each collection of one segment.
async fn places(scene: &Scene) -> anyhow::Result<BTreeMap<i64, i64>> {
    let mut places = BTreeMap::new();
    for entry in scene.metastore.range("view/").await?.1 {
        let shard = entry.key.split('/').nth(1).context("shard")?;
        let collection: i64 = shard.split('-').next().context("collection")?.parse()?;
        let view = json(&entry)?;
        let segments = view["segments"].as_array().context("segments")?;
        ensure!(segments.len() == 1, "collection {collection} has {} segments", segments.len());
        places.insert(collection, segments[0]["node"].as_i64().context("node")?);
    }
    Ok(places)
}
