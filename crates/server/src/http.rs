//! `/healthz`, `/livez` and `/metrics` on the metrics port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use redkite_cluster::Kv;
use redkite_cluster::kv::{Compare, Txn};
use redkite_runtime::Stopping;
use serde::Serialize;
use tokio::net::TcpListener;
use tracing::error;

/// State of one role. Milvus: `StateCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum StateCode {
    Healthy = 1,
    Abnormal = 2,
}

/// Health of one role, with what is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) name: &'static str,
    pub(crate) problems: Vec<String>,
}

impl Health {
    /// A role that is well.
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, problems: Vec::new() }
    }
}

/// Asked at every request to `/healthz`.
pub(crate) type HealthCheck = Arc<dyn Fn() -> BoxFuture<'static, Vec<Health>> + Send + Sync>;

#[derive(Clone)]
struct Pages {
    metrics: PrometheusHandle,
    health: HealthCheck,
}

#[derive(Serialize)]
struct Report {
    state: String,
    detail: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    name: &'static str,
    code: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// How long the metastore may take to answer `/healthz`.
const METASTORE_PATIENCE: Duration = Duration::from_secs(3);

/// Asks for a transaction that changes nothing: a store that takes no writes refuses that one too.
pub(crate) async fn metastore_problems(kv: &dyn Kv) -> Vec<String> {
    let nothing = Txn::new().when(Compare::exists("health"));
    match tokio::time::timeout(METASTORE_PATIENCE, kv.txn(nothing)).await {
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(error)) => vec![error.to_string()],
        Err(_) => vec!["metastore does not answer".to_owned()],
    }
}

/// Serves the pages until the stop.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    health: HealthCheck,
    stopping: Stopping,
) {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/livez", get(|| async { "OK" }))
        .route("/metrics", get(render_metrics))
        .with_state(Pages { metrics, health });
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stopping.wait().await });
    if let Err(source) = served.await {
        error!(%source, "metrics server ended");
    }
}

async fn render_metrics(State(pages): State<Pages>) -> impl IntoResponse {
    pages.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], pages.metrics.render())
}

async fn healthz(State(pages): State<Pages>) -> impl IntoResponse {
    let detail: Vec<Detail> = (pages.health)()
        .await
        .into_iter()
        .map(|Health { name, problems }| {
            let code = if problems.is_empty() { StateCode::Healthy } else { StateCode::Abnormal };
            Detail { name, code: code as i32, problems }
        })
        .collect();
    let sick: Vec<&str> =
        detail.iter().filter(|role| role.code != StateCode::Healthy as i32).map(|role| role.name).collect();
    let (status, state) = if sick.is_empty() {
        (StatusCode::OK, "OK".to_owned())
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("component {sick:?} state is Abnormal"))
    };
    (status, axum::Json(Report { state, detail }))
}

#[cfg(test)]
mod tests {
    use redkite_cluster::kv::embedded::{EmbeddedKv, EmbeddedSettings};
    use redkite_runtime::Tasks;

    use super::*;

    #[tokio::test]
    async fn a_metastore_that_takes_no_writes_is_a_problem() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.redb");
        let tasks = Tasks::new("test");
        let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
        assert_eq!(metastore_problems(&*kv).await, Vec::<String>::new());
        kv.close().await;
        assert_eq!(metastore_problems(&*kv).await.len(), 1);
    }
}
