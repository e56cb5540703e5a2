//! A cluster of separate processes: members die, hang and leave at random, and nobody notices.
//!
//! `REDKITE_CHAOS_SECONDS` says for how long each test runs, `REDKITE_MODEL_SEED` repeats one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use redkite_test_bucket::{Faults, Lie};
use redkite_tests::client::{Client, Row};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::server::{EndedEarly, Options, health};
use redkite_tests::workload::{self, Stopped, Writer};
use tokio::sync::watch;
use tokio::task::JoinSet;

const WRITERS: i64 = 3;
/// How long a write may be on its way after its proxy has died.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// The collection that is only inserted into.
const INSERTED: &str = "inserted";
/// Rows of the collection that is only read.
const READ_ROWS: i64 = 2000;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    let seed = from_environment("REDKITE_MODEL_SEED", u64::from(std::process::id()));
    eprintln!("REDKITE_MODEL_SEED={seed}");
    seed
}

fn seconds(default: u64) -> Duration {
    Duration::from_secs(from_environment("REDKITE_CHAOS_SECONDS", default))
}

/// What everybody at work needs to know.
#[derive(Clone)]
struct Stage {
    /// The proxies that are alive.
    proxies: watch::Receiver<Vec<SocketAddr>>,
    over: Arc<AtomicBool>,
}

impl Stage {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn proxy(&self, number: usize) -> SocketAddr {
        let proxies = self.proxies.borrow();
        proxies[number % proxies.len()]
    }

    /// Nobody but a dead proxy may leave a client without an answer.
    async fn died(&mut self, proxy: SocketAddr) -> anyhow::Result<()> {
        let gone = self.proxies.wait_for(|alive| !alive.contains(&proxy));
        let told = tokio::time::timeout(Duration::from_secs(5), gone).await;
        told.map_err(|_| anyhow::anyhow!("proxy {proxy} gave no answer, but is alive"))?
            .context("proxies")?;
        // What the proxy had sent may still be on its way to a leader. Nothing tells when it has arrived.
        tokio::time::sleep(IN_FLIGHT).await;
        Ok(())
    }
}

/// Writes and reads by its model until all is over.
async fn write(mut writer: Writer, number: usize, mut stage: Stage) -> anyhow::Result<Writer> {
    while !stage.is_over() {
        let proxy = stage.proxy(number);
        match writer.work(proxy, 20).await? {
            Stopped::Done => {}
            Stopped::ServerGone => stage.died(proxy).await?,
        }
    }
    Ok(writer)
}

/// Latencies of one kind of call.
#[derive(Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    fn tell(mut self, what: &str) {
        self.0.sort_unstable();
        let at = |share: usize| self.0.get((self.0.len() * share / 1000).min(self.0.len() - 1));
        if let (Some(half), Some(most), Some(last)) = (at(500), at(990), self.0.last()) {
            let count = self.0.len();
            eprintln!(
                "{what}: {count} calls, median {half:.1?}, p99 {most:.1?}, longest {last:.1?}, none failed"
            );
        }
    }
}

/// Inserts row after row; how long each takes is how long writes are held up.
async fn insert(mut stage: Stage) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    let mut next = 0;
    while !stage.is_over() {
        let proxy = stage.proxy(0);
        let Ok(mut client) = Client::connect(proxy).await else {
            stage.died(proxy).await?;
            continue;
        };
        while !stage.is_over() {
            let row = Row { id: next, version: 1, tag: "probe".to_owned() };
            next += 1;
            let begun = Instant::now();
            match client.insert(INSERTED, &[row]).await {
                Ok(_) => latencies.0.push(begun.elapsed()),
                Err(error) if error.code().is_none() => {
                    stage.died(proxy).await.with_context(|| format!("insert: {error}"))?;
                    break;
                }
                Err(error) => anyhow::bail!("insert: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(latencies)
}

/// Searches rows that do not change, over and over; every answer must be right.
async fn search(collection: &'static str, number: usize, mut stage: Stage) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    while !stage.is_over() {
        let proxy = stage.proxy(number);
        let Ok(mut client) = Client::connect(proxy).await else {
            stage.died(proxy).await?;
            continue;
        };
        while !stage.is_over() {
            let row = read_row((latencies.0.len() as i64 * 37) % READ_ROWS);
            let begun = Instant::now();
            match client.search(collection, &row, 2).await {
                Ok(hits) => {
                    ensure!(hits.first() == Some(&(row.id, 0.0)), "search for {row:?} found {hits:?}")
                }
                Err(error) if error.code().is_none() => {
                    stage.died(proxy).await.with_context(|| format!("search: {error}"))?;
                    break;
                }
                Err(error) => anyhow::bail!("search of {collection}: {error}"),
            }
            latencies.0.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(latencies)
}

fn read_row(id: i64) -> Row {
    Row { id, version: 1, tag: "read".to_owned() }
}

/// A collection of sealed and indexed rows.
async fn prepare_read(client: &mut Client, collection: &str, replicas: i32) -> anyhow::Result<()> {
    client.create_collection(collection, 2).await?;
    client.create_index(collection).await?;
    for part in (0..READ_ROWS).collect::<Vec<_>>().chunks(500) {
        let rows: Vec<Row> = part.iter().map(|id| read_row(*id)).collect();
        client.insert(collection, &rows).await?;
        client.flush(collection).await?;
    }
    client.load_replicas(collection, replicas).await?;
    Ok(())
}

struct Players {
    writers: JoinSet<anyhow::Result<Writer>>,
    callers: JoinSet<anyhow::Result<(&'static str, Latencies)>>,
    proxies: watch::Sender<Vec<SocketAddr>>,
    over: Arc<AtomicBool>,
}

impl Players {
    async fn enter(cluster: &Cluster, seed: u64) -> anyhow::Result<Self> {
        let mut client = workload::connect(cluster.proxies()[0]).await?;
        let (proxies, receiver) = watch::channel(cluster.proxies());
        let over = Arc::new(AtomicBool::new(false));
        let stage = Stage { proxies: receiver, over: over.clone() };
        let mut writers = JoinSet::new();
        for shards in [1, 2] {
            let collection = format!("model_{shards}");
            workload::prepare(&mut client, &collection, shards).await?;
            for number in 0..WRITERS {
                let writer = Writer::new(&collection, number, shards, seed);
                writers.spawn(write(writer, number.unsigned_abs() as usize, stage.clone()));
            }
        }
        let mut callers = JoinSet::new();
        for (collection, replicas) in [("once", 1), ("twice", 2)] {
            prepare_read(&mut client, collection, replicas).await?;
            let stage = stage.clone();
            callers.spawn(async move { Ok((collection, search(collection, 1, stage).await?)) });
        }
        workload::prepare(&mut client, INSERTED, 1).await?;
        callers.spawn(async move { Ok((INSERTED, insert(stage).await?)) });
        Ok(Self { writers, callers, proxies, over })
    }

    /// Fails as soon as somebody got a wrong answer.
    fn all_well(&mut self) -> anyhow::Result<()> {
        if let Some(ended) = self.writers.try_join_next() {
            ended??;
            anyhow::bail!("a writer ended before its time");
        }
        if let Some(ended) = self.callers.try_join_next() {
            ended??;
            anyhow::bail!("a caller ended before its time");
        }
        Ok(())
    }

    /// Ends everybody's work and compares everything once more.
    async fn leave(mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            let (collection, latencies) = caller??;
            latencies.tell(&format!("calls on {collection}"));
        }
        let mut client = workload::connect(cluster.proxies()[0]).await?;
        let mut operations = 0;
        while let Some(writer) = self.writers.join_next().await {
            let mut writer = writer??;
            ensure!(writer.check(&mut client).await? == Stopped::Done, "the proxy is gone");
            operations += writer.operations();
        }
        ensure!(operations > 0, "no operation was ever acknowledged");
        eprintln!("{operations} operations, no difference");
        Ok(())
    }
}

/// Somebody dies every few seconds, and another takes the place.
async fn deaths(shape: Shape, roles: &[&str], time: Duration) -> anyhow::Result<()> {
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    let directory = tempfile::tempdir()?;
    let mut cluster = Cluster::start(directory.path(), shape, Options::busy()).await?;
    let mut players = Players::enter(&cluster, seed).await?;
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
        players.proxies.send_replace(cluster.proxies());
        killed.push(role);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
        cluster.add(role).await?;
        players.proxies.send_replace(cluster.proxies());
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
        let mut players = Players::enter(&cluster, seed).await?;
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
        let mut players = Players::enter(&cluster, seed).await?;
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
