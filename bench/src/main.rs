//! Drives a Milvus-compatible server over the wire and prints what it measures.
//!
//! The same bytes go to whatever server listens at `--address`: Redkite, Milvus, any other. Recall is
//! measured against exact neighbours, never assumed.

mod data;
mod measure;
mod report;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::data::Dataset;
use crate::measure::Plan;

/// Measures a Milvus-compatible server: inserts, index build, searches, filters, freshness, memory.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the server listens.
    #[arg(long, default_value = "http://127.0.0.1:19530")]
    address: String,
    /// Name of the server in the report.
    #[arg(long, default_value = "server")]
    name: String,
    /// Process whose memory is reported.
    #[arg(long)]
    pid: Option<u32>,
    /// Folder with vectors.f16.npy, queries.f16.npy and neighbours.npy; without it, generated clusters.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Rows of generated data.
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Dimension of generated data.
    #[arg(long, default_value_t = 128)]
    dim: usize,
    /// Metric: L2, IP or COSINE.
    #[arg(long, default_value = "IP")]
    metric: String,
    /// HNSW's M.
    #[arg(long, default_value_t = 16)]
    m: u32,
    /// HNSW's efConstruction.
    #[arg(long, default_value_t = 200)]
    ef_construction: u32,
    /// Candidate list sizes to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [32, 48, 64, 96, 128, 160, 192])]
    ef: Vec<u32>,
    /// Numbers of concurrent clients, each with a connection of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8])]
    clients: Vec<usize>,
    /// Seconds of each search run, after half a second of warming up.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rows per insert.
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    /// Search an already filled collection again instead of filling it anew.
    #[arg(long)]
    keep: bool,
    /// At the end, kill the server (`--pid`) with SIGKILL, start it by this command, and measure how long its
    /// first search takes to be answered.
    #[arg(long, value_name = "COMMAND")]
    restart: Option<String>,
    /// Append the results as JSON lines to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let dataset = match &arguments.data {
        Some(folder) => Dataset::read(folder)?,
        None => Dataset::generate(arguments.rows, arguments.dim, &arguments.metric),
    };
    let plan = Plan {
        address: arguments.address,
        pid: arguments.pid,
        metric: arguments.metric,
        m: arguments.m,
        ef_construction: arguments.ef_construction,
        efs: arguments.ef,
        clients: arguments.clients,
        run: Duration::from_secs(arguments.seconds),
        batch: arguments.batch,
        keep: arguments.keep,
        restart: arguments.restart,
    };
    let results = measure::run(&plan, &dataset).await?;
    print!("{}", report::markdown(&arguments.name, &results));
    if let Some(path) = arguments.json {
        report::append_json(&path, &arguments.name, &results)?;
    }
    Ok(())
}
