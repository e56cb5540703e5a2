//! Many candidates, a lone one, one at an old address, one of an old version: who becomes active?

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::etcd::free_port;
use redkite_tests::metastore::COORDINATORS;
use redkite_tests::players::{Company, summary};
use redkite_tests::server::page;

use crate::scene::{LONG, PATIENCE, Scene, busy, check_reigns, failovers, followed, shape};

/// H6: five at once, then one less of those who stand by, then all but one die, then all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_candidates_one_is_active() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut cluster = Cluster::start(directory.path(), Shape::NONE, busy(LONG)).await?;
        let metastore = cluster.metastore().await?;
        let mut elections = Vec::new();
        let mut last = 0;
        for round in 0..2 {
            let begun = Instant::now();
            cluster.add_together("mixcoord", 5).await?;
            let mut active = Vec::new();
            for role in COORDINATORS {
                active.push((role, metastore.active_after(role, last).await?));
            }
            elections.push(begun.elapsed());
            let leads: BTreeSet<i64> = active.iter().map(|(_, active)| active.node).collect();
            let idle = |node: i64| !leads.contains(&node);
            let stands_by = cluster.members.iter().position(|member| member.node().is_some_and(idle));
            cluster.kill(stands_by.context("nobody stands by")?).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = cluster.active().await?;
            ensure!(now == active, "round {round}: a standby died, and {now:?} became active");
            while cluster.members.len() > 1 {
                let node = cluster.active().await?[0].1.node;
                let reigns = cluster.active().await?.into_iter().filter(|(_, active)| active.node == node);
                let position = cluster.position(node)?;
                cluster.kill(position).await?;
                let begun = Instant::now();
                for (role, before) in reigns {
                    metastore.active_after(role, before.revision).await?;
                }
                elections.push(begun.elapsed());
            }
            cluster.kill(0).await?;
            last = metastore.revision().await?;
        }
        let begun = Instant::now();
        cluster.add("mixcoord").await?;
        for role in COORDINATORS {
            metastore.active_after(role, last).await?;
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
            followed(&scene.metastore, &reigns).await?;
            scene.add_candidate("mixcoord", &[]).await?;
            let (position, reigns) = scene.active("rootcoord").await?;
            let (metastore, own) = (scene.metastore.clone(), [own.as_str()]);
            let begun = Instant::now();
            scene.cluster.kill(position).await?;
            let (elected, stranger) =
                tokio::join!(followed(&metastore, &reigns), scene.add_candidate("mixcoord", &own));
            stranger?;
            scene.taken_over_at(begun, elected?).await?;
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
            let metastore = scene.metastore.clone();
            let (elected, started) =
                tokio::join!(followed(&metastore, &reigns), scene.cluster.add_with("mixcoord", own));
            started?;
            scene.taken_over_at(begun, elected?).await?;
        }
        let longest = scene.costs.longest_command();
        scene.end("a lone coordinator is restarted").await?;
        ensure!(longest < PATIENCE, "a command waited for {longest:.1?}");
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H12: who stands by is healthy, not ready, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_by_is_healthy_and_not_ready() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let shape = Shape { mixcoord: 1, ..Shape::NONE };
        let mut cluster = Cluster::start(directory.path(), shape, busy(LONG)).await?;
        let first = cluster.active().await?[0].1.node;
        cluster.add("mixcoord").await?;
        cluster.healthy().await?;
        states(&cluster, first).await?;
        // The one who stood by is asked to follow, and the other stands by.
        let second = cluster.members[1].node().context("it has not joined")?;
        let before = cluster.active().await?;
        cluster.ctl(&["handover", "mixcoord", &second.to_string()]).await?;
        let metastore = cluster.metastore().await?;
        for (role, before) in before {
            let now = metastore.active_after(role, before.revision).await?;
            ensure!(now.node == second, "{role} was handed over to {}", now.node);
        }
        states(&cluster, second).await?;
        let refused = cluster.ctl(&["handover", "rootcoord", "4711"]).await.err();
        let refused = refused.context("handed over to nobody")?.to_string();
        ensure!(refused.contains("4711"), "{refused}");
        ensure!(cluster.active().await?[0].1.node == second, "a refused handover changed something");
        check_reigns(&metastore).await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Every process is healthy, only the active one is ready; its pages and `redkite ctl` agree.
async fn states(cluster: &Cluster, active: i64) -> anyhow::Result<()> {
    for member in &cluster.members {
        let leads = member.node() == Some(active);
        let pages = member.process.address("metrics");
        let end = Instant::now() + PATIENCE;
        loop {
            let (well, health) = page(pages, "/healthz").await?;
            ensure!(well, "{health}");
            let (ready, readiness) = page(pages, "/management/check/ready").await?;
            let codes: Vec<_> = health["detail"].as_array().context("detail")?.iter().collect();
            let expected = if leads { 1 } else { 3 };
            let agree = codes.iter().all(|role| role["code"] == expected) && ready == leads;
            if agree && (leads || readiness.to_string().contains("StandBy")) {
                break;
            }
            ensure!(Instant::now() < end, "{health}, {readiness}, though active is {active}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let told: serde_json::Value = serde_json::from_str(&cluster.ctl(&["coordinators", "--json"]).await?)?;
    let told = told.as_array().context("no list")?;
    ensure!(told.len() == 3 * cluster.members.len(), "{told:?}");
    for one in told {
        let expected = if one["node"] == active { "Active" } else { "StandBy" };
        ensure!(one["state"] == expected, "{one}");
    }
    Ok(())
}

/// H14: who is older than the newest that was ever active does not stand for election.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_does_not_become_active() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut cluster = Cluster::start(directory.path(), Shape::NONE, busy(LONG)).await?;
        let metastore = cluster.metastore().await?;
        metastore.put(vec![("version".to_owned(), b"99.0.0".to_vec())]).await?;
        cluster.add("mixcoord").await?;
        let older = &cluster.members[0];
        for role in COORDINATORS {
            let refuses = |entry: &serde_json::Value| {
                let fields = &entry["fields"];
                fields["message"].as_str().is_some_and(|text| text.contains("refuses to become active"))
                    && fields["role"] == role
                    && fields.to_string().contains("99.0")
            };
            older.process.says("why it refuses", refuses).await?;
            ensure!(metastore.active(role).await?.is_none(), "an older version is the active {role}");
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let (well, report) = page(older.process.address("metrics"), "/healthz").await?;
            if !well && report.to_string().contains("99.0") {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{report}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}
