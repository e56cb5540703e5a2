//! Asks one process, wherever it listens: whoever steers looks at each by itself.

use std::sync::Arc;

use async_trait::async_trait;
use redkite_runtime::Tasks;
use redkite_service::{BalanceAnswer, BalanceCommand, QueryCoord, Result, SeatStatus, Seats};
use redkite_types::NodeId;

use crate::call::{Caller, Client, Method, Reply, Request};
use crate::link::Link;
use crate::{Network, RpcSettings};

/// The seats of the process `node`, which listens at `address`. Connects when first used; the connections
/// end with `tasks`. Another process at the address answers `NodeNotMatch`.
#[must_use]
pub fn seats_at(
    node: NodeId,
    address: &str,
    settings: &RpcSettings,
    network: &Network,
    tasks: &Tasks,
) -> impl Seats + use<> {
    let settings = Arc::new(settings.clone());
    Remote(Client(Direct(Link::new(node, address, settings, network.clone(), tasks.clone()))))
}

/// Balancing as the query coordinator in the process `node` does it; otherwise as [`seats_at`].
#[must_use]
pub fn balancing_at(
    node: NodeId,
    address: &str,
    settings: &RpcSettings,
    network: &Network,
    tasks: &Tasks,
) -> Balancing {
    let settings = Arc::new(settings.clone());
    Balancing(Client(Direct(Link::new(node, address, settings, network.clone(), tasks.clone()))))
}

/// Who balances query nodes.
pub struct Balancing(Client<Direct>);

impl std::fmt::Debug for Balancing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balancing").finish_non_exhaustive()
    }
}

impl Balancing {
    /// Steers it, or asks about it.
    ///
    /// # Errors
    /// If the process refuses, or does not answer.
    pub async fn balance(&self, command: BalanceCommand) -> Result<BalanceAnswer> {
        self.0.balance(command).await
    }
}

struct Remote(Client<Direct>);

#[async_trait]
impl Seats for Remote {
    async fn seats(&self) -> Result<Vec<SeatStatus>> {
        self.0.seats().await
    }

    async fn hand_over(&self, role: String, to: Option<NodeId>, by: String) -> Result<NodeId> {
        self.0.hand_over(role, to, by).await
    }
}

/// Calls one process and tells what comes of it.
struct Direct(Link);

impl Caller for Direct {
    async fn call<Q: Request, A: Reply>(&self, method: &'static Method, request: Q) -> Result<A> {
        let answer = self.0.call(method, &Arc::new(request)).await;
        answer.unwrap_or_else(|failure| Err(failure.told(method, self.0.address())))
    }
}
