//! A cluster of separate processes: members die, hang and leave at random, and nobody notices.
//!
//! `REDKITE_CHAOS_SECONDS` says for how long each test runs, `REDKITE_MODEL_SEED` repeats one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use redkite_test_bucket::{Faults, Lie};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::environment::{number, seed};
use redkite_tests::players::{Company, Players};
use redkite_tests::server::{EndedEarly, Options, health};
use redkite_tests::workload;

fn seconds(default: u64) -> Duration {
    Duration::from_secs(number("REDKITE_CHAOS_SECONDS", default))
}

/// Somebody dies every few seconds, and another takes the place.
async fn deaths(shape: Shape, roles: &[&str], time: Duration) -> anyhow::Result<()> {
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    let directory = tempfile::tempdir()?;
    let mut cluster = Cluster::start(directory.path(), shape, Options::busy()).await?;
    let mut players = Players::enter(&cluster, seed, Company::READ_AND_WRITE).await?;
    let end = Instant::now() + time;
    let mut killed: Vec<&str> = Vec::new();
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..4000))).await;
        players.all_well()?;
        let role = roles.choose(&mut random).context("roles")?;
        let victims = cluster.with_role(role);
        let victim = *victims.choose(&mut random).context("victims")?;
        let role = cluster.kill(victim).await?;
        eprintln!("test: {role} was killed");
        players.proxies_are(cluster.proxies());
        killed.push(role);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
        cluster.add(role).await?;
        players.proxies_are(cluster.proxies());
    }
    players.leave(&cluster).await?;
    eprintln!("{} deaths", killed.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_die_at_random() {
    let roles = ["streamingnode", "querynode", "datanode", "proxy"];
    deaths(Shape::WIDE, &roles, seconds(40)).await.unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_leave_in_order() {
    async fn run() -> anyhow::Result<()> {
        let seed = seed();
        let directory = tempfile::tempdir()?;
        let mut cluster = Cluster::start(directory.path(), Shape::WIDE, Options::busy()).await?;
        let mut players = Players::enter(&cluster, seed, Company::READ_AND_WRITE).await?;
        for role in ["streamingnode", "querynode", "datanode", "querynode", "streamingnode"] {
            cluster.add(role).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            players.all_well()?;
            let leaving = cluster.with_role(role)[0];
            let begun = Instant::now();
            cluster.leave(leaving).await?;
            eprintln!("{role} has left after {:.1?}", begun.elapsed());
            players.all_well()?;
        }
        players.leave(&cluster).await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bucket_and_etcd_misbehave() {
    async fn run() -> anyhow::Result<()> {
        let seed = seed();
        let mut random = SmallRng::seed_from_u64(seed);
        let directory = tempfile::tempdir()?;
        let mut cluster = Cluster::start(directory.path(), Shape::WIDE, Options::busy()).await?;
        let mut players = Players::enter(&cluster, seed, Company::READ_AND_WRITE).await?;
        let end = Instant::now() + seconds(30);
        while Instant::now() < end {
            match random.random_range(0..4) {
                0 => cluster.bucket.set_faults(Faults::everything(random.random(), 0.05)),
                1 => cluster.bucket.set_faults(Faults::lost_answers(random.random(), 0.2)),
                2 => cluster.etcd.crash(Duration::from_millis(random.random_range(0..1500))).await?,
                _ => cluster.bucket.set_faults(Faults {
                    seed: random.random(),
                    latency_millis: 80,
                    jitter_millis: 80,
                    ..Faults::default()
                }),
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(500..3000))).await;
            players.all_well()?;
        }
        cluster.bucket.set_faults(Faults::default());
        players.leave(&cluster).await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_waited_for() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut cluster = Cluster::start(directory.path(), Shape::NONE, Options::busy()).await?;
        cluster.etcd.kill().await?;
        for role in ["proxy", "datanode", "querynode", "streamingnode"] {
            cluster.add_unready(role).await?;
        }
        for member in &cluster.members {
            says(member.process.address("metrics"), "waiting for etcd at 127.0.0.1").await?;
        }
        cluster.etcd.restart().await?;
        let proxy = cluster.members[0].process.address("metrics");
        says(proxy, "waiting for the first root coordinator of this cluster").await?;
        cluster.add_unready("mixcoord").await?;
        cluster.healthy().await?;
        let proxy = cluster.members[0].process.address_of("proxy").await?;
        let mut client = workload::connect(proxy).await?;
        workload::prepare(&mut client, "late", 1).await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Waits until a process that is not well says why.
async fn says(pages: SocketAddr, problem: &str) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let (well, report) = health(pages).await?;
        if !well && report.to_string().contains(problem) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{report}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_lies_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(directory.path(), Shape::NONE, Options::default()).await.unwrap();
    cluster.bucket.set_faults(Faults { lie: Some(Lie::IgnoresCondition), ..Faults::default() });
    let refused = cluster.add("streamingnode").await.unwrap_err();
    let ended = refused.downcast_ref::<EndedEarly>().unwrap_or_else(|| panic!("{refused:#}"));
    assert!(ended.said.contains("If-None-Match"), "{}", ended.said);
    assert!(!ended.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_standby_a_second_coordinator_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let shape = Shape { mixcoord: 1, ..Shape::NONE };
    let mut cluster = Cluster::start(directory.path(), shape, Options::default()).await.unwrap();
    let refused = cluster.add_with("rootcoord", &["rootCoord.enableActiveStandby=false"]).await.unwrap_err();
    assert!(
        refused.to_string().contains("is the rootcoord already, and enableActiveStandby is off"),
        "{refused}"
    );
    cluster.add("rootcoord").await.unwrap();
    cluster.healthy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_die_at_random() {
    let shape = Shape { mixcoord: 2, ..Shape::WIDE };
    deaths(shape, &["mixcoord"], seconds(15)).await.unwrap_or_else(|error| panic!("{error:#}"));
}
