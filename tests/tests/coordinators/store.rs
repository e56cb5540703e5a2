//! etcd of three members is restarted, loses its leader, hangs: coordinators stay, and so do those they serve.

use std::time::Duration;

use anyhow::ensure;
use redkite_tests::cluster::{Cluster, Etcd};
use redkite_tests::environment::number;
use redkite_tests::players::Company;

use crate::scene::{Scene, busy, shape};

/// The default, which no stall here exceeds unless asked for.
const TTL: u64 = 10;

async fn on_three() -> anyhow::Result<Scene> {
    let directory = tempfile::tempdir()?;
    let etcd = Etcd::start_members(&directory.path().join("etcd"), 3).await?;
    let cluster = Cluster::start_on(etcd, directory.path(), shape(2, 0), busy(TTL)).await?;
    Scene::play(cluster, directory, Company::DEFINE).await
}

/// Everybody is alive, served, and who was active still is.
async fn all_is_as_before(scene: &mut Scene, what: &str) -> anyhow::Result<()> {
    scene.players.everybody_is_answered(Duration::from_secs(60)).await?;
    for member in &mut scene.cluster.members {
        ensure!(member.process.is_alive()?, "{what}: {} ended because of etcd", member.role);
    }
    scene.cluster.healthy().await
}

/// H7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_loses_members() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = on_three().await?;
        let before = scene.cluster.active().await?;
        let leader = scene.cluster.etcd.leader().await?;
        for (what, member) in [("leader killed", leader), ("follower killed", (leader + 1) % 3)] {
            scene.cluster.etcd.kill_member(member).await?;
            all_is_as_before(&mut scene, what).await?;
            scene.cluster.etcd.restart_member(member).await?;
        }
        for member in 0..3 {
            scene.cluster.etcd.kill_member(member).await?;
            scene.cluster.etcd.restart_member(member).await?;
            all_is_as_before(&mut scene, "restarted in turn").await?;
        }
        ensure!(scene.cluster.active().await? == before, "another was made active");
        scene.end("members of etcd die").await?;
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H7: by default shorter than the lease, so that nobody may be deposed; `REDKITE_STALL_SECONDS` for more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_hangs() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = on_three().await?;
        let before = scene.cluster.active().await?;
        let stall = number("REDKITE_STALL_SECONDS", 5);
        scene.cluster.etcd.stall(Duration::from_secs(stall)).await?;
        all_is_as_before(&mut scene, "after a stall").await?;
        if stall <= TTL / 2 {
            ensure!(scene.cluster.active().await? == before, "another was made active");
        }
        scene.end(&format!("etcd hangs for {stall} s")).await?;
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H7: all members at once, as when the machines lose power.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_restarted() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = on_three().await?;
        scene.cluster.etcd.crash(Duration::from_secs(2)).await?;
        all_is_as_before(&mut scene, "after a restart").await?;
        scene.end("etcd is restarted").await?;
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
