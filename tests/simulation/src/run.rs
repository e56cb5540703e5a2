//! One seed: a cluster, some work, some trouble, and the verdict.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redkite_runtime::simulation;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::player::{Definer, Player};
use crate::shape::Shape;
use crate::trace::Trace;
use crate::{settled, trouble};

/// How long a new cluster may take until it is ready to be worked on.
const BEGIN: Duration = Duration::from_secs(120);
/// How long everything may take to come to rest after the last trouble.
const REST: Duration = Duration::from_secs(240);
/// How long no file is removed yet that nobody needs.
const GARBAGE: Duration = Duration::from_secs(240);
/// For so long nothing is written, once everything is at rest: longer than any interval of the settings.
const QUIET: Duration = Duration::from_secs(70);
/// So many times that may pass before: rows are sealed, what was dropped is forgotten.
const WINDOWS: u32 = 8;
/// How long work that has begun may take to end, once it is quiet.
const LAST_WORK: Duration = Duration::from_secs(300);

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of everything that happened.
    pub hash: u64,
    /// Calls that were answered as they should be.
    pub done: u64,
    /// Calls that were not answered.
    pub failed: u64,
    /// Simulated seconds.
    pub seconds: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash, done, failed, seconds } = self;
        write!(f, "{seconds:>4} s, {done:>4} calls, {failed:>3} of them failed, trace {hash:016x}")
    }
}

/// Runs one seed on this thread.
///
/// # Errors
/// If the cluster does what it must not.
pub fn run(seed: u64, shown: bool) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(simulation::run(seed, play(seed, shown)))
}

async fn play(seed: u64, shown: bool) -> anyhow::Result<Report> {
    let mut chance = SmallRng::seed_from_u64(seed);
    let trace = Trace::start(shown);
    let shape = Shape::draw(&mut chance);
    trace.note(format_args!("{shape:?}"));
    let began = Instant::now();
    let cluster = Cluster::lay_out(shape, chance.random(), &trace)?;
    let played = {
        let playing = scenes(&cluster, &mut chance);
        tokio::select! {
            biased;
            played = playing => played,
            () = cluster.tend() => bail!("nobody tends the cluster"),
        }
    };
    trace.note(format_args!("{}", if played.is_ok() { "the end" } else { "failed" }));
    cluster.end();
    let (done, failed) = played?;
    let fouls = cluster.etcd.fouls();
    ensure!(fouls.is_empty(), "against the rules: {fouls:#?}");
    Ok(Report { hash: trace.hash(), done, failed, seconds: began.elapsed().as_secs() })
}

async fn scenes(cluster: &Arc<Cluster>, chance: &mut SmallRng) -> anyhow::Result<(u64, u64)> {
    cluster.machines().into_iter().for_each(|machine| cluster.start(machine));
    timeout(BEGIN, prepare(cluster)).await.context("the cluster does not begin")?;
    cluster.trace.note(format_args!("ready"));

    let until = Instant::now() + Duration::from_secs(cluster.shape.seconds);
    let seed = chance.random();
    let mut players: Vec<Player> = (0..cluster.shape.players)
        .map(|number| {
            let which = number % cluster.shape.collections.len();
            let number = i64::try_from(number).unwrap_or(0);
            Player::new(cluster, &collection(which), cluster.shape.collections[which], number, seed)
        })
        .collect();
    let mut definers: Vec<Definer> =
        (0..cluster.shape.definers).map(|number| Definer::new(cluster, number, seed)).collect();
    let playing = async {
        let players = try_join_all(players.iter_mut().map(|player| player.play(until)));
        let definers = try_join_all(definers.iter_mut().map(|definer| definer.play(until)));
        tokio::try_join!(players, definers).map(drop)
    };
    let troubling = async {
        if let Some(pause) = cluster.shape.trouble {
            trouble::make(cluster, chance, pause, until).await;
        }
        trouble::end(cluster);
        trouble::take_back(cluster).await;
        cluster.trace.note(format_args!("the trouble is over"));
        anyhow::Ok(())
    };
    let work = async { tokio::try_join!(playing, troubling).map(drop) };
    let patience = Duration::from_secs(cluster.shape.seconds) + LAST_WORK;
    timeout(patience, work)
        .await
        .with_context(|| format!("work does not end; {:#?}", settled::problems(cluster)))??;

    let looks = try_join_all(players.iter_mut().map(|player| player.last_look(REST)));
    looks.await.with_context(|| format!("{:#?}", settled::problems(cluster)))?;
    rest(cluster, REST, settled::problems).await.context("it does not come to rest")?;
    rest(cluster, GARBAGE, settled::leaks).await.context("objects are left")?;
    quiet(cluster).await?;
    let looks = try_join_all(players.iter_mut().map(|player| player.last_look(REST)));
    looks.await?;
    let done = players.iter().map(|player| player.done).sum();
    Ok((done, players.iter().map(|player| player.failed).sum()))
}

fn collection(number: usize) -> String {
    format!("c{number}")
}

/// Makes the collections.
async fn prepare(cluster: &Cluster) {
    for (number, shards) in cluster.shape.collections.iter().enumerate() {
        let name = collection(number);
        loop {
            let made = async {
                let (_, mut client) = cluster.clients().pop()?;
                client.create_collection(&name, *shards).await.ok()?;
                client.create_index(&name).await.ok()?;
                client.load_replicas(&name, cluster.shape.replicas).await.ok()
            };
            if made.await.is_some() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Waits until nothing is left.
async fn rest(
    cluster: &Cluster,
    patience: Duration,
    look: impl Fn(&Cluster) -> Vec<String>,
) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    loop {
        let left = look(cluster);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "left: {left:#?}");
        sleep(Duration::from_secs(2)).await;
    }
}

/// Waits until nothing is planned any more: no record changes.
async fn quiet(cluster: &Cluster) -> anyhow::Result<()> {
    let mut written = Vec::new();
    for _ in 0..WINDOWS {
        let before = cluster.etcd.look("").revision;
        sleep(QUIET).await;
        let after = cluster.etcd.look("");
        if after.revision == before {
            return Ok(());
        }
        let entries = after.entries.into_iter().filter(|entry| entry.mod_revision > before);
        written = entries.map(|entry| entry.key).collect();
    }
    bail!("records change without end: {written:?}")
}
