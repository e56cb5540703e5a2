//! How does a process offer its services to others?

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
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

use crate::codec::{self, Answering, Measured};
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
    let desk = Desk::new(services, &settings, stopping.clone());
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(CONCURRENT_CALLS)
        .http2_max_pending_accept_reset_streams(Some(CANCELLED_CALLS))
        .http2_keepalive_interval(Some(settings.ping_interval))
        .http2_keepalive_timeout(Some(settings.ping_timeout))
        .add_service(desk.alive)
        .add_service(desk.shard)
        .add_service(desk.segments)
        .add_service(desk.root)
        .add_service(desk.data)
        .add_service(desk.query)
        .add_service(desk.seats)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
            stopping.wait().await;
        })
        .await;
    if let Err(source) = served {
        error!(%source, "server of calls between processes ended");
    }
}

/// Where the calls of a process are answered, whichever way they come.
pub struct Desk {
    alive: Offer<dyn Node>,
    shard: Offer<dyn Shard>,
    segments: Offer<dyn Segments>,
    root: Offer<dyn RootCoord>,
    data: Offer<dyn DataCoord>,
    query: Offer<dyn QueryCoord>,
    seats: Offer<dyn Seats>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("node", &self.alive.node).finish_non_exhaustive()
    }
}

impl Desk {
    /// Answers with these services. Who asks whether the process lives is answered at `stopping`.
    #[must_use]
    pub fn new(services: Services, settings: &RpcSettings, stopping: Stopping) -> Self {
        let node = services.node;
        let limit = settings.max_message_bytes();
        let alive: Arc<dyn Node> = Arc::new(Process { node, stopping });
        Self {
            alive: Offer { service: Some(alive), role: "node", node, limit },
            shard: Offer { service: services.shard, role: role::STREAMING_NODE, node, limit },
            segments: Offer { service: services.segments, role: role::QUERY_NODE, node, limit },
            root: Offer { service: services.root, role: role::ROOT_COORD, node, limit },
            data: Offer { service: services.data, role: role::DATA_COORD, node, limit },
            query: Offer { service: services.query, role: role::QUERY_COORD, node, limit },
            seats: Offer { service: services.seats, role: "coordinator", node, limit },
        }
    }

    /// The answer to a call that came over a [`Road`](crate::network::Road); `None` if there is no such method.
    pub async fn answer(&self, path: &str, meant: Option<NodeId>, request: &[u8]) -> Option<Bytes> {
        let answering = self
            .alive
            .dispatch(path, meant, request)
            .or_else(|| self.shard.dispatch(path, meant, request))
            .or_else(|| self.segments.dispatch(path, meant, request))
            .or_else(|| self.root.dispatch(path, meant, request))
            .or_else(|| self.data.dispatch(path, meant, request))
            .or_else(|| self.query.dispatch(path, meant, request))
            .or_else(|| self.seats.dispatch(path, meant, request))?;
        Some(answering.await)
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
        let (offer, limit, meant) = (self.clone(), self.limit, meant(&request));
        let respond = move |request: tonic::Request<Q>| {
            let answering = offer.carry_out(meant, request.into_inner(), &carry_out);
            answering.map(|answer| Ok::<_, Status>(Response::new(Measured::new(answer))))
        };
        let mut grpc = Grpc::new(Answering::<Q, A>::default())
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        async move { Ok(grpc.unary(tower::service_fn(respond), request).await) }.boxed()
    }

    /// The same, for a message that came over another way.
    pub(crate) fn reply<Q, A, F>(
        &self,
        meant: Option<NodeId>,
        request: &[u8],
        carry_out: impl Fn(Arc<S>, Q) -> F,
    ) -> BoxFuture<'static, Bytes>
    where
        Q: DeserializeOwned,
        A: Serialize + Send + 'static,
        F: Future<Output = Result<A>> + Send + 'static,
    {
        let answering = match codec::decode(request) {
            Ok(request) => self.carry_out(meant, request, &carry_out),
            Err(error) => Either::Right(ready(Err(Error::internal(error)))),
        };
        answering.map(|answer| codec::encode(&answer).unwrap_or_default().into()).boxed()
    }

    /// Lets the service do what is asked for, if it is there and meant.
    fn carry_out<Q, A, F>(
        &self,
        meant: Option<NodeId>,
        request: Q,
        carry_out: &impl Fn(Arc<S>, Q) -> F,
    ) -> Either<F, Ready<Result<A>>>
    where
        F: Future<Output = Result<A>>,
    {
        let node = self.node;
        match (&self.service, meant.filter(|meant| *meant != node)) {
            (_, Some(meant)) => {
                let error = Error::NodeNotMatch { expected: meant.0, actual: node.0 };
                Either::Right(ready(Err(error)))
            }
            (Some(service), None) => Either::Left(carry_out(service.clone(), request)),
            (None, None) => Either::Right(ready(Err(not_offered(self.role, node)))),
        }
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
