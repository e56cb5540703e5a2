//! What every process has towards the outside: listeners, signals, the Milvus protocol.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use redkite_proto::milvus::milvus_service_server::MilvusServiceServer;
use redkite_proxy::grpc::Grpc;
use redkite_runtime::Stopping;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::util::MapResponseLayer;
use tracing::{error, info};

use crate::oversize;
use crate::settings::ProxyGrpc;

/// How much of a stop requests on their way may take.
pub(crate) const DRAIN: Duration = Duration::from_millis(700);
/// What a stop leaves to blocking work that hangs.
const BLOCKING: Duration = Duration::from_millis(100);
/// HTTP/2 window of one request: bulk inserts are megabytes, and a window a round trip is slow.
const STREAM_WINDOW: u32 = 8 << 20;
/// HTTP/2 window of one connection.
const CONNECTION_WINDOW: u32 = 32 << 20;

/// Runs a server on a runtime of its own until it ends.
pub(crate) fn block_on(served: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("async runtime")?;
    let outcome = runtime.block_on(served);
    runtime.shutdown_timeout(BLOCKING);
    outcome
}

/// The signals that end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

pub(crate) async fn bind(ip: &str, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((ip, port)).await.with_context(|| format!("listen on {ip}:{port}"))
}

/// Says where a service listens; the system may have chosen the port.
pub(crate) fn announce(service: &'static str, address: SocketAddr) {
    info!(service, %address, "listening");
}

/// Serves the Milvus protocol until the stop.
pub(crate) async fn serve_grpc(listener: TcpListener, grpc: Grpc, limits: ProxyGrpc, stopping: Stopping) {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let service = MilvusServiceServer::new(grpc)
        .max_decoding_message_size(size(limits.server_max_recv_size.0))
        .max_encoding_message_size(size(limits.server_max_send_size.0));
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
