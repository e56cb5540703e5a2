//! Every role in one process: `redkite run standalone`.
//!
//! The roles are those of a cluster and meet in the metastore as they do there; only their
//! neighbours are objects instead of addresses. Start: lock the directory, bind the ports, open the
//! stores, start nodes, then coordinators, then let clients in. Stop: the reverse.

mod neighbours;
mod oversize;
mod roles;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use redkite_proto::milvus::milvus_service_server::MilvusServiceServer;
use redkite_proxy::grpc::Grpc;
use redkite_runtime::{Stopping, Tasks};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::util::MapResponseLayer;
use tracing::{error, info};

use crate::data_directory::DataDirectory;
use crate::settings::{Proxy, Settings};
use crate::{http, telemetry};
use roles::Roles;

/// A stop is over after this, whatever hangs: an orchestrator that waits 2 s must not have to kill.
const STOP: Duration = Duration::from_millis(1800);
/// How much of it requests on their way may take.
const DRAIN: Duration = Duration::from_millis(700);
/// What the stop leaves to blocking work that hangs.
const BLOCKING: Duration = Duration::from_millis(100);
/// HTTP/2 window of one request: bulk inserts are megabytes, and a window a round trip is slow.
const STREAM_WINDOW: u32 = 8 << 20;
/// HTTP/2 window of one connection.
const CONNECTION_WINDOW: u32 = 32 << 20;

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("async runtime")?;
    let served = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(BLOCKING);
    served
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // Before anybody counts anything.
    let metrics = telemetry::start_metrics()?;
    let tasks = Tasks::new("standalone");
    let starting = async {
        let directory = DataDirectory::open(&settings.local_storage.path)?;
        let grpc = bind(&settings.proxy.ip, settings.proxy.port).await?;
        let pages = bind(&settings.proxy.ip, settings.metrics.port).await?;
        let roles = Roles::start(&settings, &directory, &tasks).await?;
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
    let front = Tasks::new("front");
    let health = roles.health();
    front.spawn("http", |stopping| http::serve(pages, metrics, health, stopping));
    let proxy = Grpc::new(roles.proxy());
    let limits = settings.proxy.clone();
    front.spawn("grpc", |stopping| serve_grpc(grpc, proxy, limits, stopping));
    announce("proxy", proxy_address);
    announce("metrics", metrics_address);

    let signal = signals.next().await;
    info!(signal, "stopping");
    let deadline = Instant::now() + STOP;
    front.stop(DRAIN).await;
    roles.stop(&tasks, deadline).await;
    info!("stopped");
    Ok(())
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn bind(ip: &str, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((ip, port)).await.with_context(|| format!("listen on {ip}:{port}"))
}

fn announce(service: &'static str, address: SocketAddr) {
    info!(service, %address, "listening");
}

async fn serve_grpc(listener: TcpListener, grpc: Grpc, limits: Proxy, stopping: Stopping) {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let service = MilvusServiceServer::new(grpc)
        .max_decoding_message_size(size(limits.grpc.server_max_recv_size.0))
        .max_encoding_message_size(size(limits.grpc.server_max_send_size.0));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .layer(MapResponseLayer::new(oversize::tell))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, async move { stopping.wait().await })
        .await;
    if let Err(source) = served {
        error!(%source, "gRPC server ended");
    }
}
