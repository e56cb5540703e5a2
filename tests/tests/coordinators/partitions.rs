//! The active coordinator reaches etcd, but not the nodes: that is no reason for another to take over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::cluster::Cluster;
use redkite_tests::metastore::COORDINATORS;
use redkite_tests::network::Room;
use redkite_tests::players::Company;
use redkite_tests::relay::Relay;
use redkite_tests::server::metric;

use crate::scene::{SHORT, Scene, busy, shape};

/// The link over which etcd, the bucket and the proxies are reached.
const STORES: u8 = 0;
/// The link over which nodes are reached.
const NODES: u8 = 1;

/// Within this time it is noticed that somebody does not answer.
const NOTICED: Duration = Duration::from_secs(60);

/// How many nodes a coordinator says that it cannot reach.
async fn out_of_reach(pages: SocketAddr) -> anyhow::Result<f64> {
    metric(pages, "redkite_nodes_out_of_reach", "role").await
}

/// Waits until it says so. Silence is noticed by pings.
async fn until(pages: SocketAddr, nodes: f64) -> anyhow::Result<()> {
    let end = Instant::now() + NOTICED;
    loop {
        let now = out_of_reach(pages).await?;
        if now == nodes {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{now} instead of {nodes}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// H5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_only_the_coordinator_cannot_reach_are_left_alone() {
    async fn run() -> anyhow::Result<()> {
        let room = Room::build(2)?;
        let nodes = room.outside(NODES);
        let options = busy(SHORT)
            .set(format!("mixCoord.ip={}", room.outside(STORES)))
            .set(format!("streamingNode.ip={nodes}"))
            .set(format!("queryNode.ip={nodes}"))
            .set(format!("dataNode.ip={nodes}"));
        let directory = tempfile::tempdir()?;
        let mut empty = shape(0, 0);
        (empty.proxy, empty.streamingnode, empty.querynode, empty.datanode) = (0, 0, 0, 0);
        let mut cluster = Cluster::start(directory.path(), empty, options).await?;
        let etcd = Relay::start(room.outside(STORES).into(), cluster.etcd.address(0)).await?;
        let bucket = Relay::start(room.outside(STORES).into(), cluster.bucket.address()).await?;
        let own = [
            format!("mixCoord.ip={}", room.inside(STORES)),
            format!("etcd.endpoints={}", etcd.address()),
            format!("minio.address={}", bucket.address()),
        ];
        cluster.add_inside(&room, "mixcoord", &own.each_ref().map(String::as_str)).await?;
        for role in ["mixcoord", "streamingnode", "querynode", "querynode", "datanode", "proxy"] {
            cluster.add(role).await?;
        }
        cluster.healthy().await?;
        let mut scene = Scene::play(cluster, directory, Company::DEFINE).await?;
        let before = scene.cluster.active().await?;
        let sessions = scene.metastore.range("session/").await?.1;

        let active = before.first().context("nobody leads")?.1.node;
        let pages = scene.cluster.members[scene.cluster.position(active)?].process.address("metrics");
        ensure!(out_of_reach(pages).await? == 0.0, "a node that can be reached is reported");
        room.cut(NODES)?;
        tokio::time::sleep(Duration::from_secs(2 * SHORT)).await;
        scene.players.everybody_is_answered(Duration::from_secs(30)).await?;
        ensure!(scene.cluster.active().await? == before, "another was made active");
        until(pages, 4.0).await.context("nodes that cannot be reached are not reported")?;
        let now = scene.metastore.range("session/").await?.1;
        for session in sessions {
            let same = |now: &redkite_tests::metastore::Entry| {
                (&now.key, now.created) == (&session.key, session.created)
            };
            ensure!(now.iter().any(same), "{} was taken from a process that lives", session.key);
        }
        room.heal(NODES)?;
        scene.players.everybody_is_answered(Duration::from_secs(30)).await?;
        until(pages, 0.0).await.context("nodes that can be reached again are reported for ever")?;
        for (role, active) in scene.cluster.active().await? {
            ensure!(COORDINATORS.contains(&role) && before.contains(&(role, active)), "{role} has changed");
        }
        scene.end("nodes cut off").await?;
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
