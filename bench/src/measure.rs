//! What is measured, in which order.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_proto::common::ConsistencyLevel;
use redkite_proto::milvus::SearchRequest;
use serde::Serialize;

use crate::data::{Dataset, recall};
use crate::wire::{Connection, search};

/// Filters `bucket < n` let through n percent of the rows.
const SELECTIVITIES: [i64; 3] = [1, 10, 50];
const WARM_UP: Duration = Duration::from_millis(500);
const FRESHNESS_ROUNDS: usize = 500;
/// How long a restarted server may take to answer.
const RESTART_LIMIT: Duration = Duration::from_secs(300);

/// What to do.
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) pid: Option<u32>,
    pub(crate) metric: String,
    pub(crate) m: u32,
    pub(crate) ef_construction: u32,
    pub(crate) efs: Vec<u32>,
    pub(crate) clients: Vec<usize>,
    pub(crate) run: Duration,
    pub(crate) batch: usize,
    pub(crate) keep: bool,
    pub(crate) restart: Option<String>,
}

/// Everything measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    pub(crate) fill: Option<Fill>,
    pub(crate) memory_mb: Option<u64>,
    pub(crate) searches: Vec<Search>,
    pub(crate) fresh: Option<Latency>,
    pub(crate) restart: Option<Restart>,
}

/// Being back after `kill -9`.
#[derive(Debug, Serialize)]
pub(crate) struct Restart {
    /// Seconds from the start of the process to the answer of its first search.
    pub(crate) first_search_s: f64,
    /// Recall of the searches after it.
    pub(crate) recall: f64,
}

/// Filling the collection; seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Fill {
    pub(crate) insert_rows_per_s: f64,
    pub(crate) flush_s: f64,
    pub(crate) index_s: f64,
    pub(crate) load_s: f64,
}

/// One search run.
#[derive(Debug, Serialize)]
pub(crate) struct Search {
    pub(crate) ef: u32,
    /// Percent of rows the filter lets through; 100 is no filter.
    pub(crate) selectivity: i64,
    pub(crate) recall: f64,
    pub(crate) clients: usize,
    pub(crate) qps: f64,
    pub(crate) latency: Latency,
}

/// Milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: usize| {
            let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// Does everything in the plan.
pub(crate) async fn run(plan: &Plan, data: &Dataset) -> anyhow::Result<Results> {
    let mut connection = Connection::open(&plan.address).await?;
    let mut results = Results { rows: data.rows(), dim: data.dim, ..Results::default() };
    if !plan.keep {
        results.fill = Some(fill(plan, data, &mut connection).await?);
    }
    eprintln!("exact neighbours ...");
    let exact = data.neighbours(100);
    for &ef in &plan.efs {
        results.searches.extend(runs(plan, data, ef, 100, &exact, &plan.clients).await?);
    }
    for selectivity in SELECTIVITIES.into_iter().filter(|_| !plan.efs.is_empty()) {
        let exact = data.neighbours(selectivity);
        let ends = [1, plan.clients.iter().copied().max().unwrap_or(1)];
        results.searches.extend(runs(plan, data, 64, selectivity, &exact, &ends).await?);
    }
    results.memory_mb = plan.pid.and_then(resident_mb);
    results.fresh = Some(fresh(plan, data, &mut connection).await?);
    if let Some(command) = &plan.restart {
        results.restart = Some(restart(plan, data, command, &exact).await?);
    }
    Ok(results)
}

async fn fill(plan: &Plan, data: &Dataset, connection: &mut Connection) -> anyhow::Result<Fill> {
    connection.recreate(data.dim).await?;
    let mut spent = Duration::ZERO;
    for start in (0..data.rows()).step_by(plan.batch) {
        let begun = Instant::now();
        connection.insert(data, start..(start + plan.batch).min(data.rows()), 0).await?;
        spent += begun.elapsed();
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let insert_rows_per_s = data.rows() as f64 / spent.as_secs_f64();
    eprintln!("inserted: {insert_rows_per_s:.0} rows/s");
    let begun = Instant::now();
    connection.flush().await?;
    let flush_s = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    connection.create_index(&plan.metric, plan.m, plan.ef_construction).await?;
    connection.wait_for_index(data.rows()).await?;
    let index_s = begun.elapsed().as_secs_f64();
    eprintln!("flushed in {flush_s:.2} s, indexed in {index_s:.2} s");
    let begun = Instant::now();
    connection.load().await?;
    Ok(Fill { insert_rows_per_s, flush_s, index_s, load_s: begun.elapsed().as_secs_f64() })
}

/// Recall once, then speed with each number of clients.
async fn runs(
    plan: &Plan,
    data: &Dataset,
    ef: u32,
    selectivity: i64,
    exact: &[Vec<i64>],
    clients: &[usize],
) -> anyhow::Result<Vec<Search>> {
    let requests = requests(plan, data, ef, selectivity);
    let recall = recall_of(&mut Connection::open(&plan.address).await?, &requests, exact).await?;
    let requests = Arc::new(requests);
    let mut searches = Vec::new();
    for &clients in clients {
        let (qps, latency) = load(plan, requests.clone(), clients).await?;
        eprintln!("ef {ef}, {selectivity} %: recall {recall:.4}, {clients} clients {qps:.0}/s");
        searches.push(Search { ef, selectivity, recall, clients, qps, latency });
    }
    Ok(searches)
}

fn requests(plan: &Plan, data: &Dataset, ef: u32, selectivity: i64) -> Vec<SearchRequest> {
    let filter = if selectivity == 100 { String::new() } else { format!("bucket < {selectivity}") };
    let queries = (0..data.nq()).map(|query| data.query(query));
    queries.map(|query| search(query, &plan.metric, ef, &filter, ConsistencyLevel::Bounded)).collect()
}

async fn recall_of(
    connection: &mut Connection,
    requests: &[SearchRequest],
    exact: &[Vec<i64>],
) -> anyhow::Result<f64> {
    let mut found = Vec::with_capacity(requests.len());
    for request in requests {
        found.push(connection.search(request.clone()).await?);
    }
    Ok(recall(&found, exact))
}

/// Searches as fast as `clients` closed loops can.
async fn load(
    plan: &Plan,
    requests: Arc<Vec<SearchRequest>>,
    clients: usize,
) -> anyhow::Result<(f64, Latency)> {
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now() + WARM_UP;
    let end = begin + plan.run;
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let mut connection = Connection::open(&plan.address).await?;
        let (requests, next) = (requests.clone(), next.clone());
        loops.spawn(async move {
            let mut times = Vec::new();
            loop {
                let request = requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()].clone();
                let begun = Instant::now();
                connection.search(request).await?;
                let now = Instant::now();
                if now >= end {
                    return anyhow::Ok(times);
                }
                if begun >= begin {
                    times.push(now - begun);
                }
            }
        });
    }
    let mut times = Vec::new();
    while let Some(finished) = loops.join_next().await {
        times.extend(finished??);
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let qps = times.len() as f64 / plan.run.as_secs_f64();
    Ok((qps, Latency::of(times)))
}

/// Insert one row, find it by a strong search.
async fn fresh(plan: &Plan, data: &Dataset, connection: &mut Connection) -> anyhow::Result<Latency> {
    let mut times = Vec::new();
    for round in 0..FRESHNESS_ROUNDS.min(data.rows()) {
        let vector = &data.vectors[round * data.dim..(round + 1) * data.dim];
        let request = search(vector, &plan.metric, 64, "", ConsistencyLevel::Strong);
        let begun = Instant::now();
        connection.insert(data, round..round + 1, data.rows()).await?;
        let found = connection.search(request).await?;
        times.push(begun.elapsed());
        let new = i64::try_from(data.rows() + round)?;
        ensure!(found.contains(&new), "row {new} is acknowledged, and a strong search does not find it");
    }
    let new = i64::try_from(data.rows())?;
    connection.delete(&format!("id >= {new}")).await?;
    Ok(Latency::of(times))
}

/// Kills the server, starts it again, and asks until it answers.
async fn restart(plan: &Plan, data: &Dataset, command: &str, exact: &[Vec<i64>]) -> anyhow::Result<Restart> {
    let pid = plan.pid.context("--restart needs --pid")?;
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    ensure!(killed.success(), "process {pid} cannot be killed");
    while Connection::open(&plan.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let requests = requests(plan, data, 64, 100);
    let begun = Instant::now();
    let mut server = std::process::Command::new("sh");
    server.args(["-c", &format!("exec {command}")]).stdin(Stdio::null());
    let mut server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut connection = loop {
        ensure!(begun.elapsed() < RESTART_LIMIT, "no answer after {RESTART_LIMIT:?}");
        if let Ok(mut connection) = Connection::open(&plan.address).await
            && connection.search(requests[0].clone()).await.is_ok_and(|found| !found.is_empty())
        {
            break connection;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let first_search_s = begun.elapsed().as_secs_f64();
    let recall = recall_of(&mut connection, &requests, exact).await?;
    eprintln!("restarted: first search after {first_search_s:.2} s, recall {recall:.4}");
    server.kill()?;
    server.wait()?;
    Ok(Restart { first_search_s, recall })
}

fn resident_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}
