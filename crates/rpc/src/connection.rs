//! One connection to a process: HTTP/2, or a road of a simulation.
//!
//! It is made before anything is sent, and never makes itself again: so it is known of every failed
//! call whether it may have reached the callee.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use redkite_runtime::Tasks;
use redkite_service::Result as Answer;
use redkite_types::NodeId;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::body::Body;
use tonic::client::Grpc;
use tracing::debug;

use crate::call::{Method, Reply, Request};
use crate::codec::{self, Calling, Measured};
use crate::failure::Failure;
use crate::network::Road;
use crate::{Network, RpcSettings};

/// HTTP/2 window of one call: writes and results are megabytes, and a window a round trip is slow.
pub(crate) const STREAM_WINDOW: u32 = 8 << 20;
/// HTTP/2 window of one connection.
pub(crate) const CONNECTION_WINDOW: u32 = 64 << 20;
/// Largest HTTP/2 frame: large ones are moved in fewer steps, small ones let other calls in between.
pub(crate) const FRAME: u32 = 256 << 10;
/// Names the process that a call is for. Milvus: metadata `ServerID`.
pub(crate) const NODE_HEADER: &str = "redkite-node";
/// What one call may have waiting to be sent.
const SEND_BUFFER: usize = 1 << 20;

/// A connection that was made; perhaps lost since. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Connection {
    Http2(Http2),
    Road(Arc<dyn Road>),
}

/// A connection over TCP.
#[derive(Clone, Debug)]
pub(crate) struct Http2(SendRequest<Body>);

/// The request was certainly not sent.
#[derive(Debug, thiserror::Error)]
#[error("not sent: {0}")]
pub(crate) struct Unsent(#[source] hyper::Error);

impl Connection {
    /// Connects to `host:port`. The connection ends with `tasks`, or when nobody has it any more.
    pub(crate) async fn make(
        address: &str,
        settings: &RpcSettings,
        network: &Network,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let making = async {
            match network.roads() {
                Some(roads) => roads.connect(address).await.map(Self::Road),
                None => Http2::make(address, settings, tasks).await.map(Self::Http2),
            }
        };
        match tokio::time::timeout(settings.connect_timeout, making).await {
            Ok(made) => made,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Calls and waits for the answer. If a node is named, no other answers.
    pub(crate) async fn call<Q: Request, A: Reply>(
        &self,
        method: &Method,
        request: &Arc<Q>,
        node: Option<NodeId>,
        settings: &RpcSettings,
    ) -> Result<Answer<A>, Failure> {
        let limit = settings.max_message_bytes();
        let request = Measured::new(request.clone());
        if request.bytes > limit {
            return Err(Failure::too_large(method, request.bytes, limit));
        }
        match self {
            Self::Http2(connection) => connection.call(method, request, node, settings).await,
            Self::Road(road) => {
                let message =
                    codec::encode(request.message()).map_err(|error| Failure::unreadable(method, error))?;
                let answer = road.call(method.path, node, message.into()).await;
                let answer = answer.map_err(|broken| Failure::on_the_road(method, &broken))?;
                codec::decode(&answer).map_err(|error| Failure::unreadable(method, error))
            }
        }
    }

    /// Whether it is known to be lost.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Http2(connection) => connection.0.is_closed(),
            Self::Road(road) => road.is_lost(),
        }
    }
}

impl Http2 {
    async fn make(address: &str, settings: &RpcSettings, tasks: &Tasks) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(settings.ping_interval)
            .keep_alive_timeout(settings.ping_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tasks.spawn("rpc-connection", {
            let address = address.to_owned();
            move |stopping| async move {
                if let Some(Err(error)) = stopping.race(connection).await {
                    debug!(address, %error, "connection lost");
                }
            }
        });
        Ok(Self(sender))
    }

    async fn call<Q: Request, A: Reply>(
        &self,
        method: &Method,
        request: Measured<Arc<Q>>,
        node: Option<NodeId>,
        settings: &RpcSettings,
    ) -> Result<Answer<A>, Failure> {
        let mut grpc = Grpc::with_origin(self.clone(), Uri::from_static("http://redkite"))
            .max_decoding_message_size(settings.max_message_bytes());
        let mut request = tonic::Request::new(request);
        if let Some(timeout) = method.timeout(settings) {
            request.set_timeout(timeout);
        }
        if let Some(node) = node {
            request.metadata_mut().insert(NODE_HEADER, node.0.into());
        }
        let path = PathAndQuery::from_static(method.path);
        let calling = async {
            grpc.ready().await.map_err(Status::from_error)?;
            grpc.unary(request, path, Calling::<Q, A>::default()).await
        };
        match calling.await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(Failure::of(method, &status)),
        }
    }
}

impl tower::Service<http::Request<Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(|error| Unsent(error).into())
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sending = self.0.try_send_request(request);
        Box::pin(async move {
            sending.await.map_err(|mut failed| match failed.take_message() {
                Some(_) => Unsent(failed.into_error()).into(),
                None if never_looked_at(failed.error()) => Unsent(failed.into_error()).into(),
                None => failed.into_error().into(),
            })
        })
    }
}

/// Whether the callee said that it has not begun with a request: it was stopping, or had too many.
fn never_looked_at(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        error.is_remote()
            && match error.reason() {
                Some(h2::Reason::REFUSED_STREAM) => error.is_reset(),
                Some(h2::Reason::NO_ERROR) => error.is_go_away(),
                _ => false,
            }
    })
}
