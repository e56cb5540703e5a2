//! How does a process offer its services to others?

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use redkite_runtime::Stopping;
use redkite_service::{DataCoord, Error, QueryCoord, Result, RootCoord, Seats, Segments, Shard};
use redkite_types::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};
use tracing::error;

use crate::codec::{Answering, Measured};
use crate::connection::{CONNECTION_WINDOW, FRAME, NODE_HEADER, STREAM_WINDOW};
use crate::methods::Node;
use crate::{RpcSettings, role};

/// Calls of one peer that may be answered at the same time: proxies limit themselves.
const CONCURRENT_CALLS: u32 = 1 << 16;
/// Calls that a peer may cancel before they are looked at; peers are no attackers.
const CANCELLED_CALLS: usize = 1 << 16;

/// What a process offers. Calls of what it does not offer are answered `NotReady`.
#[derive(Clone, Default)]
pub struct Services {
    /// Who it is, so that who looks for an earlier process at this address learns that it is gone.
    pub node: NodeId,
    /// A streaming node.
    pub shard: Option<Arc<dyn Shard>>,
    /// A query node.
    pub segments: Option<Arc<dyn Segments>>,
    /// A root coordinator.
    pub root: Option<Arc<dyn RootCoord>>,
    /// A data coordinator.
    pub data: Option<Arc<dyn DataCoord>>,
    /// A query coordinator.
    pub query: Option<Arc<dyn QueryCoord>>,
    /// What steers its coordinators.
    pub seats: Option<Arc<dyn Seats>>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Answers calls until `stopping`, then those that are on their way. Listen before you register a
/// session: who is registered and refuses connections counts as dead.
pub async fn serve(listener: TcpListener, services: Services, settings: RpcSettings, stopping: Stopping) {
    let node = services.node;
    let limit = settings.max_message_bytes();
    let alive: Arc<dyn Node> = Arc::new(Process { node, stopping: stopping.clone() });
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(CONCURRENT_CALLS)
        .http2_max_pending_accept_reset_streams(Some(CANCELLED_CALLS))
        .http2_keepalive_interval(Some(settings.ping_interval))
        .http2_keepalive_timeout(Some(settings.ping_timeout))
        .add_service(Offer { service: Some(alive), role: "node", node, limit })
        .add_service(Offer { service: services.shard, role: role::STREAMING_NODE, node, limit })
        .add_service(Offer { service: services.segments, role: role::QUERY_NODE, node, limit })
        .add_service(Offer { service: services.root, role: role::ROOT_COORD, node, limit })
        .add_service(Offer { service: services.data, role: role::DATA_COORD, node, limit })
        .add_service(Offer { service: services.query, role: role::QUERY_COORD, node, limit })
        .add_service(Offer { service: services.seats, role: "coordinator", node, limit })
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
            stopping.wait().await;
        })
        .await;
    if let Err(source) = served {
        error!(%source, "server of calls between processes ended");
    }
}

struct Process {
    node: NodeId,
    stopping: Stopping,
}

#[async_trait]
impl Node for Process {
    async fn alive(&self, node: NodeId) -> Result<()> {
        if node != self.node {
            return Err(Error::NodeNotFound { node: node.0 });
        }
        self.stopping.wait().await;
        Ok(())
    }
}

/// A service as it is offered, perhaps not at all.
pub(crate) struct Offer<S: ?Sized> {
    service: Option<Arc<S>>,
    role: &'static str,
    node: NodeId,
    limit: usize,
}

impl<S: ?Sized> Clone for Offer<S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), ..*self }
    }
}

type Responding = BoxFuture<'static, std::result::Result<http::Response<Body>, Infallible>>;

impl<S: ?Sized + Send + Sync + 'static> Offer<S> {
    /// Reads the request, lets the service answer it, writes the answer.
    pub(crate) fn answer<Q, A, F>(
        &self,
        request: http::Request<Body>,
        carry_out: impl Fn(Arc<S>, Q) -> F + Clone + Send + Sync + 'static,
    ) -> Responding
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Future<Output = Result<A>> + Send + 'static,
    {
        let Self { service, role, node, limit } = self.clone();
        let meant = meant(&request).filter(|meant| *meant != node);
        let respond = move |request: tonic::Request<Q>| {
            let answering = match (&service, meant) {
                (_, Some(meant)) => {
                    let error = Error::NodeNotMatch { expected: meant.0, actual: node.0 };
                    std::future::ready(Err(error)).right_future()
                }
                (Some(service), None) => carry_out(service.clone(), request.into_inner()).left_future(),
                (None, None) => std::future::ready(Err(not_offered(role, node))).right_future(),
            };
            answering.map(|answer| Ok::<_, Status>(Response::new(Measured::new(answer))))
        };
        let mut grpc = Grpc::new(Answering::<Q, A>::default())
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        async move { Ok(grpc.unary(tower::service_fn(respond), request).await) }.boxed()
    }

    /// Answers a call of a method that this version does not have.
    pub(crate) fn unknown(&self) -> Responding {
        let response = Status::unimplemented("unknown method").into_http();
        std::future::ready(Ok(response)).boxed()
    }
}

/// The process that a call is for, if the caller says so: another may have its address by now.
fn meant(request: &http::Request<Body>) -> Option<NodeId> {
    let node = request.headers().get(NODE_HEADER)?.to_str().ok()?;
    node.parse().ok().map(NodeId)
}

fn not_offered(role: &str, node: NodeId) -> Error {
    Error::NotReady { role: role.to_owned(), node: node.0, state: "not served by this process".to_owned() }
}
