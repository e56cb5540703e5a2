//! What every role stands on. What is missing is waited for, said once in a while, and shown by `/healthz`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use redkite_catalog::{DEFAULT_DATABASE_ID, MetadataView};
use redkite_cluster::IdAllocator;
use redkite_cluster::kv::etcd::EtcdKv;
use redkite_cluster::kv::{Compare, Kv, KvError, Txn};
use redkite_cluster::sessions::SessionsView;
use redkite_rpc::{Network, Onlooker, RpcSettings, Watchdog};
use redkite_runtime::{Backoff, Clock, HybridClock, SystemClock, Tasks};
use redkite_storage::{BucketStore, CacheSettings, ObjectStore};
use redkite_types::NodeId;
use tokio::time::Instant;
use tracing::{info, warn};

use super::status::Status;
use super::{Job, Role};
use crate::data_directory::DataDirectory;
use crate::settings::Settings;

/// How often it is said what is waited for.
const REMINDER: Duration = Duration::from_secs(10);
/// Counts the processes of the cluster.
const NODES_KEY: &str = "id/node";

/// What every role stands on.
pub(super) struct Ground {
    pub(super) node: NodeId,
    pub(super) kv: Arc<dyn Kv>,
    pub(super) view: MetadataView,
    pub(super) sessions: SessionsView,
    pub(super) ids: Arc<IdAllocator>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hybrid: Arc<HybridClock>,
    /// The bucket, for roles that need it.
    store: Option<Arc<dyn ObjectStore>>,
    _directory: Option<DataDirectory>,
    pub(super) tasks: Tasks,
    /// How the processes call each other.
    pub(super) rpc: RpcSettings,
    pub(super) network: Network,
}

/// What is there before a process is.
pub(super) struct Bedrock {
    pub(super) kv: Arc<dyn Kv>,
    /// The bucket, for roles that need it.
    pub(super) store: Option<Arc<dyn ObjectStore>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) network: Network,
    /// Of the copies of objects.
    pub(super) directory: Option<DataDirectory>,
}

impl Ground {
    /// Waits for etcd and the bucket.
    pub(super) async fn lay(
        settings: &Settings,
        job: Job,
        status: &Status,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let (store, directory) = match job.roles.iter().any(|role| role.needs_bucket()) {
            true => {
                let (store, directory) = open_bucket(settings, status).await?;
                (Some(store), Some(directory))
            }
            false => (None, None),
        };
        let kv: Arc<dyn Kv> = EtcdKv::new(&settings.etcd.connection, &settings.etcd.prefix())?;
        let what = format!("etcd at {}", settings.etcd.connection.endpoints.join(","));
        let bedrock = Bedrock { kv, store, clock: Arc::new(SystemClock), network: Network::tcp(), directory };
        Self::on(bedrock, &what, settings, job, status, tasks).await
    }

    /// Waits for the metastore, which is called `what`.
    pub(super) async fn on(
        bedrock: Bedrock,
        what: &str,
        settings: &Settings,
        job: Job,
        status: &Status,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let Bedrock { kv, store, clock, network, directory } = bedrock;
        let view =
            wait_for(what, status, KvError::retryable, || MetadataView::start(kv.clone(), tasks)).await?;
        let sessions =
            wait_for(what, status, KvError::retryable, || SessionsView::start(kv.clone(), tasks)).await?;
        let node = wait_for(what, status, KvError::retryable, || next_node(&*kv)).await?;
        if job.roles.contains(&Role::Proxy) {
            begun(&view, status).await;
        }
        info!(node = node.0, "joined the cluster");
        let hybrid = Arc::new(HybridClock::new(clock.clone()));
        let ids = Arc::new(IdAllocator::new(kv.clone(), "global", clock.clone()));
        let (tasks, rpc) = (tasks.clone(), settings.common.rpc.clone());
        Ok(Self {
            node,
            kv,
            view,
            sessions,
            ids,
            clock,
            hybrid,
            store,
            _directory: directory,
            tasks,
            rpc,
            network,
        })
    }

    /// Looks whether the processes of some roles live, and ends the leases of dead ones.
    pub(super) fn watch_over(&self, roles: &'static [&'static str], tasks: &Tasks) {
        let onlooker = Onlooker { node: self.node, host: host_name() };
        let (settings, network) = (self.rpc.clone(), self.network.clone());
        Watchdog::start(self.sessions.clone(), roles, self.kv.clone(), settings, network, onlooker, tasks);
    }

    /// The bucket.
    pub(super) fn store(&self, role: Role) -> Arc<dyn ObjectStore> {
        debug_assert!(role.needs_bucket(), "{role:?} has no bucket");
        self.store.clone().expect("opened for every role that needs it")
    }
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn open_bucket(
    settings: &Settings,
    status: &Status,
) -> anyhow::Result<(Arc<dyn ObjectStore>, DataDirectory)> {
    let path: &Path = &settings.local_storage.path;
    let directory = DataDirectory::open(path).context(
        "setting localStorage.path: every process needs a directory of its own for copies of objects",
    )?;
    let cache =
        CacheSettings { path: directory.join("cache"), capacity: settings.local_storage.cache_capacity };
    let endpoint = settings.minio.endpoint()?;
    let what = format!("bucket {} at {endpoint}", settings.minio.bucket_name);
    let open = || BucketStore::open(&settings.minio, &cache);
    let store = wait_for(&what, status, redkite_storage::Error::retryable, open).await?;
    Ok((Arc::new(store), directory))
}

/// Tries until it succeeds, or fails in a way that trying again does not help.
async fn wait_for<T, E, F>(
    what: &str,
    status: &Status,
    retryable: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut said: Option<Instant> = None;
    status.waits_for(format!("waiting for {what}"));
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if retryable(&error) => error,
            Err(error) => return Err(error.into()),
        };
        status.waits_for(format!("waiting for {what}: {error}"));
        if said.is_none_or(|said| said.elapsed() >= REMINDER) {
            warn!(%error, "waiting for {what}");
            said = Some(Instant::now());
        }
        backoff.wait().await;
    }
}

/// Waits for the first root coordinator of a new cluster to make the default database, without which a proxy would
/// refuse every client.
async fn begun(view: &MetadataView, status: &Status) {
    const MISSING: &str = "waiting for the first root coordinator of this cluster";
    let mut changes = view.changes();
    while !view.read(|metadata| metadata.databases.contains_key(&DEFAULT_DATABASE_ID)) {
        status.waits_for(MISSING.to_owned());
        if tokio::time::timeout(REMINDER, changes.any()).await.is_err() {
            warn!("{MISSING}");
        }
    }
}

/// An id that no process of the cluster has or had.
async fn next_node(kv: &dyn Kv) -> Result<NodeId, KvError> {
    let mut present = kv.get(NODES_KEY).await?;
    loop {
        let last: i64 = match &present {
            None => 0,
            Some(entry) => {
                std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).ok_or_else(
                    || KvError::BadValue { key: NODES_KEY.to_owned(), detail: "not a number".to_owned() },
                )?
            }
        };
        let txn = Txn::new()
            .when(Compare::unchanged(NODES_KEY, present.as_ref()))
            .put(NODES_KEY, (last + 1).to_string())
            .otherwise_get(NODES_KEY);
        let outcome = kv.txn(txn).await?;
        if outcome.committed {
            return Ok(NodeId(last + 1));
        }
        present = outcome.into_read();
    }
}

#[cfg(test)]
mod tests {
    use redkite_cluster::kv::embedded::{EmbeddedKv, EmbeddedSettings};

    use super::*;

    #[tokio::test]
    async fn every_process_gets_another_id() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.redb");
        let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &Tasks::new("test")).await.unwrap();
        let mut ids = futures::future::try_join_all((0..8).map(|_| next_node(&*kv))).await.unwrap();
        ids.sort();
        assert_eq!(ids, (1..=8).map(NodeId).collect::<Vec<_>>());
    }
}
