//! Logs to standard error, metrics to a recorder that `/metrics` renders.

use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use redkite_runtime::Tasks;
use tracing_subscriber::EnvFilter;

use crate::settings::Log;

/// Latency buckets in milliseconds, the unit of Milvus's own latency metrics.
const LATENCY_BUCKETS: [f64; 14] =
    [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2048.0, 8192.0, 65_536.0];
/// The same for our own metrics, which are in seconds.
const SECONDS_BUCKETS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.512, 2.048, 8.192, 65.536];
/// How often samples are counted into their buckets: until then, each takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

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

/// Starts recording metrics for the life of the process, and counting them as long as `tasks` run.
pub(crate) fn start_metrics(tasks: &Tasks) -> anyhow::Result<PrometheusHandle> {
    let handle = metrics_builder()?.install_recorder().context("metrics recorder")?;
    let counted = handle.clone();
    tasks.spawn("metrics", |stopping| async move {
        while stopping.race(tokio::time::sleep(UPKEEP)).await.is_some() {
            counted.run_upkeep();
        }
    });
    Ok(handle)
}

fn metrics_builder() -> anyhow::Result<PrometheusBuilder> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("latency".to_owned()), &LATENCY_BUCKETS)
        .context("latency buckets")?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .context("buckets of seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_buckets() {
        let recorder = metrics_builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("redkite_wal_put_seconds").record(0.003);
            metrics::histogram!("milvus_proxy_sq_latency").record(3.0);
        });
        let page = recorder.handle().render();
        assert!(page.contains("redkite_wal_put_seconds_bucket{le=\"0.004\"} 1"), "{page}");
        assert!(page.contains("milvus_proxy_sq_latency_bucket{le=\"4\"} 1"), "{page}");
    }
}
