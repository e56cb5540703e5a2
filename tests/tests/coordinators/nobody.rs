//! All coordinators are dead: whoever reads and writes does not notice.

use std::time::{Duration, Instant};

use anyhow::ensure;
use redkite_tests::client::{Client, Row};
use redkite_tests::environment::number;
use redkite_tests::players::Company;
use redkite_tests::workload;

use crate::scene::{LONG, Scene, busy, shape};

fn rows(from: i64) -> Vec<Row> {
    (from..from + 50).map(|id| Row { id, version: 1, tag: "meanwhile".to_owned() }).collect()
}

/// Every kind of reading and writing, over one proxy.
async fn everything_works(client: &mut Client, from: i64) -> anyhow::Result<()> {
    let rows = rows(from);
    client.insert("shared", &rows).await?;
    let own = format!("id >= {from} and id < {}", from + 50);
    ensure!(client.query("shared", &own).await? == rows, "rows from {from}");
    let hits = client.search("shared", &rows[7], 1).await?;
    ensure!(hits == [(from + 7, 0.0)], "search found {hits:?}");
    let newer = Row { version: 2, ..rows[3].clone() };
    client.upsert("shared", std::slice::from_ref(&newer)).await?;
    ensure!(client.query("shared", &format!("id == {}", newer.id)).await? == [newer], "upsert");
    client.delete("shared", &format!("id in [{}]", from + 9)).await?;
    ensure!(client.count("shared", &own).await? == 49, "delete");
    ensure!(client.collections().await?.contains(&"shared".to_owned()), "collections");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_coordinators_data_operations_go_on() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(shape(2, 0), busy(LONG), Company::READ_AND_WRITE).await?;
        let mut client = workload::connect(scene.cluster.proxies()[0]).await?;
        workload::prepare(&mut client, "shared", 2).await?;
        for position in scene.cluster.with_role("mixcoord").into_iter().rev() {
            scene.cluster.kill(position).await?;
        }
        let end = Instant::now() + Duration::from_secs(number("REDKITE_DOWN_SECONDS", 8));
        scene.cluster.add("proxy").await?;
        scene.players.proxies_are(scene.cluster.proxies());
        let late = scene.cluster.proxies()[1];
        let mut late = workload::connect(late).await?;
        let mut from = 0;
        while Instant::now() < end {
            everything_works(&mut client, from).await?;
            everything_works(&mut late, from + 50).await?;
            from += 100;
            scene.players.all_well()?;
        }
        scene.players.everybody_is_answered(Duration::from_secs(10)).await?;
        // A command waits for a coordinator.
        let command = late.create_collection("waited_for", 1);
        let wait = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let begun = Instant::now();
            scene.cluster.add("mixcoord").await.map(|_| begun)
        };
        let (made, begun) = tokio::join!(command, wait);
        made?;
        eprintln!(
            "no coordinator: a command was carried out {:.1?} after the start of one",
            begun?.elapsed()
        );
        ensure!(late.has_collection("waited_for").await?, "it was acknowledged");
        scene.end("no coordinator").await?;
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
