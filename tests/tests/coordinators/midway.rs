//! A failover in the middle of everything: collections that are made, indexed, flushed, merged, loaded, released and
//! dropped meanwhile are wholly there or wholly absent.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::definer::Definer;
use redkite_tests::environment::{number, seed};
use redkite_tests::metastore::COORDINATORS;
use redkite_tests::players::{Company, Players};
use redkite_tests::server::{failpoints, was_aborted};
use redkite_tests::workload::Stopped;
use tokio::task::JoinSet;

use crate::scene::{LONG, busy, check_reigns, failovers, shape};

/// Every place must be passed within this time.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a place may be passed before the process dies there.
const MOST_PASSES: u32 = 12;

/// The places of nodes' work: writing data, telling of it, building and merging, and what lies below.
const NODES: [&str; 5] = ["flush::", "task::", "storage::", "bucket::", "wal::"];

/// Collections being made at the same time.
const LIVES: usize = 2;

/// Collections with a whole life, over and over: every step is checked, nothing may be refused.
fn lives(cluster: &Cluster) -> (tokio::sync::watch::Sender<bool>, JoinSet<anyhow::Result<u64>>) {
    let (over, is_over) = tokio::sync::watch::channel(false);
    let mut lives = JoinSet::new();
    for number in 0..LIVES {
        let (proxy, is_over) = (cluster.proxies()[0], is_over.clone());
        lives.spawn(async move {
            let mut definer = Definer::new(&format!("life_{number}"));
            while !*is_over.borrow() {
                ensure!(definer.work(proxy, 1).await? == Stopped::Done, "no answer from a proxy that lives");
            }
            ensure!(definer.work(proxy, 0).await? == Stopped::Done, "no answer from a proxy that lives");
            Ok(definer.cycles())
        });
    }
    (over, lives)
}

async fn end(
    over: &tokio::sync::watch::Sender<bool>,
    mut lives: JoinSet<anyhow::Result<u64>>,
) -> anyhow::Result<()> {
    over.send_replace(true);
    let mut cycles = 0;
    while let Some(life) = lives.join_next().await {
        cycles += life??;
    }
    ensure!(cycles > 0, "no collection was ever made wholly");
    eprintln!("{cycles} collections, none half made, none half gone");
    Ok(())
}

fn still_right(lives: &mut JoinSet<anyhow::Result<u64>>) -> anyhow::Result<()> {
    match lives.try_join_next() {
        None => Ok(()),
        Some(ended) => ended?.and_then(|_| anyhow::bail!("a definer ended before its time")),
    }
}

/// H8: the coordinators die at every place of their own work. Each candidate is one that will die at a place; another
/// always stands by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_die_at_every_place() {
    async fn run() -> anyhow::Result<()> {
        let seed = seed();
        let mut random = SmallRng::seed_from_u64(seed);
        let only = std::env::var("REDKITE_FAILPOINT").unwrap_or_default();
        let mut places = failpoints().await?;
        places.retain(|place| place.starts_with("election::") && place.contains(&only));
        ensure!(!places.is_empty(), "no place of the coordinators is known");
        let directory = tempfile::tempdir()?;
        let none = Shape { mixcoord: 0, ..shape(0, 0) };
        let mut cluster = Cluster::start(directory.path(), Shape { mixcoord: 1, ..none }, busy(LONG)).await?;
        let metastore = cluster.metastore().await?;
        let (over, mut lives) = lives(&cluster);
        for place in (0..failovers(2)).flat_map(|_| places.clone()) {
            let passes = if place.contains("campaign") || place.contains("resign") {
                0
            } else {
                random.random_range(0..=MOST_PASSES)
            };
            let failpoint = format!("{place}={passes}*off->return(abort)");
            eprintln!("test: {failpoint}");
            let doomed = cluster.add_doomed("mixcoord", &failpoint).await;
            // It may have died before it said where it listens.
            let doomed = match doomed {
                Ok(member) => member.node().context("it has not joined")?,
                Err(_) => continue,
            };
            // The one before goes, so that this one leads, and dies.
            let before = cluster.members.iter().position(|member| member.role == "mixcoord");
            cluster.leave(before.context("nobody leads")?).await?;
            if place.contains("resign") {
                for role in COORDINATORS {
                    metastore.active_is(role, doomed).await?;
                }
                cluster.dismiss(cluster.position(doomed)?)?;
            }
            let position = cluster.position(doomed)?;
            let ended = cluster.members[position].process.ended(LIMIT).await;
            let status = ended.with_context(|| format!("{failpoint} is not reached"))?;
            ensure!(was_aborted(status), "{failpoint}: it ended by itself, {status}");
            cluster.members.remove(position);
            cluster.add("mixcoord").await?;
            still_right(&mut lives).with_context(|| failpoint.clone())?;
        }
        cluster.active().await?;
        end(&over, lives).await?;
        check_reigns(&metastore).await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H8: nodes are slow at every place of their work, so that coordinators die while they are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_die_while_nodes_are_midway() {
    async fn run() -> anyhow::Result<()> {
        let seed = seed();
        let mut random = SmallRng::seed_from_u64(seed);
        let mut places = failpoints().await?;
        places.retain(|place| NODES.iter().any(|of| place.starts_with(of)));
        let slow: Vec<_> = places.iter().map(|place| format!("{place}=10%sleep(300)")).collect();
        let directory = tempfile::tempdir()?;
        let options = busy(LONG).fail(slow.join(";"));
        let mut cluster = Cluster::start(directory.path(), shape(2, 0), options).await?;
        let (over, mut lives) = lives(&cluster);
        let company = Company { writers: 1, definers: 1, searchers: true };
        let mut players = Players::enter(&cluster, seed, company).await?;
        let metastore = cluster.metastore().await?;
        let begun = Instant::now();
        for round in 0..failovers(8) {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
            let role = COORDINATORS[usize::try_from(round)? % COORDINATORS.len()];
            let active = metastore.active_after(role, 0).await?;
            let position = cluster.position(active.node)?;
            cluster.kill(position).await?;
            cluster.add("mixcoord").await?;
            metastore.active_after(role, active.revision).await?;
            players.all_well()?;
            still_right(&mut lives)?;
        }
        eprintln!("{} failovers in {:.0?}", failovers(8), begun.elapsed());
        players.everybody_is_answered(Duration::from_secs(60)).await?;
        players.leave(&cluster).await?;
        end(&over, lives).await?;
        check_reigns(&metastore).await
    }
    let limit = Duration::from_secs(number("REDKITE_LIMIT_SECONDS", 500));
    tokio::time::timeout(limit, run()).await.expect("in time").unwrap_or_else(|error| panic!("{error:#}"));
}
