//! Logs to standard error, metrics to a recorder that `/metrics` renders.

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::settings::Log;

/// Latency buckets in milliseconds, the unit of Milvus's own latency metrics.
const LATENCY_BUCKETS: [f64; 14] =
    [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2048.0, 8192.0, 65_536.0];

/// Starts logging for the life of the process.
pub(crate) fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&log.level).with_context(|| format!("setting log.level = {:?}", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format.as_str() {
        "text" => builder.try_init(),
        "json" => builder.json().try_init(),
        other => anyhow::bail!("setting log.format = {other:?}: must be text or json"),
    };
    started.map_err(|error| anyhow::anyhow!("log already started: {error}"))
}

/// Starts recording metrics for the life of the process.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("latency".to_owned()), &LATENCY_BUCKETS)
        .context("latency buckets")?
        .install_recorder()
        .context("metrics recorder")
}
