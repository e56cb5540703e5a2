//! The test bucket as a process, for local clusters.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use redkite_test_bucket::{Faults, Options, TestBucket};

/// An S3 service for tests and local clusters; access key and secret key are `minioadmin`.
#[derive(Parser)]
#[command(name = "redkite-test-bucket")]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    address: SocketAddr,
    /// Directory that keeps the objects when the process ends.
    #[arg(long)]
    data: Option<PathBuf>,
    /// What goes wrong, as JSON; can be changed with `PUT /_faults`.
    #[arg(long, default_value = "{}")]
    faults: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Arguments { address, data, faults } = Arguments::parse();
    let faults: Faults = serde_json::from_str(&faults).context("--faults")?;
    let options = Options { address, data, faults };
    let server = TestBucket::start(options).await.with_context(|| format!("listen on {address}"))?;
    // Whoever started this process waits for the line.
    println!("listening on {}", server.address());
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped?,
        _ = terminated.recv() => {}
    }
    server.stop().await;
    Ok(())
}
