//! Nodes are kept evenly loaded: who knows what is where, who decides, who carries it out?
//!
//! ```text
//! usage     what nodes say that they have and use, asked every two seconds
//! ledger    the planner, kept up to date with records and usage
//! balancer  the loop: plans when there is reason to, begins moves at a pace that nodes bear
//! leaders   the same for shard leaders on streaming nodes
//! orders    what others ask for: plans, status, drains, transfers
//! ```
//!
//! A move is a record. `plan::serving` makes it happen and ends it, whoever is active by then; a plan that was
//! not begun yet is lost with a failover, and made anew by the next one.

pub(crate) mod balancer;
pub(crate) mod leaders;
mod ledger;
mod orders;
#[cfg(test)]
mod tests;
pub(crate) mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use redkite_balance::{BalanceSettings, Move, MoveLimits, Unplaced};
use redkite_catalog::CopyKey;
use redkite_runtime::units::Bytes;
use redkite_service::LeaderStatus;
use redkite_types::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::ledger::Ledger;
use self::usage::Usages;
use crate::environment::Environment;

/// Settings of balancing, which act at once when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BalancingSettings {
    /// When nodes are evened out, and how far.
    #[serde(flatten)]
    pub planning: BalanceSettings,
    /// Segments on their way to a node at a time, and as many on their way from it.
    pub moves_per_node: u32,
    /// Bytes per second that moves make a node load, on average.
    pub move_bandwidth_per_node: Bytes,
    /// A node that has refused a segment is not given others for so long, in seconds. Milvus:
    /// `queryCoord.resourceExhaustionPenaltyDuration`.
    pub resource_exhaustion_penalty_duration: u64,
}

impl Default for BalancingSettings {
    fn default() -> Self {
        let MoveLimits { concurrency, bandwidth } = MoveLimits::default();
        Self {
            planning: BalanceSettings::default(),
            moves_per_node: concurrency,
            move_bandwidth_per_node: Bytes(bandwidth.0),
            resource_exhaustion_penalty_duration: 30,
        }
    }
}

impl BalancingSettings {
    fn limits(&self) -> MoveLimits {
        let bandwidth = redkite_balance::Bytes(self.move_bandwidth_per_node.0);
        MoveLimits { concurrency: self.moves_per_node, bandwidth }
    }
}

/// What the loop and those who give orders share.
pub(crate) struct Shared {
    pub(crate) environment: Environment,
    pub(crate) settings: watch::Receiver<BalancingSettings>,
    pub(crate) usages: watch::Receiver<Arc<Usages>>,
    /// Something was asked for.
    pub(crate) nudge: Notify,
    state: Mutex<State>,
    /// Streaming nodes, as they were looked at last.
    leaders: Mutex<Vec<LeaderStatus>>,
}

/// What is known and what is going to be done.
#[derive(Default)]
struct State {
    ledger: Ledger,
    /// Planned moves that have not begun, in their order.
    open: Vec<Move>,
    /// What should be elsewhere, but can not.
    unplaced: Vec<Unplaced>,
    /// When each node can load more without exceeding its bandwidth.
    free_at: BTreeMap<NodeId, Instant>,
    /// When there was reason to plan last.
    changed: Option<Instant>,
    /// Nodes that have refused a segment, and until when they are left alone.
    refused: BTreeMap<NodeId, Instant>,
}

/// What a move is recorded under.
fn key(one: &Move) -> CopyKey {
    (one.collection, (one.copy.replica, one.copy.segment))
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        environment: Environment,
        settings: watch::Receiver<BalancingSettings>,
        usages: watch::Receiver<Arc<Usages>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            environment,
            settings,
            usages,
            nudge: Notify::new(),
            state: Mutex::default(),
            leaders: Mutex::default(),
        })
    }
}
