//! The connections to one process, and calls over them.
//!
//! A connection is made by the first call that finds none, and shared; calls take turns among a few.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redkite_runtime::Tasks;
use redkite_service::Result as Answer;
use redkite_types::NodeId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::call::{Effect, Method, Reply, Request};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::{Network, RpcSettings};

type Making = Shared<BoxFuture<'static, Result<Connection, Arc<std::io::Error>>>>;

/// The way to one process.
#[derive(Debug)]
pub(crate) struct Link {
    node: NodeId,
    address: Arc<str>,
    settings: Arc<RpcSettings>,
    network: Network,
    tasks: Tasks,
    connections: Box<[Mutex<Option<Making>>]>,
    turn: AtomicUsize,
    gone: CancellationToken,
}

impl Link {
    /// Not connected yet.
    pub(crate) fn new(
        node: NodeId,
        address: &str,
        settings: Arc<RpcSettings>,
        network: Network,
        tasks: Tasks,
    ) -> Self {
        let connections = (0..settings.connections.max(1)).map(|_| Mutex::default()).collect();
        let (turn, gone) = (AtomicUsize::new(0), CancellationToken::new());
        Self { node, address: address.into(), settings, network, tasks, connections, turn, gone }
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The process is gone: calls on their way fail, and new ones, too.
    pub(crate) fn close(&self) {
        self.gone.cancel();
        self.connections.iter().for_each(|connection| drop(connection.lock().take()));
    }

    /// Calls and waits for the answer, as long as the method may take.
    pub(crate) async fn call<Q: Request, A: Reply>(
        &self,
        method: &Method,
        request: &Arc<Q>,
    ) -> Result<Answer<A>, Failure> {
        let began = Instant::now();
        let answer = self.answer(method, request).await;
        if method.effect != Effect::Wait {
            metrics::histogram!("redkite_rpc_seconds", "method" => method.path).record(began.elapsed());
            if answer.is_err() {
                metrics::counter!("redkite_rpc_failures_total", "method" => method.path).increment(1);
            }
        }
        answer
    }

    async fn answer<Q: Request, A: Reply>(
        &self,
        method: &Method,
        request: &Arc<Q>,
    ) -> Result<Answer<A>, Failure> {
        let calling = async {
            match method.timeout(&self.settings) {
                Some(timeout) => {
                    let calling = tokio::time::timeout(timeout, self.send(method, request));
                    calling.await.unwrap_or(Err(Failure::Late))
                }
                None => self.send(method, request).await,
            }
        };
        tokio::select! {
            biased;
            () = self.gone.cancelled() => Err(Failure::Lost("the process is gone".to_owned())),
            answer = calling => answer,
        }
    }

    /// Connects ahead of the first call; what fails is tried again by that.
    pub(crate) fn warm(&self) {
        for _ in 0..self.connections.len() {
            let (making, fresh) = self.connection();
            if fresh {
                self.tasks.spawn("rpc-warm", |stopping| async move {
                    let _ = stopping.race(making).await;
                });
            }
        }
    }

    async fn send<Q: Request, A: Reply>(
        &self,
        method: &Method,
        request: &Arc<Q>,
    ) -> Result<Answer<A>, Failure> {
        let (making, fresh) = self.connection();
        match made(making).await?.call(method, request, Some(self.node), &self.settings).await {
            // Lost while nobody called: that says nothing about the process now.
            Err(Failure::Unsent(_)) if !fresh => {
                let (making, _) = self.connection();
                made(making).await?.call(method, request, Some(self.node), &self.settings).await
            }
            answer => answer,
        }
    }

    /// A connection whose turn it is, and whether it is being made just now.
    fn connection(&self) -> (Making, bool) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let mut slot = self.connections[turn].lock();
        if let Some(making) = &*slot {
            match making.peek() {
                None => return (making.clone(), true),
                Some(Ok(connection)) if !connection.is_lost() => return (making.clone(), false),
                Some(_) => {}
            }
        }
        let (address, settings) = (self.address.clone(), self.settings.clone());
        let (network, tasks) = (self.network.clone(), self.tasks.clone());
        let making =
            async move { Connection::make(&address, &settings, &network, &tasks).await.map_err(Arc::new) };
        let making = making.boxed().shared();
        *slot = Some(making.clone());
        (making, true)
    }
}

async fn made(making: Making) -> Result<Connection, Failure> {
    making.await.map_err(|error| Failure::Unsent(error.to_string()))
}
