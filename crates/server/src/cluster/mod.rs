//! One or more roles of a cluster in this process: `redkite run proxy`, `redkite run mixcoord` and so on.
//!
//! ```text
//! ground    what every role stands on: etcd, the bucket, this process's id; waited for, never crashed on
//! roles     the roles themselves, told of each other by their sessions
//! seat      a coordinator that stands by until it is elected, and again once it is deposed
//! tenure    what it is doing at the moment, for itself and for whoever asks
//! steward   answers those who steer: status and handover
//! lag       how far this process's copy of the records is behind
//! nodes     which nodes are alive, as coordinators want to know it
//! address   where others find this process
//! leave     what a stop waits for
//! simulated a process in surroundings that are not real
//! ```

mod address;
mod ground;
mod labels;
mod lag;
mod leave;
mod nodes;
mod roles;
mod seat;
pub mod simulated;
mod status;
mod steward;
mod tenure;

use std::sync::Arc;
use std::time::Duration;

use redkite_proxy::grpc::Grpc;
use redkite_runtime::Tasks;
use tracing::info;

use crate::front::{self, DRAIN, Signals, announce, bind};
use crate::settings::{Live, Settings};
use crate::surroundings::Outlook;
use crate::{http, telemetry};
use address::Door;
use ground::Ground;
pub(crate) use ground::host_name;
use roles::{Addresses, Roles};
use status::Status;

/// How long background tasks may take to end.
const STOP: Duration = Duration::from_secs(2);

/// A role of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Databases, collections, partitions, aliases.
    RootCoord,
    /// Life of segments, indexes, shard leaders.
    DataCoord,
    /// Load and release, replicas, placement of segments.
    QueryCoord,
    /// Milvus's protocol.
    Proxy,
    /// Leads shards: logs and newest rows.
    StreamingNode,
    /// Searches sealed segments.
    QueryNode,
    /// Builds indexes, compacts.
    DataNode,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 7] = [
        Self::RootCoord,
        Self::DataCoord,
        Self::QueryCoord,
        Self::Proxy,
        Self::StreamingNode,
        Self::QueryNode,
        Self::DataNode,
    ];

    /// As sessions name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RootCoord => "rootcoord",
            Self::DataCoord => "datacoord",
            Self::QueryCoord => "querycoord",
            Self::Proxy => "proxy",
            Self::StreamingNode => "streamingnode",
            Self::QueryNode => "querynode",
            Self::DataNode => "datanode",
        }
    }

    pub(crate) fn is_coordinator(self) -> bool {
        matches!(self, Self::RootCoord | Self::DataCoord | Self::QueryCoord)
    }

    /// Whether it reads or writes the bucket.
    fn needs_bucket(self) -> bool {
        matches!(self, Self::DataCoord | Self::StreamingNode | Self::QueryNode | Self::DataNode)
    }
}

/// The roles of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// As users name it, such as `mixcoord`.
    pub name: &'static str,
    pub roles: &'static [Role],
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(settings: Settings, live: &Live, job: Job) -> anyhow::Result<()> {
    front::block_on(serve(settings, live, job))
}

async fn serve(settings: Settings, live: &Live, job: Job) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let status = Arc::new(Status::of(job.roles));
    let outside = Tasks::new("front");
    // Before anybody counts anything.
    let metrics = telemetry::start_metrics(&outside)?;
    let door = Door::of(&settings, job);
    let pages = bind(door.ip(), settings.metrics.port).await?;
    announce("metrics", pages.local_addr()?);
    let health = status.check();
    let outlook = Outlook::new(health.clone());
    let shown = outlook.clone();
    outside.spawn("http", |stopping| http::serve(pages, metrics, health, shown, stopping));

    let tasks = Tasks::new(job.name);
    let starting = async {
        let internal = bind(door.ip(), door.port()).await?;
        let external = match job.roles.contains(&Role::Proxy) {
            true => Some(bind(&settings.proxy.ip, settings.proxy.port).await?),
            false => None,
        };
        let ground = Ground::lay(&settings, job, &status, &tasks).await?;
        let listening = internal.local_addr()?;
        let external_address = match &external {
            Some(listener) => Some(door.advertised(listener.local_addr()?.port())),
            None => None,
        };
        let addresses = Addresses { internal: door.advertised(listening.port()), external: external_address };
        let rpc = ground.rpc.clone();
        let roles = Roles::start(&settings, live, job, ground, addresses).await?;
        tasks.spawn("internal", |stopping| redkite_rpc::serve(internal, roles.services(), rpc, stopping));
        roles.open();
        announce("internal", listening);
        anyhow::Ok((roles, external))
    };
    let (roles, external) = tokio::select! {
        started = starting => started?,
        signal = signals.next() => {
            info!(signal, "stopped while starting");
            return Ok(());
        }
    };
    status.started(roles.health());
    outlook.found(roles.surroundings());
    if let (Some(listener), Some(proxy)) = (external, roles.proxy()) {
        let address = listener.local_addr()?;
        let limits = settings.proxy.grpc.clone();
        outside.spawn("grpc", |stopping| front::serve_grpc(listener, Grpc::new(proxy), limits, stopping));
        announce("proxy", address);
    }

    let signal = signals.next().await;
    info!(signal, "stopping");
    tokio::select! {
        () = roles.leave(settings.common.graceful_stop_timeout) => {}
        signal = signals.next() => info!(signal, "not waiting any longer"),
    }
    outside.stop(DRAIN).await;
    roles.stop().await;
    tasks.stop(STOP).await;
    info!("stopped");
    Ok(())
}
