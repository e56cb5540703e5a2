//! Asks one process about its coordinators, wherever it listens: whoever steers looks at each by itself.

use std::sync::Arc;

use async_trait::async_trait;
use redkite_runtime::Tasks;
use redkite_service::{Result, SeatStatus, Seats};
use redkite_types::NodeId;

use crate::RpcSettings;
use crate::call::{Caller, Client, Method, Reply, Request};
use crate::link::Link;

/// The seats of the process `node`, which listens at `address`. Connects when first used; the connections
/// end with `tasks`. Another process at the address answers `NodeNotMatch`.
#[must_use]
pub fn seats_at(node: NodeId, address: &str, settings: &RpcSettings, tasks: &Tasks) -> impl Seats + use<> {
    Remote(Client(Direct(Link::new(node, address, Arc::new(settings.clone()), tasks.clone()))))
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
