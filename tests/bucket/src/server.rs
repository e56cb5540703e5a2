//! The service behind a port, with faults around it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, IF_NONE_MATCH};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use redkite_runtime::{Stopping, Tasks};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::{After, Before, Fate, Mischief};
use crate::objects::Objects;
use crate::service::Service;
use crate::{CREDENTIALS, Faults, Stats};

/// How long connections get to end when the server stops.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a slow body sends a piece.
const SLOW_TICK: Duration = Duration::from_millis(10);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0: any free one.
    pub address: SocketAddr,
    /// Keeps the objects in files here, so that they outlive the process.
    pub data: Option<PathBuf>,
    /// What goes wrong from the start.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self { address: ([127, 0, 0, 1], 0).into(), data: None, faults: Faults::default() }
    }
}

/// A running server.
#[derive(Debug)]
pub struct TestBucket {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
}

struct Shared {
    s3: S3Service,
    objects: Arc<Objects>,
    mischief: Arc<Mischief>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("mischief", &self.mischief).finish_non_exhaustive()
    }
}

impl TestBucket {
    /// Starts a server.
    ///
    /// # Errors
    /// If the port is taken or the directory cannot be read.
    pub async fn start(options: Options) -> io::Result<Self> {
        let objects = Arc::new(redkite_runtime::blocking(move || Objects::open(options.data)).await?);
        let mischief = Arc::new(Mischief::new(options.faults));
        let service = Service { objects: objects.clone(), mischief: mischief.clone() };
        let mut builder = S3ServiceBuilder::new(service);
        builder.set_auth(SimpleAuth::from_single(CREDENTIALS, CREDENTIALS));
        let shared = Arc::new(Shared { s3: builder.build(), objects, mischief });
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let tasks = Tasks::new("test-bucket");
        let (accepting, connections) = (shared.clone(), tasks.clone());
        tasks.spawn("accept", |stopping| async move {
            stopping.race(accept(listener, accepting, connections)).await;
        });
        Ok(Self { address, shared, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what goes wrong, and throws the dice anew.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.mischief.set(faults);
    }

    /// What was asked and broken so far, and what there is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Ends every connection and frees the port.
    pub async fn stop(self) {
        self.tasks.stop(PATIENCE).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: Tasks) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tasks.spawn("connection", |stopping| serve(stream, shared, stopping));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(SLOW_TICK).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, stopping: Stopping) {
    // Small answers should not wait for each other.
    _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let shared = shared.clone();
        async move { shared.answer(request).await }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    if let Some(Err(error)) = stopping.race(connection).await {
        tracing::debug!(%error, "connection ended");
    }
}

impl Shared {
    fn stats(&self) -> Stats {
        let mut stats = self.mischief.stats();
        self.objects.measure(&mut stats);
        stats
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        if request.uri().path().starts_with("/_") {
            return self.administer(request).await;
        }
        let conditional = request.headers().contains_key(IF_NONE_MATCH);
        let fate = self.mischief.fate(request.method().as_str(), request.uri().path(), conditional);
        let Fate { latency, before, after } = fate;
        if before.is_some() || after.is_some() {
            tracing::debug!(method = %request.method(), path = request.uri().path(), ?fate, "fault");
        }
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        match before {
            Some(Before::Reset) => return Err(gone()),
            Some(Before::Refuse) => {
                drain(request).await?;
                return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
            }
            Some(Before::Conflict) => {
                drain(request).await?;
                return Ok(refusal(StatusCode::CONFLICT, "ConditionalRequestConflict"));
            }
            None => {}
        }
        let response = self.s3.call(request.map(s3s::Body::from)).await.map_err(io::Error::other)?;
        match after {
            None => Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync())),
            Some(After::Fail) => Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            Some(After::Reset) => Err(gone()),
            Some(After::Hang) => std::future::pending().await,
            Some(After::Truncate) => truncated(response).await,
            Some(After::Slow { bytes_per_second }) => slowed(response, bytes_per_second).await,
        }
    }

    /// Answers what is asked of this server rather than of S3.
    async fn administer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/_faults") => json(&self.mischief.get()),
            (&Method::PUT, "/_faults") => {
                let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
                match serde_json::from_slice(&body) {
                    Ok(faults) => {
                        self.mischief.set(faults);
                        json(&self.mischief.get())
                    }
                    Err(error) => Ok(text(StatusCode::BAD_REQUEST, "text/plain", error.to_string())),
                }
            }
            (&Method::GET, "/_stats") => json(&self.stats()),
            _ => {
                Ok(text(StatusCode::NOT_FOUND, "text/plain", "GET or PUT /_faults, GET /_stats\n".to_owned()))
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "fault: the connection is closed without an answer")
}

/// Reads a request to its end: a client that is still sending might not see the answer.
async fn drain(request: Request<Incoming>) -> io::Result<()> {
    request.into_body().collect().await.map(drop).map_err(io::Error::other)
}

fn text(status: StatusCode, kind: &str, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind).body(body);
    response.expect("the headers are constant")
}

fn json(value: &impl serde::Serialize) -> io::Result<Response<Body>> {
    Ok(text(StatusCode::OK, "application/json", serde_json::to_string(value)? + "\n"))
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let body = format!("<Error><Code>{code}</Code><Message>a fault that was asked for</Message></Error>");
    text(status, "application/xml", body)
}

/// The answer up to the middle of its body, with the length of all of it in the header.
async fn truncated(response: Response<s3s::Body>) -> io::Result<Response<Body>> {
    let (head, body) = response.into_parts();
    let mut bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    bytes.truncate(bytes.len() / 2);
    let pieces = stream::iter([Ok(Frame::data(bytes)), Err(gone())]);
    Ok(Response::from_parts(head, StreamBody::new(pieces).boxed_unsync()))
}

async fn slowed(response: Response<s3s::Body>, bytes_per_second: u64) -> io::Result<Response<Body>> {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let ticks_per_second = u64::try_from(1000 / SLOW_TICK.as_millis()).expect("a hundred");
    let piece = usize::try_from((bytes_per_second / ticks_per_second).max(1)).expect("a piece of memory");
    let pieces = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(SLOW_TICK).await;
        let piece = rest.split_to(piece.min(rest.len()));
        Some((Ok(Frame::data(piece)), rest))
    });
    Ok(Response::from_parts(head, StreamBody::new(pieces).boxed_unsync()))
}
