//! Many candidates, a lone one, one at an old address, one of an old version: who becomes active?

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::etcd::free_port;
use redkite_tests::metastore::COORDINATORS;
use redkite_tests::players::{Company, summary};
use redkite_tests::server::{EndedEarly, health};

use crate::scene::{LONG, PATIENCE, Scene, busy, check_reigns, failovers, shape};

/// H6: five at once, then one less of those who stand by, then all but one die, then all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_candidates_one_is_active() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut cluster = Cluster::start(directory.path(), Shape::NONE, busy(LONG)).await?;
        let metastore = cluster.metastore().await?;
        let mut elections = Vec::new();
        for round in 0..2 {
            let begun = Instant::now();
            cluster.add_together("mixcoord", 5).await?;
            let active = cluster.active().await?;
            elections.push(begun.elapsed());
            let leads: BTreeSet<i64> = active.iter().map(|(_, active)| active.node).collect();
            let stands_by = cluster
                .members
                .iter()
                .position(|member| member.node().is_some_and(|node| !leads.contains(&node)));
            cluster.kill(stands_by.context("nobody stands by")?).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            ensure!(
                cluster.active().await? == active,
                "round {round}: the death of a standby changed who is active"
            );
            while cluster.members.len() > 1 {
                let before = cluster.active().await?;
                let node = before[0].1.node;
                let position = cluster.position(node)?;
                cluster.kill(position).await?;
                let begun = Instant::now();
                for (role, before) in before.iter().filter(|(_, active)| active.node == node) {
                    metastore.active_after(role, before.revision).await?;
                }
                elections.push(begun.elapsed());
            }
            cluster.kill(0).await?;
        }
        let begun = Instant::now();
        let last = cluster.active().await?;
        cluster.add("mixcoord").await?;
        for (role, before) in &last {
            metastore.active_after(role, before.revision).await?;
        }
        elections.push(begun.elapsed());
        eprintln!("elections among up to five: {}", summary(elections.clone()));
        let longest = elections.into_iter().max().unwrap_or_default();
        ensure!(longest < PATIENCE, "one took {longest:.1?}");
        check_reigns(&metastore).await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H11: the active one is killed, and a new process takes its address at once, while another becomes active.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_at_the_address_of_the_active_one_is_not_taken_for_it() {
    async fn run() -> anyhow::Result<()> {
        let own = format!("mixCoord.port={}", free_port()?);
        let mut scene = Scene::set(shape(1, 0), busy(LONG), Company::DEFINE).await?;
        scene.add_candidate("mixcoord", &[&own]).await?;
        for _ in 0..failovers(3) {
            let (position, reigns) = scene.active("rootcoord").await?;
            scene.cluster.leave(position).await?;
            for (role, before) in &reigns {
                scene.metastore.active_after(role, before.revision).await?;
            }
            scene.add_candidate("mixcoord", &[]).await?;
            let (position, reigns) = scene.active("rootcoord").await?;
            let begun = Instant::now();
            scene.cluster.kill(position).await?;
            scene.add_candidate("mixcoord", &[&own]).await?;
            scene.taken_over(&reigns, begun).await?;
        }
        let longest = scene.costs.longest_command();
        scene.end("a stranger at the old address").await?;
        ensure!(longest < PATIENCE, "a command waited for {longest:.1?}");
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H13: nobody stands by; the one there is is killed and started again, at its old address and at another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_coordinator_that_is_restarted_serves_at_once() {
    async fn run() -> anyhow::Result<()> {
        let fixed = format!("mixCoord.port={}", free_port()?);
        let mut scene = Scene::set(shape(1, 0), busy(LONG), Company::DEFINE).await?;
        for round in 0..failovers(4) {
            let own: &[&str] = if round == 0 { &[] } else { &[&fixed] };
            let (position, reigns) = scene.active("rootcoord").await?;
            let begun = Instant::now();
            scene.cluster.kill(position).await?;
            scene.cluster.add_with("mixcoord", own).await?;
            scene.taken_over(&reigns, begun).await?;
        }
        let longest = scene.costs.longest_command();
        scene.end("a lone coordinator is restarted").await?;
        ensure!(longest < PATIENCE, "a command waited for {longest:.1?}");
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H12.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_by_is_healthy() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let shape = Shape { mixcoord: 2, ..Shape::NONE };
        let cluster = Cluster::start(directory.path(), shape, busy(LONG)).await?;
        cluster.active().await?;
        for member in &cluster.members {
            let (well, report) = health(member.process.address("metrics")).await?;
            ensure!(well, "{report}");
        }
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H14: who is older than the active one does not stand for election.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_is_refused() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut cluster = Cluster::start(directory.path(), Shape::NONE, busy(LONG)).await?;
        let metastore = cluster.metastore().await?;
        let newer = |role: &str| {
            let session = serde_json::json!({
                "ServerID": 4711, "ServerName": role, "Address": "127.0.0.1:9", "Exclusive": true,
                "Stopping": false, "Version": "99.0.0", "HostName": "elsewhere", "ServerLabels": {},
            });
            (format!("session/{role}"), session.to_string().into_bytes())
        };
        metastore.put(COORDINATORS.map(newer).to_vec()).await?;
        let refused = cluster.add("mixcoord").await.err().context("an older version was let in")?;
        let ended = refused.downcast_ref::<EndedEarly>().with_context(|| format!("{refused:#}"))?;
        ensure!(ended.said.contains("99.0.0"), "it did not say why: {}", ended.said);
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
