//! The planner: what is known, kept up to date, and the questions asked of it.

use redkite_types::{CollectionId, NodeId, ReplicaId, Timestamp};

use crate::by_hand::{Transfer, TransferRefused};
use crate::cluster::Cluster;
use crate::draft::{Draft, Occasion};
use crate::drain::{self, DrainRefused};
use crate::observed::{Copy, CopyId, Node, Observed};
use crate::pacing;
use crate::plan::{Imbalance, Move, Obstacle, Plan, Reason};
use crate::quantity::Bytes;
use crate::settings::BalanceSettings;

/// What is known, kept between plans so that each costs what it changes. Its answers depend on what it was told
/// and on nothing else; asking changes nothing, apart from [`Planner::place`] and [`Planner::after_loss`].
#[derive(Clone, Debug, Default)]
pub struct Planner {
    pub(crate) settings: BalanceSettings,
    pub(crate) cluster: Cluster,
}

impl Planner {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(settings: BalanceSettings) -> Self {
        Self { settings, cluster: Cluster::default() }
    }

    /// Knows what is observed.
    #[must_use]
    pub fn of(observed: &Observed, settings: BalanceSettings) -> Self {
        let mut planner = Self::new(settings);
        observed.nodes.iter().for_each(|node| planner.set_node(node.clone()));
        for replica in &observed.replicas {
            planner.set_replica(replica.id, replica.collection, &replica.nodes);
        }
        observed.copies.iter().for_each(|copy| planner.set_copy(copy));
        planner
    }

    /// Settings have changed.
    pub fn set_settings(&mut self, settings: BalanceSettings) {
        self.settings = settings;
    }

    /// A node has come, or has changed.
    pub fn set_node(&mut self, node: Node) {
        self.cluster.set_node(node);
    }

    /// A node has left, having nothing any more, or having been lost.
    pub fn remove_node(&mut self, node: NodeId) {
        self.cluster.remove_node(node);
    }

    /// A replica has come, or uses other nodes.
    pub fn set_replica(
        &mut self,
        replica: ReplicaId,
        collection: CollectionId,
        nodes: &std::collections::BTreeSet<NodeId>,
    ) {
        self.cluster.set_replica(replica, collection, nodes);
    }

    /// A replica is no more, nor are its copies.
    pub fn remove_replica(&mut self, replica: ReplicaId) {
        self.cluster.remove_replica(replica);
    }

    /// A copy has come, or has changed. Those of unknown replicas are disregarded.
    pub fn set_copy(&mut self, copy: &Copy) {
        self.cluster.set_copy(copy);
    }

    /// A copy is no more.
    pub fn remove_copy(&mut self, copy: CopyId) {
        self.cluster.remove_copy(copy);
    }

    /// What should move now.
    #[must_use]
    pub fn plan(&mut self, occasion: Occasion, now: Timestamp) -> Plan {
        let mut draft = Draft::new(&mut self.cluster, &self.settings, now);
        draft.run(occasion);
        draft.finish()
    }

    /// Where a new copy goes; from then on it counts there, as a move under way.
    ///
    /// # Errors
    /// If no node can take it. It is known all the same, and part of the next plan.
    pub fn place(&mut self, copy: &Copy, now: Timestamp) -> Result<NodeId, Obstacle> {
        self.cluster.set_copy(copy);
        let draft = Draft::new(&mut self.cluster, &self.settings, now);
        let slot = draft.cluster.copy_of(copy.id).ok_or(Obstacle::NoNode)?;
        let place = draft.place_for(slot).ok_or_else(|| draft.obstacle(slot))?;
        let node = draft.cluster.node(place).id;
        self.cluster.begin(slot, node, false);
        Ok(node)
    }

    /// A node is lost: where its copies go.
    #[must_use]
    pub fn after_loss(&mut self, node: NodeId, now: Timestamp) -> Plan {
        self.cluster.remove_node(node);
        self.plan(Occasion::Change, now)
    }

    /// What it would take to empty a node. To do it, set the node to [`crate::NodeState::Draining`].
    ///
    /// # Errors
    /// If the others cannot hold what is on it.
    pub fn drain(&mut self, node: NodeId, now: Timestamp) -> Result<Plan, DrainRefused> {
        drain::plan(self, node, now)
    }

    /// Moves that somebody asks for.
    ///
    /// # Errors
    /// If one of them is not possible; then none is planned.
    pub fn transfer(&mut self, transfer: &Transfer, now: Timestamp) -> Result<Plan, TransferRefused> {
        transfer.plan(&mut self.cluster, &self.settings, now)
    }

    /// Takes moves for begun: they count as done, and are not planned again. Those by hand pin what they move.
    pub fn begin<'a>(&mut self, moves: impl IntoIterator<Item = &'a Move>) {
        for one in moves {
            if let Some(copy) = self.cluster.copy_of(one.copy) {
                self.cluster.begin(copy, one.to, one.reason == Reason::ByHand);
            }
        }
    }

    /// Of planned moves those that may begin now, beside those under way.
    #[must_use]
    pub fn startable<'a>(&self, moves: &'a [Move]) -> Vec<&'a Move> {
        pacing::startable(&self.cluster, moves)
    }

    /// What a node uses, counting moves under way as done.
    #[must_use]
    pub fn used(&self, node: NodeId) -> Bytes {
        let slot = self.cluster.slot_of(node);
        slot.map(|slot| Bytes(self.cluster.node(slot).used[0])).unwrap_or_default()
    }

    /// How uneven nodes are, counting moves under way as done: of the nodes that could exchange segments those
    /// furthest apart.
    #[must_use]
    pub fn imbalance(&mut self) -> Imbalance {
        self.cluster.settle();
        crate::draft::worst(&self.cluster)
    }
}
