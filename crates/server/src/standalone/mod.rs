//! Every role in one process: `redkite run standalone`.
//!
//! The roles are those of a cluster and meet in the metastore as they do there; only their
//! neighbours are objects instead of addresses. Start: lock the directory, bind the ports, open the
//! stores, start nodes, then coordinators, then let clients in. Stop: the reverse.

mod neighbours;
mod roles;

use std::time::Duration;

use redkite_proxy::grpc::Grpc;
use redkite_runtime::Tasks;
use tokio::time::Instant;
use tracing::info;

use crate::data_directory::DataDirectory;
use crate::front::{self, DRAIN, Signals, announce, bind};
use crate::settings::{Live, Settings};
use crate::surroundings::Outlook;
use crate::{http, telemetry};
use roles::Roles;

/// A stop is over after this, whatever hangs: an orchestrator that waits 2 s must not have to kill.
const STOP: Duration = Duration::from_millis(1800);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(settings: Settings, live: &Live) -> anyhow::Result<()> {
    front::block_on(serve(settings, live))
}

async fn serve(settings: Settings, live: &Live) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // Before anybody counts anything.
    let outside = Tasks::new("front");
    let metrics = telemetry::start_metrics(&outside)?;
    let tasks = Tasks::new("standalone");
    let starting = async {
        let directory = DataDirectory::open(&settings.local_storage.path)?;
        let grpc = bind(&settings.proxy.ip, settings.proxy.port).await?;
        let pages = bind(&settings.proxy.ip, settings.metrics.port).await?;
        let roles = Roles::start(&settings, live, &directory, grpc.local_addr()?, &tasks).await?;
        anyhow::Ok((directory, grpc, pages, roles))
    };
    // Recovery may be long, and there is nothing to wait for: what is given up half-way is recovered again.
    let (_directory, grpc, pages, roles) = tokio::select! {
        started = starting => started?,
        signal = signals.next() => {
            info!(signal, "stopped while starting");
            return Ok(());
        }
    };
    let (proxy_address, metrics_address) = (grpc.local_addr()?, pages.local_addr()?);
    let health = roles.health();
    let outlook = Outlook::new(health.clone());
    outlook.found(roles.surroundings());
    outside.spawn("http", |stopping| http::serve(pages, metrics, health, outlook, stopping));
    let proxy = Grpc::new(roles.proxy());
    let limits = settings.proxy.grpc.clone();
    outside.spawn("grpc", |stopping| front::serve_grpc(grpc, proxy, limits, stopping));
    announce("proxy", proxy_address);
    announce("metrics", metrics_address);

    let signal = signals.next().await;
    info!(signal, "stopping");
    let deadline = Instant::now() + STOP;
    outside.stop(DRAIN).await;
    roles.stop(&tasks, deadline).await;
    info!("stopped");
    Ok(())
}
