//! The roles of one process, wired together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use redkite_catalog::MetadataView;
use redkite_cluster::kv::embedded::{EmbeddedKv, EmbeddedSettings};
use redkite_cluster::sessions::SessionsView;
use redkite_cluster::{Candidate, IdAllocator, Kv, Session, SessionInfo, SessionSettings};
use redkite_coordinator::{
    DataCoordinator, QueryCoordinator, QuerySettings, RootCoordinator, RootSettings, StaticNodes,
};
use redkite_data_node::{DataNode, DataNodeSettings};
use redkite_proxy::{NodeAddress, OneNode, Proxy, ProxyParts};
use redkite_query_node::QueryNode;
use redkite_runtime::{Clock, CpuPool, HybridClock, SystemClock, Tasks};
use redkite_service::QueryCoord;
use redkite_storage::{LocalStore, ObjectStore};
use redkite_streaming_node::StreamingNode;
use redkite_types::NodeId;
use redkite_wal::{LocalLogs, WalSettings};
use tokio::time::{Instant, timeout_at};

use super::neighbours::Neighbours;
use crate::data_directory::DataDirectory;
use crate::http::{self, Health, HealthCheck};
use crate::ids::SharedIds;
use crate::parts;
use crate::settings::{Live, Settings};
use crate::surroundings::{STANDALONE, Surroundings};

/// The process is one node, always the same: what it was assigned before a restart is still its.
const NODE: NodeId = NodeId(1);
/// Nobody waits for the death of the only process, so a long pause of it must not end its leases.
const SESSION: SessionSettings = SessionSettings { ttl: 86_400 };

/// What a stop leaves to the metastore.
const CLOSING: Duration = Duration::from_millis(200);
/// The roles, running.
pub(super) struct Roles {
    kv: Arc<EmbeddedKv>,
    streaming: Arc<StreamingNode>,
    query: Arc<QueryNode>,
    proxy: Arc<Proxy>,
    surroundings: Surroundings,
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
        let clock = self.clock.clone();
        let candidate =
            Candidate::start(self.kv.clone(), session(role), &SESSION, clock, &self.tasks).await?;
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
        live: &Live,
        directory: &DataDirectory,
        address: SocketAddr,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let ground = Ground::lay(directory, tasks).await?;
        let about = SessionInfo { address: address.to_string(), ..session(STANDALONE) };
        let session = Session::start(ground.kv.clone(), about, &SESSION, tasks).await?;
        let neighbours = Arc::new(Neighbours::default());
        let cpu = CpuPool::new("search", parts::threads(settings.query_node.threads))?;
        let streaming =
            start_streaming(settings, directory, &ground, &session, neighbours.clone(), cpu.clone()).await?;
        let query = start_query(settings, &ground, &session, neighbours.clone(), cpu);
        // The only place that fills them.
        let _ = neighbours.streaming.set(streaming.clone());
        let _ = neighbours.query.set(query.clone());
        let data = start_data(settings, &ground)?;
        let (candidates, query_coord, proxy) =
            start_front(settings, live, &ground, neighbours, address).await?;
        let surroundings = Surroundings {
            node: NODE,
            kv: ground.kv.clone(),
            view: ground.view.clone(),
            sessions: SessionsView::start(ground.kv.clone(), tasks).await?,
            query: query_coord,
        };
        streaming.start();
        let _sessions = (session, candidates);
        Ok(Self { kv: ground.kv, streaming, query, proxy, surroundings, _sessions, _data: data })
    }

    /// What is around this process, which is itself.
    pub(super) fn surroundings(&self) -> Surroundings {
        self.surroundings.clone()
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
                let metastore = http::metastore_problems(&*kv).await;
                let shards = streaming.health().into_iter();
                let shards =
                    shards.filter_map(|shard| Some(format!("shard {}: {}", shard.shard, shard.problem?)));
                let with = |name, problems| Health { problems, ..Health::of(name) };
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

async fn start_streaming(
    settings: &Settings,
    directory: &DataDirectory,
    ground: &Ground,
    session: &Session,
    neighbours: Arc<Neighbours>,
    cpu: CpuPool,
) -> anyhow::Result<Arc<StreamingNode>> {
    let wal = WalSettings { rotate_bytes: settings.streaming_node.log_file_size.0, ..WalSettings::default() };
    Ok(StreamingNode::new(redkite_streaming_node::Environment {
        node: NODE,
        settings: parts::streaming_node(settings),
        view: ground.view.clone(),
        kv: ground.kv.clone(),
        lease: Some(session.lease()),
        logs: LocalLogs::open(&directory.join("wal"), wal).await.context("logs")?,
        store: ground.store.clone(),
        segments: neighbours,
        query_nodes: None,
        ids: ground.ids.0.clone(),
        cpu,
        clock: ground.clock.clone(),
        tasks: ground.tasks.child("streamingnode"),
    }))
}

fn start_query(
    settings: &Settings,
    ground: &Ground,
    session: &Session,
    neighbours: Arc<Neighbours>,
    cpu: CpuPool,
) -> Arc<QueryNode> {
    Arc::new(QueryNode::start(redkite_query_node::Environment {
        node: NODE,
        settings: parts::query_node(settings),
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
        cpu: CpuPool::background("build", parts::threads(settings.data_node.threads))?,
        clock: ground.clock.clone(),
        tasks: ground.tasks.child("datanode"),
    }))
}

/// Coordinators, of which one is told of, and the proxy that talks to them.
async fn start_front(
    settings: &Settings,
    live: &Live,
    ground: &Ground,
    neighbours: Arc<Neighbours>,
    address: SocketAddr,
) -> anyhow::Result<(Vec<Candidate>, Arc<dyn QueryCoord>, Arc<Proxy>)> {
    let (root_candidate, root) = ground.lead("rootcoord").await?;
    let (data_candidate, data) = ground.lead("datacoord").await?;
    let (query_candidate, query) = ground.lead("querycoord").await?;
    let balancing = live.balancing(settings, &ground.tasks);
    let (segments, shards) = (neighbours.clone(), neighbours.clone());
    let query = QueryCoordinator::start(query, QuerySettings::default(), balancing, segments, shards).await?;
    let parts = ProxyParts {
        metadata: ground.view.clone(),
        kv: ground.kv.clone() as Arc<dyn Kv>,
        root: RootCoordinator::start(root, RootSettings::default()).await?,
        data: DataCoordinator::start(data, ground.store.clone(), parts::data_coord(settings, true)).await?,
        query: query.clone(),
        shards: neighbours,
        nodes: Arc::new(OneNode {
            node: NODE,
            address: NodeAddress { address: address.to_string(), host: address.ip().to_string() },
        }),
        ids: Arc::new(ground.ids.clone()),
        clock: ground.hybrid.clone(),
        settings: parts::proxy(settings),
    };
    Ok((vec![root_candidate, data_candidate, query_candidate], query, Arc::new(Proxy::new(parts))))
}
