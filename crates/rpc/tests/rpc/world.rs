//! A metastore, processes that listen, and a process that calls them.

use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::{MetadataView, Record, ShardAssignment};
use redkite_cluster::kv::{EmbeddedKv, EmbeddedSettings, Kv, LeaseId, Txn};
use redkite_cluster::{SessionInfo, SessionsView};
use redkite_rpc::{Peers, PeersParts, RpcSettings, Services, serve};
use redkite_runtime::Tasks;
use redkite_types::{Epoch, NodeId};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::samples::{COLLECTION, SHARD};

pub(crate) struct World {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) tasks: Tasks,
    pub(crate) sessions: SessionsView,
    pub(crate) peers: Peers,
    _directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(RpcSettings::default()).await
    }

    /// There is one collection.
    pub(crate) async fn with(settings: RpcSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tasks = Tasks::new("test");
        let path = directory.path().join("meta");
        let kv: Arc<dyn Kv> = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
        let record = serde_json::json!({
            "id": COLLECTION, "database": 1, "name": "c", "schema": { "fields": [] }, "shards": 2,
            "partitions": [], "consistency": "Bounded", "created_at": 1, "updated_at": 1,
        });
        kv.put(format!("collection/{COLLECTION}"), record.to_string().into()).await.unwrap();
        let sessions = SessionsView::start(kv.clone(), &tasks).await.unwrap();
        let metadata = MetadataView::start(kv.clone(), &tasks).await.unwrap();
        assert!(metadata.read(|metadata| metadata.collections.contains_key(&COLLECTION)));
        let parts = PeersParts {
            sessions: sessions.clone(),
            metadata,
            kv: kv.clone(),
            network: redkite_rpc::Network::tcp(),
            tasks: tasks.clone(),
            settings,
            ahead: true,
        };
        Self { kv, tasks, sessions, peers: Peers::new(parts), _directory: directory }
    }

    /// A session as a process would have it, which nobody keeps alive for a long while.
    pub(crate) async fn register(&self, role: &str, id: i64, address: &str) -> LeaseId {
        let lease = self.kv.grant_lease(Duration::from_secs(600)).await.unwrap();
        let info = info(role, id, address);
        let put = Txn::new().put_leased(info.key(), info.to_value(), lease);
        let revision = self.kv.txn(put).await.unwrap().revision;
        self.sessions.wait_for(revision).await;
        lease
    }

    /// The process becomes the active one of its role.
    pub(crate) async fn activate(&self, role: &str, id: i64, address: &str, lease: LeaseId) {
        let key = format!("session/{role}");
        self.kv.delete(key.clone()).await.unwrap();
        let put = Txn::new().put_leased(key, info(role, id, address).to_value(), lease);
        self.kv.txn(put).await.unwrap();
    }

    /// A process with one role, registered.
    pub(crate) async fn process(&self, role: &str, id: i64, services: Services) -> Process {
        let process = Process::start(services).await;
        self.register(role, id, &process.address).await;
        process
    }

    pub(crate) async fn assign(&self, node: i64) {
        let assignment = ShardAssignment::new(NodeId(node), Epoch(1));
        self.kv.put(ShardAssignment::key(&SHARD), assignment.encode().into()).await.unwrap();
    }

    /// Waits until a session is gone.
    pub(crate) async fn gone(&self, role: &str, id: i64) {
        let mut sessions = self.sessions.watch();
        sessions.wait_for(|sessions| sessions.node(role, NodeId(id)).is_none()).await.unwrap();
    }
}

fn info(role: &str, id: i64, address: &str) -> SessionInfo {
    SessionInfo {
        server_id: id,
        server_name: role.to_owned(),
        address: address.to_owned(),
        ..SessionInfo::default()
    }
}

/// A process that listens. It can be killed: its threads end, and its sockets with them.
pub(crate) struct Process {
    pub(crate) address: String,
    tasks: Tasks,
    runtime: Option<Runtime>,
}

impl Process {
    pub(crate) async fn start(services: Services) -> Self {
        Self::at("127.0.0.1:0", services, RpcSettings::default()).await
    }

    pub(crate) async fn at(address: &str, services: Services, settings: RpcSettings) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tasks = Tasks::new("process");
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(listener).unwrap();
        tasks.spawn("serve", |stopping| serve(listener, services, settings, stopping));
        Self { address, tasks: tasks.clone(), runtime: Some(runtime) }
    }

    /// Stops as a process does that is asked to.
    pub(crate) async fn stop(&self) {
        self.tasks.stop(Duration::from_secs(60)).await;
    }

    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An address that refuses connections.
pub(crate) async fn refusing() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

/// Waits until an address refuses connections.
pub(crate) async fn refuses(address: &str) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
