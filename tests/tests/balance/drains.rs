//! A query node is emptied, by signal or by command.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::scene::{Scene, Stock, options};

const SEGMENTS: [i64; 8] = [1000, 400, 1200, 800, 600, 1000, 700, 900];

/// B3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_is_empty_and_nobody_notices() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(3, options(), &[Stock::of("still", &SEGMENTS)]).await?;
        let nodes = scene.query_nodes();
        let (by_command, by_signal, last) = (nodes[0], nodes[1], nodes[2]);

        let begun = Instant::now();
        scene.cluster.ctl(&["drain", &by_command.to_string(), "--deadline", "60"]).await?;
        eprintln!("drained by command in {:.1?}: {}", begun.elapsed(), scene.readers.took_since(begun));
        scene.readers.all_well()?;
        let held = scene.held().await?;
        ensure!(held[&by_command].is_empty(), "it still holds {:?}", held[&by_command]);
        let moved = scene.moved().await?;
        let of_drain = moved.iter().filter(|one| one["from"] == by_command && one["reason"] == "drained");
        ensure!(of_drain.count() > 0, "no move says why: {moved:?}");

        // Used again, it gets its share.
        scene.cluster.ctl(&["drain", &by_command.to_string(), "--cancel"]).await?;
        scene.quiet().await?;
        ensure!(!scene.held().await?[&by_command].is_empty(), "it is not used again");
        scene.cluster.ctl(&["drain", &by_command.to_string()]).await?;

        let begun = Instant::now();
        let position = scene.cluster.position(by_signal)?;
        scene.cluster.leave(position).await?;
        eprintln!("drained by signal in {:.1?}: {}", begun.elapsed(), scene.readers.took_since(begun));
        scene.readers.all_well()?;
        let held = scene.held().await?;
        ensure!(held[&by_command].is_empty() && !held[&last].is_empty(), "{held:?}");

        // There is nowhere to go.
        let begun = Instant::now();
        let refused = scene.cluster.ctl(&["drain", &last.to_string()]).await.err();
        let refused = refused.context("the last node was drained")?.to_string();
        ensure!(refused.contains("the other nodes cannot hold"), "{refused}");
        ensure!(begun.elapsed() < Duration::from_secs(5), "it took {:?} to refuse", begun.elapsed());
        let unknown = scene.cluster.ctl(&["drain", "4711"]).await.err().context("who is 4711?")?.to_string();
        ensure!(unknown.contains("4711"), "{unknown}");
        scene.readers.all_well()?;
        scene.end("drains").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
