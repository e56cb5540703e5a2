//! What is measured, in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redkite_proto::common::ConsistencyLevel;
use serde::Serialize;

use crate::data::{Dataset, recall};
use crate::wire::{Connection, search};

/// Filters `bucket < n` let through n percent of the rows.
const SELECTIVITIES: [i64; 3] = [1, 10, 50];
const WARM_UP: Duration = Duration::from_millis(500);
const FRESHNESS_ROUNDS: usize = 200;

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
    for selectivity in SELECTIVITIES {
        let exact = data.neighbours(selectivity);
        let ends = [1, plan.clients.iter().copied().max().unwrap_or(1)];
        results.searches.extend(runs(plan, data, 64, selectivity, &exact, &ends).await?);
    }
    results.memory_mb = plan.pid.and_then(resident_mb);
    results.fresh = Some(fresh(plan, data, &mut connection).await?);
    Ok(results)
}

async fn fill(plan: &Plan, data: &Dataset, connection: &mut Connection) -> anyhow::Result<Fill> {
    connection.recreate(data.dim).await?;
    let mut spent = Duration::ZERO;
    for start in (0..data.rows()).step_by(plan.batch) {
        let begun = Instant::now();
        connection.insert(data, start..(start + plan.batch).min(data.rows())).await?;
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
    let filter = if selectivity == 100 { String::new() } else { format!("bucket < {selectivity}") };
    let requests: Vec<_> = (0..data.nq())
        .map(|query| search(data.query(query), &plan.metric, ef, &filter, ConsistencyLevel::Bounded))
        .collect();
    let mut connection = Connection::open(&plan.address).await?;
    let mut found = Vec::with_capacity(requests.len());
    for request in &requests {
        found.push(connection.search(request.clone()).await?);
    }
    let recall = recall(&found, exact);
    let requests = Arc::new(requests);
    let mut searches = Vec::new();
    for &clients in clients {
        let (qps, latency) = load(plan, requests.clone(), clients).await?;
        eprintln!("ef {ef}, {selectivity} %: recall {recall:.4}, {clients} clients {qps:.0}/s");
        searches.push(Search { ef, selectivity, recall, clients, qps, latency });
    }
    Ok(searches)
}

/// Searches as fast as `clients` closed loops can.
async fn load(
    plan: &Plan,
    requests: Arc<Vec<redkite_proto::milvus::SearchRequest>>,
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
        connection.insert(data, round..round + 1).await?;
        connection.search(request).await?;
        times.push(begun.elapsed());
    }
    Ok(Latency::of(times))
}

fn resident_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}
