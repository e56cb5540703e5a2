//! Somebody dies, or refuses, while segments move.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::environment::{number, seed};
use redkite_tests::metastore::COORDINATORS;
use redkite_tests::players::{Company, Players};

use crate::scene::{PATIENCE, Scene, Stock, given_up, options, spread_rows};

const SEGMENTS: [i64; 10] = [1000, 400, 1200, 800, 600, 1000, 700, 900, 500, 1100];
/// Every piece of a file takes so long on its way to a slow node.
const SLOW: &str = "bucket::before-copy-write=sleep(150)";

/// Waits until something moves to a node.
async fn moves_to(scene: &mut Scene, node: i64) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        scene.readers.all_well()?;
        let moves = scene.metastore.range("move/").await?.1;
        let moves: Vec<_> = moves.iter().map(crate::scene::json).collect::<anyhow::Result<_>>()?;
        if moves.iter().any(|one| one["to"] == node) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "nothing moves to node {node}: {}", scene.status().await?);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// B7: nodes come and go while rows are inserted, changed and deleted, and segments flushed and merged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go_while_everything_changes() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(2, options(), &[Stock::of("still", &SEGMENTS)]).await?;
        let mut players = Players::enter(&scene.cluster, seed(), Company::READ_AND_WRITE).await?;
        for _ in 0..number("REDKITE_ROUNDS", 2) {
            let node = scene.add_node(&[]).await?;
            moves_to(&mut scene, node).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            players.everybody_is_answered(Duration::from_secs(30)).await?;
            // The oldest goes, while perhaps something moves from it still.
            let oldest = scene.cluster.with_role("querynode")[0];
            scene.cluster.leave(oldest).await?;
            players.everybody_is_answered(Duration::from_secs(30)).await?;
            scene.readers.all_well()?;
        }
        players.leave(&scene.cluster).await?;
        scene.end("nodes come and go").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_outlive_the_coordinator() {
    async fn run() -> anyhow::Result<()> {
        // One after the other, so that there is always one to come.
        let (rows, one_by_one) = (spread_rows(40, 80), options().set("queryCoord.movesPerNode=1"));
        let mut scene = Scene::set(2, one_by_one, &[Stock::of("still", &rows)]).await?;
        scene.cluster.add("mixcoord").await?;
        let node = scene.cluster.add_doomed("querynode", SLOW).await?.node().context("it has not joined")?;
        for _ in 0..number("REDKITE_FAILOVERS", 2) {
            moves_to(&mut scene, node).await?;
            let active = scene.metastore.active_after(COORDINATORS[2], 0).await?;
            let position = scene.cluster.position(active.node)?;
            scene.cluster.kill(position).await?;
            scene.metastore.active_after(COORDINATORS[2], active.revision).await?;
            scene.cluster.add("mixcoord").await?;
        }
        scene.quiet().await?;
        let moved = scene.moved().await?;
        let lost = given_up(&moved);
        ensure!(lost.is_empty(), "moves were given up: {lost:?}");
        ensure!(!scene.held().await?[&node].is_empty(), "the new node holds nothing");
        scene.readers.all_well()?;
        scene.end("failovers in the middle of moves").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B14: a coordinator that was replaced while it was frozen moves nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_two_balancers() {
    async fn run() -> anyhow::Result<()> {
        let (rows, one_by_one) = (spread_rows(40, 80), options().set("queryCoord.movesPerNode=1"));
        let mut scene = Scene::set(2, one_by_one, &[Stock::of("still", &rows)]).await?;
        scene.cluster.add("mixcoord").await?;
        let node = scene.cluster.add_doomed("querynode", SLOW).await?.node().context("it has not joined")?;
        moves_to(&mut scene, node).await?;
        let before = scene.metastore.active_after(COORDINATORS[2], 0).await?;
        let frozen = scene.cluster.position(before.node)?;
        scene.cluster.pause(frozen)?;
        scene.metastore.active_after(COORDINATORS[2], before.revision).await?;
        // From now on every move would be one that the frozen one has planned.
        scene.cluster.ctl(&["balance", "suspend"]).await?;
        let end = Instant::now() + PATIENCE;
        while !scene.metastore.range("move/").await?.1.is_empty() {
            scene.readers.all_well()?;
            ensure!(Instant::now() < end, "moves do not end: {}", scene.status().await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ended = scene.moved().await?.len();
        scene.cluster.resume(frozen)?;
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            scene.readers.all_well()?;
            let moves = scene.metastore.range("move/").await?.1.len();
            ensure!(moves == 0 && scene.moved().await?.len() == ended, "somebody else moves segments");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        scene.cluster.ctl(&["balance", "resume"]).await?;
        scene.quiet().await?;
        ensure!(scene.moved().await?.len() > ended, "nothing was left to move: nothing was tried");
        scene.end("two coordinators").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B9: the target dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_is_not_noticed() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(2, options(), &[Stock::of("still", &SEGMENTS)]).await?;
        let node = scene.cluster.add_doomed("querynode", SLOW).await?.node().context("it has not joined")?;
        moves_to(&mut scene, node).await?;
        let position = scene.cluster.position(node)?;
        scene.cluster.kill(position).await?;
        scene.quiet().await?;
        let moved = scene.moved().await?;
        let gone = format!("node {node} is gone");
        ensure!(moved.iter().any(|one| one["dropped"] == gone.as_str()), "no move says why: {moved:?}");
        scene.readers.all_well()?;
        scene.end("a target dies").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B9: the source dies. Another replica answers meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_is_not_noticed() {
    async fn run() -> anyhow::Result<()> {
        let stock = Stock { replicas: 2, ..Stock::of("twice", &SEGMENTS) };
        let mut scene = Scene::set(4, options(), &[stock]).await?;
        let node = scene.cluster.add_doomed("querynode", SLOW).await?.node().context("it has not joined")?;
        moves_to(&mut scene, node).await?;
        let moves = scene.metastore.range("move/").await?.1;
        let source = moves.first().map(crate::scene::json).transpose()?.context("a move")?;
        let source = source["from"].as_i64().context("from")?;
        let position = scene.cluster.position(source)?;
        scene.cluster.kill(position).await?;
        scene.quiet().await?;
        scene.readers.all_well()?;
        scene.end("a source dies").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B9: the target cannot load anything. It is left alone for a while, and the source goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_refuses_is_left_alone() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(1, options(), &[Stock::of("still", &SEGMENTS)]).await?;
        let broken = "bucket::before-copy-write=return";
        let node =
            scene.cluster.add_doomed("querynode", broken).await?.node().context("it has not joined")?;
        moves_to(&mut scene, node).await?;
        let end = Instant::now() + PATIENCE;
        while !scene.moved().await?.iter().any(|one| one["refused"] == true && one["to"] == node) {
            scene.readers.all_well()?;
            ensure!(Instant::now() < end, "it does not refuse: {}", scene.status().await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What was under way is refused, too; then nothing is tried for a while.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let tried = scene.moved().await?.len();
        tokio::time::sleep(Duration::from_secs(5)).await;
        ensure!(scene.moved().await?.len() == tried, "it is tried over and over");
        ensure!(
            !scene.named().await?.iter().any(|(at, _)| *at == node),
            "views name a node that has nothing"
        );
        ensure!(scene.status().await?.contains("suspended"), "{}", scene.status().await?);
        let position = scene.cluster.position(node)?;
        scene.cluster.kill(position).await?;
        scene.quiet().await?;
        scene.readers.all_well()?;
        scene.end("a target refuses").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
