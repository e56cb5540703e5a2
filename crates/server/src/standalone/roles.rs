//! The roles of one process, wired together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use redkite_catalog::MetadataView;
use redkite_cluster::kv::embedded::{EmbeddedKv, EmbeddedSettings};
use redkite_cluster::kv::{Compare, Txn};
use redkite_cluster::{Candidate, IdAllocator, Kv, Session, SessionInfo, SessionSettings};
use redkite_coordinator::{
    DataCoordinator, DataSettings, QueryCoordinator, QuerySettings, RootCoordinator, RootSettings,
    StaticNodes,
};
use redkite_data_node::{DataNode, DataNodeSettings};
use redkite_proxy::{Proxy, ProxyParts};
use redkite_query_node::{QueryNode, QueryNodeSettings};
use redkite_runtime::units::Bytes;
use redkite_runtime::{Clock, CpuPool, HybridClock, SystemClock, Tasks};
use redkite_storage::{LocalStore, ObjectStore};
use redkite_streaming_node::{StreamingNode, StreamingNodeSettings};
use redkite_types::NodeId;
use redkite_wal::{LocalLogs, WalSettings};
use tokio::time::{Instant, timeout_at};

use super::neighbours::{Neighbours, SharedIds};
use crate::data_directory::DataDirectory;
use crate::http::{Health, HealthCheck};
use crate::settings::Settings;

/// The process is one node, always the same: what it was assigned before a restart is still its.
const NODE: NodeId = NodeId(1);
/// Nobody waits for the death of the only process, so a long pause of it must not end its leases.
const SESSION: SessionSettings = SessionSettings { ttl: 86_400 };

/// What a stop leaves to the metastore.
const CLOSING: Duration = Duration::from_millis(200);
/// How long the metastore may take to answer `/healthz`.
const METASTORE_PATIENCE: Duration = Duration::from_secs(3);

/// The roles, running.
pub(super) struct Roles {
    kv: Arc<EmbeddedKv>,
    streaming: Arc<StreamingNode>,
    query: Arc<QueryNode>,
    proxy: Arc<Proxy>,
    /// Held as long as the process: what nodes report and what makes coordinators active stands on them.
    _sessions: (Session, Vec<Candidate>),
    _data: DataNode,
}

/// What every role is given.
struct Ground {
    kv: Arc<EmbeddedKv>,
    view: MetadataView,
    ids: SharedIds,
    clock: Arc<dyn Clock>,
    hybrid: Arc<HybridClock>,
    store: Arc<dyn ObjectStore>,
    tasks: Tasks,
}

impl Ground {
    async fn lay(directory: &DataDirectory, tasks: &Tasks) -> anyhow::Result<Self> {
        let kv = EmbeddedKv::open(&directory.metastore()?, &EmbeddedSettings::default(), tasks).await?;
        let view = MetadataView::start(kv.clone(), tasks).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids = SharedIds(Arc::new(IdAllocator::new(kv.clone(), "global", clock.clone())));
        let store = Arc::new(LocalStore::open(directory.join("objects")).await?);
        let hybrid = Arc::new(HybridClock::new(clock.clone()));
        Ok(Self { kv, view, ids, clock, hybrid, store, tasks: tasks.clone() })
    }

    /// Becomes the active coordinator of a role; nobody else competes.
    async fn lead(&self, role: &str) -> anyhow::Result<(Candidate, redkite_coordinator::Environment)> {
        let candidate = Candidate::start(self.kv.clone(), session(role), &SESSION, &self.tasks).await?;
        let leadership = candidate.campaign().await?;
        let environment = redkite_coordinator::Environment {
            view: self.view.clone(),
            kv: self.kv.clone(),
            writer: Arc::new(leadership),
            ids: Arc::new(self.ids.clone()),
            clock: self.hybrid.clone(),
            nodes: Arc::new(StaticNodes::standalone(NODE)),
            tasks: self.tasks.child(role),
        };
        Ok((candidate, environment))
    }
}

fn session(role: &str) -> SessionInfo {
    SessionInfo {
        server_id: NODE.0,
        server_name: role.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..SessionInfo::default()
    }
}

impl Roles {
    pub(super) async fn start(
        settings: &Settings,
        directory: &DataDirectory,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let ground = Ground::lay(directory, tasks).await?;
        let session = Session::start(ground.kv.clone(), session("standalone"), &SESSION, tasks).await?;
        let neighbours = Arc::new(Neighbours::default());
        let cpu = CpuPool::new("search", threads(settings.query_node.threads))?;
        let streaming =
            start_streaming(settings, directory, &ground, &session, neighbours.clone(), cpu.clone()).await?;
        let query = start_query(&ground, &session, neighbours.clone(), cpu);
        // The only place that fills them.
        let _ = neighbours.streaming.set(streaming.clone());
        let _ = neighbours.query.set(query.clone());
        let data = start_data(settings, &ground)?;
        let (candidates, proxy) = start_front(settings, &ground, neighbours).await?;
        streaming.start();
        Ok(Self { kv: ground.kv, streaming, query, proxy, _sessions: (session, candidates), _data: data })
    }

    pub(super) fn proxy(&self) -> Arc<Proxy> {
        self.proxy.clone()
    }

    /// What `/healthz` tells.
    pub(super) fn health(&self) -> HealthCheck {
        let (kv, streaming, query) = (self.kv.clone(), self.streaming.clone(), self.query.clone());
        Arc::new(move || {
            let (kv, streaming, query) = (kv.clone(), streaming.clone(), query.clone());
            Box::pin(async move {
                let metastore = metastore_problems(&*kv).await;
                let shards = streaming.health().into_iter();
                let shards =
                    shards.filter_map(|shard| Some(format!("shard {}: {}", shard.shard, shard.problem?)));
                let with = |name, problems| Health { name, problems };
                vec![
                    with("proxy", Vec::new()),
                    // Coordinators live in the metastore.
                    with("rootcoord", metastore.clone()),
                    with("datacoord", metastore.clone()),
                    with("querycoord", metastore),
                    with("streamingnode", shards.collect()),
                    with("querynode", query.problems()),
                    with("datanode", Vec::new()),
                ]
            })
        })
    }

    /// Stops everything until the deadline; writes on their way are settled first.
    pub(super) async fn stop(self, tasks: &Tasks, deadline: Instant) {
        if timeout_at(deadline - CLOSING, self.streaming.stop()).await.is_err() {
            // Nothing is lost: what was acknowledged is in the logs.
            tracing::warn!("shards did not stop in time");
        }
        tasks.stop((deadline - CLOSING).saturating_duration_since(Instant::now())).await;
        if timeout_at(deadline, self.kv.close()).await.is_err() {
            // Every answered transaction is on disk.
            tracing::warn!("metastore did not close in time");
        }
    }
}

/// Asks for a transaction that changes nothing: a store that takes no writes refuses that one too.
async fn metastore_problems(kv: &dyn Kv) -> Vec<String> {
    let nothing = Txn::new().when(Compare::exists("health"));
    match tokio::time::timeout(METASTORE_PATIENCE, kv.txn(nothing)).await {
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(error)) => vec![error.to_string()],
        Err(_) => vec!["metastore does not answer".to_owned()],
    }
}

fn threads(setting: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if setting == 0 { cores() } else { setting }
}

async fn start_streaming(
    settings: &Settings,
    directory: &DataDirectory,
    ground: &Ground,
    session: &Session,
    neighbours: Arc<Neighbours>,
    cpu: CpuPool,
) -> anyhow::Result<Arc<StreamingNode>> {
    let wal = WalSettings { rotate_bytes: settings.streaming_node.log_file_size.0, ..WalSettings::default() };
    let segment = &settings.data_coord.segment;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size"
    )]
    let seal_bytes = Bytes((segment.max_size.0 as f64 * segment.seal_proportion) as u64);
    let node = StreamingNodeSettings {
        seal_bytes,
        seal_idle: segment.max_idle_time,
        max_unsealed_bytes: settings.streaming_node.max_growing_size,
        ..StreamingNodeSettings::default()
    };
    Ok(StreamingNode::new(redkite_streaming_node::Environment {
        node: NODE,
        settings: node,
        view: ground.view.clone(),
        kv: ground.kv.clone(),
        lease: Some(session.lease()),
        logs: LocalLogs::open(&directory.join("wal"), wal).await.context("logs")?,
        store: ground.store.clone(),
        segments: neighbours,
        ids: ground.ids.0.clone(),
        cpu,
        clock: ground.clock.clone(),
        tasks: ground.tasks.child("streamingnode"),
    }))
}

fn start_query(
    ground: &Ground,
    session: &Session,
    neighbours: Arc<Neighbours>,
    cpu: CpuPool,
) -> Arc<QueryNode> {
    Arc::new(QueryNode::start(redkite_query_node::Environment {
        node: NODE,
        settings: QueryNodeSettings::default(),
        view: ground.view.clone(),
        kv: ground.kv.clone(),
        lease: Some(session.lease()),
        store: ground.store.clone(),
        shards: neighbours,
        cpu,
        tasks: ground.tasks.child("querynode"),
    }))
}

fn start_data(settings: &Settings, ground: &Ground) -> anyhow::Result<DataNode> {
    Ok(DataNode::start(redkite_data_node::Environment {
        node: NODE,
        settings: DataNodeSettings::default(),
        view: ground.view.clone(),
        kv: ground.kv.clone(),
        store: ground.store.clone(),
        cpu: CpuPool::background("build", threads(settings.data_node.threads))?,
        clock: ground.clock.clone(),
        tasks: ground.tasks.child("datanode"),
    }))
}

/// Coordinators, and the proxy that talks to them.
async fn start_front(
    settings: &Settings,
    ground: &Ground,
    neighbours: Arc<Neighbours>,
) -> anyhow::Result<(Vec<Candidate>, Arc<Proxy>)> {
    let (root_candidate, root) = ground.lead("rootcoord").await?;
    let (data_candidate, data) = ground.lead("datacoord").await?;
    let (query_candidate, query) = ground.lead("querycoord").await?;
    let parts = ProxyParts {
        metadata: ground.view.clone(),
        kv: ground.kv.clone() as Arc<dyn Kv>,
        root: RootCoordinator::start(root, RootSettings::default()).await?,
        data: DataCoordinator::start(data, ground.store.clone(), data_settings(settings)).await?,
        query: QueryCoordinator::start(query, QuerySettings::default()).await?,
        shards: neighbours,
        ids: Arc::new(ground.ids.clone()),
        clock: ground.hybrid.clone(),
        settings: redkite_proxy::Settings {
            graceful_time: settings.common.graceful_time,
            ..redkite_proxy::Settings::default()
        },
    };
    Ok((vec![root_candidate, data_candidate, query_candidate], Arc::new(Proxy::new(parts))))
}

fn data_settings(settings: &Settings) -> DataSettings {
    let (segment, gc) = (&settings.data_coord.segment, &settings.data_coord.gc);
    let mut data = DataSettings::default();
    data.compaction.max_segment_bytes = segment.max_size;
    data.gc.interval = gc.interval;
    data.gc.missing_tolerance = gc.missing_tolerance;
    data.gc.drop_tolerance = gc.drop_tolerance;
    data.gc.sole_writer = true;
    data
}

#[cfg(test)]
mod tests {
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
