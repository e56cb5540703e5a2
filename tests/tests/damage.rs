//! Files that are not as they were written: a torn end is cut off, anything else is refused by name.
//! Never a wrong answer, never a panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use redkite_tests::client::{CallError, Client, Row};
use redkite_tests::files::{self, Damage};
use redkite_tests::server::{EndedEarly, Options, Server};
use redkite_tests::workload::{self, Stopped, Writer};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// An answer or a clear refusal comes within this time.
const PATIENCE: Duration = Duration::from_secs(30);
const ROWS: i64 = 3000;
/// Servers at work at the same time: a read of what cannot be loaded waits before it is refused.
const PARALLEL: usize = 8;

/// What a server logs when code of ours panics; redb is known to, and its panics are caught.
const PANIC: &str = "panicked at crates/";

fn rows(ids: std::ops::Range<i64>) -> Vec<Row> {
    ids.map(|id| Row { id, version: id % 17, tag: format!("tag-{id}") }).collect()
}

/// Logs of shards, newest file of each.
fn newest_logs(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut newest: Vec<PathBuf> = Vec::new();
    for path in files::ending(&directory.join("wal"), ".log")? {
        match newest.last_mut() {
            Some(last) if last.parent() == path.parent() => *last = path,
            _ => newest.push(path),
        }
    }
    ensure!(!newest.is_empty(), "no logs in {}", directory.display());
    Ok(newest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_end_of_a_log_is_cut_off() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut server = Server::start(directory.path(), &Options::default()).await?;
    let mut client = workload::connect(server.address).await?;
    let mut writers = Vec::new();
    for shards in [1, 2] {
        let collection = format!("model_{shards}");
        workload::prepare(&mut client, &collection, shards).await?;
        writers.push(Writer::new(&collection, 0, shards, 7));
    }
    let noise: Vec<u8> = (0..5000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let torn = [
        Damage::Cut(1),
        Damage::Cut(23),
        Damage::Append(vec![0; 4096]),
        Damage::Append(vec![0xff]),
        Damage::Append(noise[..700].to_vec()),
        Damage::Append(noise),
    ];
    for damage in torn {
        for writer in &mut writers {
            ensure!(writer.work(server.address, 25).await? == Stopped::Done, "the server is gone");
        }
        server.kill().await?;
        for log in newest_logs(directory.path())? {
            damage.inflict(&log)?;
        }
        server = Server::start(directory.path(), &Options::default()).await?;
        let mut client = workload::connect(server.address).await?;
        for writer in &mut writers {
            let checked = writer.check(&mut client).await.with_context(|| format!("{damage:?}"))?;
            ensure!(checked == Stopped::Done, "the server is gone after {damage:?}");
        }
        let (well, health) = server.health().await?;
        ensure!(well, "{damage:?}: {health}");
        ensure!(!server.said().contains(PANIC), "{damage:?}: panic");
    }
    Ok(())
}

fn refused_with(outcome: Result<impl Sized, CallError>, names: &[&str]) -> anyhow::Result<()> {
    match outcome {
        Ok(_) => anyhow::bail!("not refused"),
        Err(CallError::Refused { reason, .. }) => {
            let missing: Vec<_> = names.iter().filter(|name| !reason.contains(**name)).collect();
            ensure!(missing.is_empty(), "{missing:?} not in {reason:?}");
            Ok(())
        }
        Err(lost) => Err(lost.into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_refused_with_file_and_offset_and_others_serve() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), &Options::default()).await?;
    let mut client = workload::connect(server.address).await?;
    workload::prepare(&mut client, "damaged", 1).await?;
    for from in (0..ROWS).step_by(100) {
        client.insert("damaged", &rows(from..from + 100)).await?;
    }
    let log = newest_logs(directory.path())?.remove(0);
    workload::prepare(&mut client, "whole", 1).await?;
    client.insert("whole", &rows(0..100)).await?;
    server.kill().await?;

    let undamaged = std::fs::read(&log)?;
    Damage::Flip(500).inflict(&log)?;
    let name = log.to_string_lossy().into_owned();
    let server = Server::start(directory.path(), &Options::default()).await?;
    let mut client = workload::connect(server.address).await?;
    let names = [&*name, "corrupted at byte "];
    refused_with(client.count("damaged", "id >= 0").await, &names).context("count")?;
    refused_with(client.search("damaged", &rows(5..6)[0], 3).await, &names).context("search")?;
    refused_with(client.insert("damaged", &rows(0..1)).await, &names).context("insert")?;
    refused_with(client.flush("damaged").await, &names).context("flush")?;
    client.insert("whole", &rows(100..200)).await?;
    ensure!(client.query("whole", "id >= 0").await? == rows(0..200), "the other collection");
    let (well, health) = server.health().await?;
    ensure!(!well && health.to_string().contains(&name), "health: {health}");
    ensure!(server.said().contains(&name), "the log says nothing");
    ensure!(!server.said().contains(PANIC), "panic");
    server.kill().await?;

    std::fs::write(&log, undamaged)?;
    let server = Server::start(directory.path(), &Options::default()).await?;
    let mut client = workload::connect(server.address).await?;
    ensure!(client.query("damaged", "id >= 0").await? == rows(0..ROWS), "rows after the repair");
    server.kill().await?;

    Damage::Flip(700).inflict(&log)?;
    let server = Server::start(directory.path(), &Options::default()).await?;
    let mut client = workload::connect(server.address).await?;
    client.drop_collection("damaged").await.context("what is damaged can be dropped")?;
    ensure!(client.collections().await? == ["whole"], "collections");
    tokio::time::timeout(PATIENCE, async {
        while log.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .context("the log of the dropped collection stays")
}

/// A data directory with rows in a segment, an index, deletes in files, and nothing in the log.
struct Base {
    directory: TempDir,
    expected: Vec<(Row, Vec<f32>)>,
}

impl Base {
    async fn make() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let server = Server::start(directory.path(), &Options::default()).await?;
        let mut client = workload::connect(server.address).await?;
        workload::prepare(&mut client, "rows", 1).await?;
        client.insert("rows", &rows(0..ROWS)).await?;
        client.flush("rows").await?;
        let indexed = async {
            while client.index_progress("rows").await? != (ROWS, ROWS) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, indexed).await.context("not indexed")??;
        client.delete("rows", &format!("id in {:?}", (0..ROWS).step_by(10).collect::<Vec<_>>())).await?;
        client.flush("rows").await?;
        server.kill().await?;
        let kept = rows(0..ROWS).into_iter().filter(|row| row.id % 10 != 0);
        let expected = kept.map(|row| (row.clone(), row.vector().to_vec())).collect();
        Ok(Self { directory, expected })
    }

    /// What a server says to this damage: right answers, or an error that names the file.
    async fn with(&self, end: &str, damage: &Damage) -> anyhow::Result<Outcome> {
        let copy = tempfile::tempdir()?;
        files::copy(self.directory.path(), copy.path())?;
        let file =
            files::ending(copy.path(), end)?.into_iter().next().with_context(|| format!("no {end}"))?;
        damage.inflict(&file)?;
        let outcome = match Server::start(copy.path(), &Options::default()).await {
            Ok(server) => {
                let examined = tokio::time::timeout(PATIENCE, self.examine(&server, &file)).await;
                ensure!(!server.said().contains(PANIC), "panic");
                examined.context("neither an answer nor a clear refusal")??
            }
            Err(error) => refused_start(&error, &file)?,
        };
        Ok(outcome)
    }

    async fn examine(&self, server: &Server, file: &Path) -> anyhow::Result<Outcome> {
        let mut client = workload::connect(server.address).await?;
        // Large files are checked in the background: until then a wrong byte may be served.
        let looked_at = ["segment checked", "segment is damaged", "segment not opened"];
        while !looked_at.iter().any(|message| server.said().contains(message)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Loading a damaged file is tried again and again: the reason is known after the first time.
        loop {
            let error = match self.read(&mut client).await? {
                None if said_about(server, file) => return Ok(Outcome::RightAndSaid),
                None => return Ok(Outcome::Right),
                Some(error) => error,
            };
            let reason = error.to_string();
            ensure!(error.code().is_some(), "{reason}");
            if reason.contains(&name(file)) && said_about(server, file) {
                return Ok(Outcome::Refused);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads everything in every way; an error is given back, a wrong answer is one.
    async fn read(&self, client: &mut Client) -> anyhow::Result<Option<CallError>> {
        match self.compare(client).await {
            Ok(wrong) => wrong.map_or(Ok(None), |wrong| Err(anyhow::anyhow!(wrong))),
            Err(error) => Ok(Some(error)),
        }
    }

    async fn compare(&self, client: &mut Client) -> Result<Option<String>, CallError> {
        let count = client.count("rows", "id >= 0").await?;
        if count != self.expected.len() as i64 {
            return Ok(Some(format!("wrong count: {count}")));
        }
        let found = client.query_with_vectors("rows", "id >= 0").await?;
        if found != self.expected {
            let differ = found.iter().zip(&self.expected).find(|(found, expected)| found != expected);
            return Ok(Some(format!("wrong rows: {} of them, {differ:?}", found.len())));
        }
        for (row, _) in self.expected.iter().step_by(97) {
            let hits = client.search("rows", row, 3).await?;
            if hits.first() != Some(&(row.id, 0.0)) || hits.iter().any(|(id, _)| id % 10 == 0) {
                return Ok(Some(format!("wrong search for {}: {hits:?}", row.id)));
            }
        }
        Ok(None)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    /// Right, and the log names the file.
    RightAndSaid,
    Refused,
    /// The server did not start.
    NotStarted,
}

/// The part of a path that is the same in every copy.
fn name(file: &Path) -> String {
    let components: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    let from = components.iter().position(|part| *part == "objects" || *part == "meta").unwrap_or_default();
    components[from + 1..].join("/")
}

fn said_about(server: &Server, file: &Path) -> bool {
    let said = server.said();
    let mut loud = said.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\""));
    loud.any(|line| line.contains(&name(file)))
}

fn refused_start(error: &anyhow::Error, file: &Path) -> anyhow::Result<Outcome> {
    let Some(ended) = error.downcast_ref::<EndedEarly>() else { anyhow::bail!("{error:#}") };
    let last = ended.said.lines().last().unwrap_or_default();
    ensure!(ended.status.code() == Some(1), "{}", ended.status);
    ensure!(last.starts_with("redkite: ") && last.contains(&name(file)), "it says: {last}");
    ensure!(!ended.said.contains(PANIC), "{}", ended.said);
    Ok(Outcome::NotStarted)
}

/// Every kind of damage at many places.
fn damages() -> Vec<Damage> {
    let flips = [0, 3, 130, 260, 390, 520, 650, 780, 910, 985, 997, 1000].map(Damage::Flip);
    let others =
        [Damage::Cut(1), Damage::Keep(500), Damage::Keep(0), Damage::Append(vec![7; 9]), Damage::Remove];
    flips.into_iter().chain(others).collect()
}

async fn every_damage(end: &'static str, allowed: &[Outcome]) -> anyhow::Result<()> {
    let base = Arc::new(Base::make().await?);
    let turns = Arc::new(Semaphore::new(PARALLEL));
    let mut running = JoinSet::new();
    for damage in damages() {
        let (base, turns) = (base.clone(), turns.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await;
            (base.with(end, &damage).await, damage)
        });
    }
    let mut wrong = Vec::new();
    for (outcome, damage) in running.join_all().await {
        match outcome {
            Ok(outcome) if allowed.contains(&outcome) => eprintln!("{end} {damage:?}: {outcome:?}"),
            Ok(outcome) => wrong.push(format!("{damage:?}: {outcome:?}")),
            Err(error) => wrong.push(format!("{damage:?}: {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{end}:\n{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_is_refused_by_name() -> anyhow::Result<()> {
    // Bytes between blocks mean nothing.
    every_damage("data.rks", &[Outcome::Refused, Outcome::Right]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_index_costs_speed_not_answers() -> anyhow::Result<()> {
    every_damage(".rki", &[Outcome::RightAndSaid, Outcome::Right]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_deletes_are_refused_by_name() -> anyhow::Result<()> {
    every_damage(".rkd", &[Outcome::Refused]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_metastore_is_refused_by_name() -> anyhow::Result<()> {
    // A flipped bit may be in a page that nothing uses.
    every_damage("metadata.redb", &[Outcome::NotStarted, Outcome::Right]).await
}
