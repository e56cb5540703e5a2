//! A crash, or a failing disk, at every named place: nothing acknowledged is lost, nothing half made stays.
//!
//! The server itself tells the names, so that no place can be forgotten. `REDKITE_MODEL_SEED` repeats a
//! run, `REDKITE_FAILPOINT` limits it to places whose name contains that.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redkite_tests::cast::{Cast, Share};
use redkite_tests::environment::seed;
use redkite_tests::files;
use redkite_tests::server::{self, EndedEarly, Options, Server, was_aborted};
use redkite_tests::workload::{self, Stopped};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Every place must be passed within this time.
const LIMIT: Duration = Duration::from_secs(60);
/// Servers at work at the same time: most of their time they wait for timers.
const PARALLEL: usize = 3;
/// Crashes at each place.
const ROUNDS: usize = 2;

async fn places() -> Vec<String> {
    let only = std::env::var("REDKITE_FAILPOINT").unwrap_or_default();
    let mut places = server::failpoints().await.unwrap();
    // Nobody is elected in a single process, and there is no bucket: `coordinators` and `balance` go to those places.
    let elsewhere = |place: &str| place.starts_with("election::") || place.starts_with("bucket::");
    places.retain(|place| place.contains(&only) && !elsewhere(place));
    places
}

/// How often a place may be passed before it fails: those that every write passes are met in many states.
fn most_passes(place: &str) -> u32 {
    match place {
        "wal::before-write" | "wal::after-write" | "wal::after-sync" => 100,
        "metastore::before-commit" | "metastore::after-commit" => 60,
        _ if place.starts_with("storage::") => 12,
        _ => 4,
    }
}

/// Runs a test for every place, some at a time, and reports all that failed.
async fn at_every_place<F>(test: impl Fn(String, u64) -> F)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let seed = seed();
    let turns = Arc::new(Semaphore::new(PARALLEL));
    let mut running = JoinSet::new();
    for place in places().await {
        let (work, turns) = (test(place.clone(), seed), turns.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let began = Instant::now();
            let outcome = work.await;
            eprintln!("{place}: {:.1} s", began.elapsed().as_secs_f64());
            outcome.map_err(|error| format!("{place}: {error:#}"))
        });
    }
    let wrong: Vec<String> = running.join_all().await.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "REDKITE_MODEL_SEED={seed}\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_place_loses_nothing() {
    at_every_place(|place, seed| async move {
        let directory = tempfile::tempdir()?;
        // On an empty directory, which few places are passed on.
        if let Some(server) = start_doomed(directory.path(), format!("{place}=return(abort)")).await? {
            server.kill().await?;
        }
        let mut random = SmallRng::seed_from_u64(seed);
        let mut cast = Cast::enter(directory.path(), seed, false).await?;
        for _ in 0..ROUNDS {
            let passes = random.random_range(0..=most_passes(&place));
            crash(directory.path(), &mut cast, format!("{place}={passes}*off->return(abort)")).await?;
            let after = || format!("after a crash after {passes} passes");
            let server = Server::start(directory.path(), &Options::busy()).await.with_context(after)?;
            cast.go_on(&server).await.with_context(after)?;
            server.kill().await?;
        }
        nothing_stays(directory.path()).await
    })
    .await;
}

/// When everything is dropped, nothing is left on disk, whatever was interrupted before.
async fn nothing_stays(directory: &Path) -> anyhow::Result<()> {
    let server = Server::start(directory, &Options::busy()).await?;
    let mut client = workload::connect(server.address).await?;
    for collection in client.collections().await? {
        client.drop_collection(&collection).await?;
    }
    let left =
        || anyhow::Ok([directory.join("objects"), directory.join("wal")].map(|room| files::below(&room)));
    let empty = async {
        while left()?.into_iter().collect::<Result<Vec<_>, _>>()?.concat() != Vec::<PathBuf>::new() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(Duration::from_secs(20), empty).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("left behind: {:?}; the server said:\n{}", left()?, server.said()),
    }
}

/// Works until the server dies at the place.
async fn crash(directory: &Path, cast: &mut Cast, failpoint: String) -> anyhow::Result<()> {
    let Some(mut server) = start_doomed(directory, failpoint.clone()).await? else { return Ok(()) };
    let worked = tokio::time::timeout(LIMIT, cast.work(&server, Share::ENDLESS)).await;
    let stopped = worked.with_context(|| format!("{failpoint} is not reached"))?;
    ensure!(stopped.with_context(|| format!("before {failpoint}"))? == Stopped::ServerGone, "nothing to do");
    let status = server.ended(Duration::from_secs(10)).await?;
    ensure!(was_aborted(status), "the server ended by itself, {status}");
    Ok(())
}

/// Starts a server that is to die at a place; `None` if it did so at once.
async fn start_doomed(directory: &Path, failpoint: String) -> anyhow::Result<Option<Server>> {
    match Server::start(directory, &Options::busy().fail(failpoint)).await {
        Ok(server) => Ok(Some(server)),
        Err(error) => match error.downcast_ref::<EndedEarly>() {
            Some(ended) if was_aborted(ended.status) => Ok(None),
            _ => Err(error),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_at_every_place_is_survived() {
    at_every_place(|place, seed| async move {
        let directory = tempfile::tempdir()?;
        let mut random = SmallRng::seed_from_u64(seed);
        let mut cast = Cast::enter(directory.path(), seed, true).await?;
        // Starting is over by then: a server that cannot start says so, which is tested elsewhere.
        let passes = random.random_range(0..=most_passes(&place))
            + if place.starts_with("metastore") { 20 } else { 2 };
        let failures = random.random_range(1..=4);
        let failpoint = format!("{place}={passes}*off->{failures}*return(enospc)->off");
        let server = Server::start(directory.path(), &Options::busy().fail(&failpoint)).await?;
        let trace = format!("failpoint {place}");
        let until_reached = async {
            while !server.said().contains(&trace) {
                ensure!(cast.work(&server, Share::SOME).await? == Stopped::Done, "the server is gone");
            }
            anyhow::Ok(())
        };
        let reached = tokio::time::timeout(LIMIT, until_reached).await;
        reached.with_context(|| format!("{failpoint} is not reached"))?.with_context(|| failpoint.clone())?;
        cast.go_on(&server).await.with_context(|| format!("after {failpoint}"))?;
        server.kill().await?;
        let server = Server::start(directory.path(), &Options::busy()).await?;
        cast.go_on(&server).await.with_context(|| format!("{failpoint}, then a restart"))?;
        Ok(())
    })
    .await;
}
