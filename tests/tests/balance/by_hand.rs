//! Somebody wants segments elsewhere, or nothing to move at all.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::scene::{Scene, Stock, options};

const SEGMENTS: [i64; 6] = [1000, 600, 1200, 800, 600, 1000];

/// B11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_moved_by_hand_stays() {
    async fn run() -> anyhow::Result<()> {
        let options = options().set("queryCoord.balanceIntervalSeconds=1");
        let options = options.set("queryCoord.memoryUsageMaxDifferencePercentage=1");
        let mut scene = Scene::set(2, options, &[Stock::of("still", &SEGMENTS)]).await?;
        let nodes = scene.query_nodes();
        let (from, to) = (nodes[0].to_string(), nodes[1].to_string());
        let segments: Vec<i64> = scene.held().await?[&nodes[0]].keys().copied().collect();
        ensure!(!segments.is_empty(), "nothing to move");
        scene.cluster.ctl(&["balance", "move", "--from", &from, "--to", &to]).await?;
        let held = scene.held().await?;
        ensure!(segments.iter().all(|segment| held[&nodes[1]].contains_key(segment)), "{held:?}");
        let before = scene.moved().await?;
        ensure!(before.iter().rev().take(segments.len()).all(|one| one["reason"] == "by_hand"), "{before:?}");
        // Automatic balancing is on, nodes could not be more uneven, and what was put there stays there.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let undone = scene.moved().await?.split_off(before.len());
        ensure!(
            undone.iter().all(|one| !segments.contains(&one["segment"].as_i64().unwrap_or(0))),
            "{undone:?}"
        );
        let refused = scene.cluster.ctl(&["balance", "move", "--from", "4711", "--to", &to]).await.err();
        ensure!(
            refused.context("who is 4711?")?.to_string().contains("4711"),
            "an unknown node is not named"
        );
        scene.readers.all_well()?;
        scene.end("moved by hand").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// B11: suspended over a failover, and resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_it_stays_suspended() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(1, options(), &[Stock::of("still", &SEGMENTS)]).await?;
        scene.cluster.ctl(&["balance", "suspend"]).await?;
        let position = scene.cluster.with_role("mixcoord")[0];
        scene.cluster.add("mixcoord").await?;
        scene.cluster.kill(position).await?;
        let node = scene.add_node(&[]).await?;
        scene.cluster.healthy().await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        ensure!(scene.held().await?[&node].is_empty(), "suspended, but segments move");
        ensure!(scene.status().await?.contains("suspended"), "{}", scene.status().await?);
        scene.cluster.ctl(&["balance", "resume"]).await?;
        scene.quiet().await?;
        ensure!(!scene.held().await?[&node].is_empty(), "resumed, but nothing moves");
        scene.readers.all_well()?;
        scene.end("suspended and resumed").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
