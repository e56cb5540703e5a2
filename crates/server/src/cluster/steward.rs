//! Answers those who steer: how the coordinators of this process are, and that one hands over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use redkite_catalog::MetadataView;
use redkite_cluster::sessions::{Peer, SessionsView};
use redkite_cluster::{Kv, Leadership};
use redkite_rpc::{Network, RpcSettings, seats_at};
use redkite_runtime::Tasks;
use redkite_service::{Error, Lag, Result, SeatState, SeatStatus, Seats};
use redkite_types::NodeId;
use tracing::info;

use super::lag;
use super::tenure::Tenure;

/// How long a standby may take to say that it lives.
const PATIENCE: Duration = Duration::from_secs(1);

/// The coordinators of this process, for whoever steers.
pub(super) struct Steward {
    pub(super) node: NodeId,
    pub(super) tenures: Vec<Arc<Tenure>>,
    pub(super) sessions: SessionsView,
    pub(super) kv: Arc<dyn Kv>,
    pub(super) view: MetadataView,
    pub(super) settings: RpcSettings,
    pub(super) network: Network,
    pub(super) tasks: Tasks,
}

#[async_trait]
impl Seats for Steward {
    async fn seats(&self) -> Result<Vec<SeatStatus>> {
        if self.tenures.is_empty() {
            return Ok(Vec::new());
        }
        let lag = lag::measure(&*self.kv, &self.view).await.unwrap_or(Lag { revisions: 0, millis: u64::MAX });
        Ok(self.tenures.iter().map(|tenure| tenure.status(lag)).collect())
    }

    async fn hand_over(&self, role: String, to: Option<NodeId>, by: String) -> Result<NodeId> {
        let leadership = self.leadership(&role)?;
        let successor = self.successor(&role, to).await?;
        info!(role, node = self.node.0, to = successor.0, by, "handing over");
        leadership.hand_over(&by, Some(successor)).await.map_err(|error| {
            let what =
                format!("{role} was given up, but the metastore did not say that it took note: {error}");
            Error::Unavailable { reason: what }
        })?;
        Ok(successor)
    }
}

impl Steward {
    fn leadership(&self, role: &str) -> Result<Leadership> {
        let tenure = self.tenures.iter().find(|tenure| tenure.role().name() == role);
        let Some(tenure) = tenure else {
            return Err(Error::invalid(format!("node {} has no {role}", self.node)));
        };
        tenure.leadership().ok_or_else(|| tenure.not_ready())
    }

    /// Who follows: the one that is named, or the one that is least behind.
    async fn successor(&self, role: &str, to: Option<NodeId>) -> Result<NodeId> {
        if to == Some(self.node) {
            return Err(Error::invalid(format!("node {} is the active {role} already", self.node)));
        }
        let sessions = self.sessions.current();
        let others: Vec<(NodeId, &Peer)> = sessions
            .nodes(role)
            .filter(|(node, _)| *node != self.node && to.is_none_or(|to| to == *node))
            .collect();
        if others.is_empty() {
            return Err(Error::invalid(match to {
                Some(to) => format!("node {to} is no {role}"),
                None => format!("nobody could follow as {role}: there is no other"),
            }));
        }
        let asked = others.into_iter().map(|(node, peer)| self.ask(role, node, peer));
        let (fit, unfit): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().partition(Result::is_ok);
        let best = fit.into_iter().flatten().min();
        best.map(|(_, node)| node).ok_or_else(|| {
            let reasons: Vec<_> = unfit.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
            Error::invalid(format!("nobody could follow as {role}: {}", reasons.join("; ")))
        })
    }

    /// A standby that says that it lives and could follow, with how far it is behind.
    async fn ask(&self, role: &str, node: NodeId, peer: &Peer) -> Result<(u64, NodeId)> {
        let unfit = |why: &str| Err(Error::invalid(format!("node {node} at {} {why}", peer.info.address)));
        if peer.info.stopping {
            return unfit("is stopping");
        }
        let tasks = self.tasks.child("ask");
        let remote = seats_at(node, &peer.info.address, &self.settings, &self.network, &tasks);
        let answer = tokio::time::timeout(PATIENCE, remote.seats()).await;
        // Its connection is for this question only.
        tasks.cancel();
        let Ok(Ok(seats)) = answer else { return unfit("does not answer") };
        let Some(seat) = seats.into_iter().find(|seat| seat.role == role) else {
            return unfit("has no such coordinator");
        };
        match (seat.state, seat.hindrance) {
            (SeatState::StandBy, None) => Ok((seat.lag.millis, node)),
            (SeatState::StandBy, Some(why)) => unfit(&format!("must not become active: {why}")),
            (state, _) => unfit(&format!("is {}, not StandBy", state.as_str())),
        }
    }
}
