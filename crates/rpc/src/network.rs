//! What lies between processes? TCP, or what a simulation puts in its place.
//!
//! Everything above is the same: who is called where, what is repeated, what a lost answer means, who is dead.
//! Below, messages travel whole, in the bytes that they would have over HTTP/2.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redkite_types::NodeId;

/// The network.
#[derive(Clone, Debug, Default)]
pub struct Network(Option<Arc<dyn Roads>>);

impl Network {
    /// TCP, as everywhere but in simulations.
    #[must_use]
    pub fn tcp() -> Self {
        Self(None)
    }

    /// These roads in its place.
    #[must_use]
    pub fn of(roads: Arc<dyn Roads>) -> Self {
        Self(Some(roads))
    }

    pub(crate) fn roads(&self) -> Option<&Arc<dyn Roads>> {
        self.0.as_ref()
    }
}

/// Leads to other processes.
#[async_trait]
pub trait Roads: fmt::Debug + Send + Sync + 'static {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] exactly if nobody listens there.
    async fn connect(&self, address: &str) -> io::Result<Arc<dyn Road>>;
}

/// A connection to a process.
#[async_trait]
pub trait Road: fmt::Debug + Send + Sync + 'static {
    /// Carries a request there and its answer back, however long that takes. Who drops this call cancels it.
    async fn call(&self, path: &'static str, node: Option<NodeId>, request: Bytes) -> Result<Bytes, Broken>;

    /// Whether it is known to be lost. What is then called is not sent.
    fn is_lost(&self) -> bool;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The request certainly did not arrive.
    #[error("not sent: connection lost")]
    Unsent,
    /// The connection went away after the request had been sent.
    #[error("connection lost")]
    Lost,
    /// The callee does not know the method.
    #[error("unknown method")]
    Unknown,
}
