//! How does a client speak to a proxy? In Milvus's protocol, without a network between them.
//!
//! Requests are answered in the proxy's process, so they end with it; then the client knows nothing.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use redkite_proto::milvus::milvus_service_server::MilvusServiceServer;
use redkite_proxy::Proxy;
use redkite_proxy::grpc::Grpc;
use redkite_runtime::simulation::Process;
use tokio::sync::oneshot;
use tonic::body::Body;

/// A channel to a proxy.
#[derive(Clone, Debug)]
pub struct Channel {
    process: Process,
    service: MilvusServiceServer<Grpc>,
}

impl Channel {
    /// To the proxy of a process.
    #[must_use]
    pub fn new(process: Process, proxy: Arc<Proxy>) -> Self {
        Self { process, service: MilvusServiceServer::new(Grpc::new(proxy)) }
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = tonic::Status;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut service = self.service.clone();
        let (mut reply, answer) = oneshot::channel();
        self.process.spawn(async move {
            tokio::select! {
                biased;
                () = reply.closed() => {}
                answer = tower::Service::call(&mut service, request) => drop(reply.send(answer)),
            }
        });
        async move {
            match answer.await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(never)) => match never {},
                Err(_) => Err(tonic::Status::unavailable("the proxy is gone")),
            }
        }
        .boxed()
    }
}
