//! A process of a cluster whose surroundings are made by a simulation: the same roles, wired in the same way.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use redkite_cluster::Kv;
use redkite_proxy::Proxy;
use redkite_rpc::{Desk, Network, RpcSettings};
use redkite_runtime::{Clock, Tasks};
use redkite_service::QueryCoord;
use redkite_storage::ObjectStore;
use redkite_types::NodeId;

use super::ground::{Bedrock, Ground};
use super::roles::{Addresses, Roles};
use super::status::Status;
use super::{Job, Role, STOP};
use crate::settings::{Live, Overrides, Settings};

/// What is around a process.
#[derive(Clone)]
pub struct Surroundings {
    /// The metastore, as this process reaches it.
    pub kv: Arc<dyn Kv>,
    /// The bucket, as this process reaches it.
    pub store: Arc<dyn ObjectStore>,
    /// The clock on its wall.
    pub clock: Arc<dyn Clock>,
    /// The way to other processes.
    pub network: Network,
    /// Where others find it.
    pub address: String,
    /// Settings that differ from the defaults, as in `redkite.yaml`.
    pub settings: String,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A process of a cluster.
pub struct Process {
    roles: Roles,
    tasks: Tasks,
    node: NodeId,
    rpc: RpcSettings,
    patience: Duration,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Process {
    /// Starts a process as `redkite run <job>` does. Waits for the metastore.
    ///
    /// # Errors
    /// If there is no such job, the settings are wrong, or a role does not start.
    pub async fn start(job: &str, surroundings: Surroundings) -> anyhow::Result<Self> {
        let job = job_of(job)?;
        let settings: Settings = yaml_serde::from_str(&surroundings.settings).context("settings")?;
        let Surroundings { kv, store, clock, network, address, .. } = surroundings;
        let tasks = Tasks::new(job.name);
        let status = Status::of(job.roles);
        let bedrock = Bedrock { kv, store: Some(store), clock, network, directory: None };
        let ground = Ground::on(bedrock, "the metastore", &settings, job, &status, &tasks).await?;
        let (node, rpc) = (ground.node, ground.rpc.clone());
        let addresses = Addresses { internal: address.clone(), external: Some(address) };
        let live = Live::new(Overrides::default());
        let roles = Roles::start(&settings, &live, job, ground, addresses).await?;
        Ok(Self { roles, tasks, node, rpc, patience: settings.common.graceful_stop_timeout })
    }

    /// Its id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Answers the calls of others from now on.
    #[must_use]
    pub fn open(&self) -> Desk {
        let desk = Desk::new(self.roles.services(), &self.rpc, self.tasks.stopping());
        self.roles.open();
        desk
    }

    /// The proxy, if it is one.
    #[must_use]
    pub fn proxy(&self) -> Option<Arc<Proxy>> {
        self.roles.proxy()
    }

    /// The query coordinator, as this process reaches it.
    #[must_use]
    pub fn query(&self) -> Arc<dyn QueryCoord> {
        self.roles.query()
    }

    /// Stops as after SIGTERM.
    pub async fn stop(&self) {
        self.roles.leave(self.patience).await;
        self.roles.stop().await;
        self.tasks.stop(STOP).await;
    }
}

fn job_of(name: &str) -> anyhow::Result<Job> {
    const MIXED: &[Role] = &[Role::RootCoord, Role::DataCoord, Role::QueryCoord];
    if name == "mixcoord" {
        return Ok(Job { name: "mixcoord", roles: MIXED });
    }
    let Some(role) = Role::ALL.iter().find(|role| role.name() == name) else {
        bail!("there is no role {name}");
    };
    Ok(Job { name: role.name(), roles: std::slice::from_ref(role) })
}
