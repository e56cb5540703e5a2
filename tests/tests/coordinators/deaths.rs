//! The active coordinator dies, is stopped, hangs, or its network is cut: who waits, and for how long?

use std::time::Instant;

use anyhow::{Context, ensure};
use redkite_tests::metastore::COORDINATORS;
use redkite_tests::network::Room;
use redkite_tests::players::Company;
use redkite_tests::relay::Relay;

use crate::scene::{LONG, PATIENCE, SHORT, Scene, busy, failovers, followed, shape};

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    Terminate,
}

/// Time and again the active one of each role goes, and another process is started.
async fn goes(end: End, mixcoord: usize, apart: usize) -> anyhow::Result<()> {
    let mut scene = Scene::set(shape(mixcoord, apart), busy(LONG), Company::DEFINE).await?;
    for round in 0..failovers(5) {
        let role = COORDINATORS[usize::try_from(round)? % COORDINATORS.len()];
        let (position, reigns) = scene.active(role).await?;
        let begun = Instant::now();
        let process = match end {
            End::Kill => {
                let process = scene.cluster.kill(position).await?;
                scene.taken_over(&reigns, begun).await?;
                process
            }
            End::Terminate => {
                scene.cluster.dismiss(position)?;
                scene.taken_over(&reigns, begun).await?;
                scene.cluster.left(position).await?
            }
        };
        scene.add_candidate(process, &[]).await?;
    }
    let longest = scene.costs.longest_command();
    scene.end(&format!("{end:?}")).await?;
    ensure!(longest < PATIENCE, "a command waited for {longest:.1?}");
    Ok(())
}

/// H1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_is_killed() {
    goes(End::Kill, 2, 0).await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H1, each coordinator in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_is_killed_of_coordinators_apart() {
    goes(End::Kill, 0, 2).await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_is_told_to_stop() {
    goes(End::Terminate, 2, 0).await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H10: every candidate is restarted in its place, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_candidates_are_restarted_in_turn() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(shape(2, 0), busy(LONG), Company::DEFINE).await?;
        for _ in 0..failovers(3) {
            for _ in 0..2 {
                let position = scene.cluster.with_role("mixcoord")[0];
                let address = scene.cluster.members[position].process.address("internal");
                let node = scene.cluster.members[position].node();
                let mut reigns = scene.cluster.active().await?;
                reigns.retain(|(_, active)| Some(active.node) == node);
                let begun = Instant::now();
                scene.cluster.dismiss(position)?;
                scene.taken_over(&reigns, begun).await?;
                scene.cluster.left(position).await?;
                scene.add_candidate("mixcoord", &[&format!("mixCoord.port={}", address.port())]).await?;
            }
        }
        let longest = scene.costs.longest_command();
        scene.end("rolling restart").await?;
        ensure!(longest < PATIENCE, "a command waited for {longest:.1?}");
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H1 with SIGSTOP: the lease is waited for, and nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_hangs() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(shape(2, 0), busy(SHORT), Company::DEFINE).await?;
        for round in 0..failovers(2) {
            let role = COORDINATORS[usize::try_from(round)? % COORDINATORS.len()];
            let (position, reigns) = scene.active(role).await?;
            let begun = Instant::now();
            scene.cluster.pause(position)?;
            scene.taken_over(&reigns, begun).await?;
            scene.cluster.resume(position)?;
            for (role, active) in &reigns {
                scene.metastore.registered_after(role, active.node, active.revision).await?;
            }
        }
        scene.end(&format!("hang with a lease of {SHORT} s")).await?;
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H1 with a cut network: nothing of what the active one sends arrives, and nothing reaches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_of_the_active_one_is_cut() {
    async fn run() -> anyhow::Result<()> {
        let room = Room::build(1)?;
        // The one in the room must be able to reach the others.
        let outside = format!("mixCoord.ip={}", room.outside(0));
        let mut scene = Scene::set(shape(1, 0), busy(SHORT).set(&outside), Company::DEFINE).await?;
        let etcd = Relay::start(room.outside(0).into(), scene.cluster.etcd.address(0)).await?;
        let bucket = Relay::start(room.outside(0).into(), scene.cluster.bucket.address()).await?;
        let own = [
            format!("mixCoord.ip={}", room.inside(0)),
            format!("etcd.endpoints={}", etcd.address()),
            format!("minio.address={}", bucket.address()),
        ];
        let own = own.each_ref().map(String::as_str);
        let member = scene.cluster.add_inside(&room, "mixcoord", &own).await?;
        let inside = member.node().context("it has not joined")?;
        for role in COORDINATORS {
            scene.metastore.registered_after(role, inside, 0).await?;
        }
        for _ in 0..failovers(2) {
            // The one outside goes in order, so that the one inside leads.
            let (position, reigns) = scene.active("rootcoord").await?;
            scene.cluster.leave(position).await?;
            followed(&scene.metastore, &reigns).await?;
            scene.add_candidate("mixcoord", &[&outside]).await?;
            let (_, reigns) = scene.active("rootcoord").await?;
            let begun = Instant::now();
            room.cut(0)?;
            scene.taken_over(&reigns, begun).await?;
            room.heal(0)?;
            for (role, active) in &reigns {
                scene.metastore.registered_after(role, inside, active.revision).await?;
            }
        }
        scene.end(&format!("cut network with a lease of {SHORT} s")).await?;
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
