//! What is served on the metrics port: `/healthz`, `/livez`, `/management/check/ready` and `/metrics`; besides them what
//! [`crate::webui`] shows and [`crate::management`] steers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use redkite_cluster::Kv;
use redkite_cluster::kv::{Compare, Txn};
use redkite_runtime::{Stopping, SystemClock};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tracing::error;

use crate::surroundings::Outlook;
use crate::{management, webui};

/// State of one role. Milvus: `StateCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum StateCode {
    Initializing = 0,
    Healthy = 1,
    Abnormal = 2,
    StandBy = 3,
    Stopping = 4,
}

/// Health of one role, with what is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) name: &'static str,
    /// What it is if nothing is wrong.
    pub(crate) state: StateCode,
    pub(crate) problems: Vec<String>,
}

impl Health {
    fn code(&self) -> StateCode {
        if self.problems.is_empty() { self.state } else { StateCode::Abnormal }
    }

    /// A role that is well.
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, state: StateCode::Healthy, problems: Vec::new() }
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
    outlook: Outlook,
    stopping: Stopping,
) {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/livez", get(|| async { "OK" }))
        .route("/management/check/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .with_state(Pages { metrics, health })
        .merge(webui::routes(outlook.clone(), Arc::new(SystemClock)))
        .merge(management::routes(outlook));
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
        .map(|health| Detail { code: health.code() as i32, name: health.name, problems: health.problems })
        .collect();
    let sick: Vec<&str> =
        detail.iter().filter(|role| role.code == StateCode::Abnormal as i32).map(|role| role.name).collect();
    let (status, state) = if sick.is_empty() {
        (StatusCode::OK, "OK".to_owned())
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("component {sick:?} state is Abnormal"))
    };
    (status, axum::Json(Report { state, detail }))
}

/// Which role is asked for.
#[derive(Deserialize)]
struct Asked {
    role: Option<String>,
}

#[derive(Serialize)]
struct Message {
    msg: String,
}

/// Whether a role serves, or all of this process if none is named: a standby is healthy, but not ready.
async fn ready(State(pages): State<Pages>, Query(asked): Query<Asked>) -> impl IntoResponse {
    let health = (pages.health)().await;
    let (status, msg) = readiness(&health, asked.role.as_deref());
    (status, axum::Json(Message { msg }))
}

fn readiness(health: &[Health], role: Option<&str>) -> (StatusCode, String) {
    // Three coordinators in one process are asked for by that name, too.
    let asked = |health: &&Health| match role {
        None | Some("") => true,
        Some("mixcoord") => health.name.ends_with("coord"),
        Some(role) => health.name == role,
    };
    let roles: Vec<&Health> = health.iter().filter(asked).collect();
    if roles.is_empty() {
        return (StatusCode::INTERNAL_SERVER_ERROR, format!("role {} is not here", role.unwrap_or_default()));
    }
    let unready = roles.into_iter().find(|health| health.code() != StateCode::Healthy);
    match unready {
        None => (StatusCode::OK, "OK".to_owned()),
        Some(health) => {
            let msg = format!("component {} is not ready: state {:?}", health.name, health.code());
            (StatusCode::INTERNAL_SERVER_ERROR, msg)
        }
    }
}

#[cfg(test)]
mod tests {
    use redkite_cluster::kv::embedded::{EmbeddedKv, EmbeddedSettings};
    use redkite_runtime::Tasks;

    use super::*;

    #[test]
    fn a_standby_is_not_ready() {
        let standby = Health { state: StateCode::StandBy, ..Health::of("rootcoord") };
        let sick = Health { problems: vec!["ill".to_owned()], ..Health::of("querynode") };
        let all = [Health::of("datacoord"), standby, sick];
        let code = |role| readiness(&all, role).0;
        assert_eq!(code(Some("datacoord")), StatusCode::OK);
        for role in [None, Some("rootcoord"), Some("querynode"), Some("mixcoord"), Some("proxy")] {
            assert_eq!(code(role), StatusCode::INTERNAL_SERVER_ERROR, "{role:?}");
        }
        let (_, msg) = readiness(&all, Some("rootcoord"));
        assert_eq!(msg, "component rootcoord is not ready: state StandBy");
    }

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
