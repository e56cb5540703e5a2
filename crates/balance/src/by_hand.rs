//! What if somebody wants segments elsewhere?

use std::cmp::Reverse;
use std::collections::BTreeSet;

use redkite_types::{CollectionId, NodeId, SegmentId, Timestamp};

use crate::cluster::{Cluster, CopySlot, NodeSlot, Resource};
use crate::draft::Draft;
use crate::plan::{Gain, Obstacle, Plan, Reason};
use crate::settings::BalanceSettings;

/// A wish. Milvus: `LoadBalance`, and `TransferSegment` of its management endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Segments of this collection only.
    pub collection: Option<CollectionId>,
    /// These segments; all if empty.
    pub segments: BTreeSet<SegmentId>,
    /// From this node.
    pub from: NodeId,
    /// To these nodes; to any the replica may use if empty.
    pub to: BTreeSet<NodeId>,
}

/// Why a transfer is not planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// There is no such node.
    #[error("node {0} does not live")]
    Unknown(NodeId),
    /// The segment is elsewhere.
    #[error("segment {segment} not on node {node}")]
    NotThere {
        /// The segment.
        segment: SegmentId,
        /// The node it should be on.
        node: NodeId,
    },
    /// The segment is moving already.
    #[error("segment {0} is being moved")]
    UnderWay(SegmentId),
    /// None of the targets can take it.
    #[error("segment {segment}: {obstacle}")]
    NoPlace {
        /// The segment.
        segment: SegmentId,
        /// What is in the way.
        obstacle: Obstacle,
    },
}

impl Transfer {
    pub(crate) fn plan(
        &self,
        cluster: &mut Cluster,
        settings: &BalanceSettings,
        now: Timestamp,
    ) -> Result<Plan, TransferRefused> {
        let mut draft = Draft::new(cluster, settings, now);
        let lives = |id: &NodeId| {
            draft.cluster.slot_of(*id).is_some_and(|slot| draft.cluster.node(slot).observed.is_some())
        };
        if let Some(unknown) = std::iter::once(&self.from).chain(&self.to).find(|id| !lives(id)) {
            return Err(TransferRefused::Unknown(*unknown));
        }
        let copies = self.copies(draft.cluster)?;
        let refused = copies.into_iter().find_map(|copy| self.step(&mut draft, copy).err());
        let plan = draft.finish();
        refused.map_or(Ok(plan), Err)
    }

    /// What is meant, the largest first.
    fn copies(&self, cluster: &mut Cluster) -> Result<Vec<CopySlot>, TransferRefused> {
        let from = cluster.slot_of(self.from).ok_or(TransferRefused::Unknown(self.from))?;
        cluster.sort(from);
        let cluster = &*cluster;
        let meant = |copy: &CopySlot| {
            let collection = self.collection.is_none_or(|id| id == cluster.collection_of(*copy));
            let segment = cluster.copy(*copy).id.segment;
            collection && (self.segments.is_empty() || self.segments.contains(&segment))
        };
        let here = cluster.node(from).sized(Resource::Memory, ..);
        let leaving = cluster.under_way().iter().copied();
        let leaving = leaving.filter(|copy| cluster.copy(*copy).home == Some(from));
        let copies: BTreeSet<_> = here.chain(leaving).filter(meant).collect();
        let on_its_way = |copy: &&CopySlot| cluster.copy(**copy).on_its_way;
        if let Some(copy) = copies.iter().find(on_its_way) {
            return Err(TransferRefused::UnderWay(cluster.copy(*copy).id.segment));
        }
        let found: BTreeSet<_> = copies.iter().map(|copy| cluster.copy(*copy).id.segment).collect();
        if let Some(segment) = self.segments.difference(&found).next() {
            return Err(TransferRefused::NotThere { segment: *segment, node: self.from });
        }
        let mut copies: Vec<_> = copies.into_iter().collect();
        copies.sort_by_key(|copy| (Reverse(cluster.copy(*copy).bytes()), cluster.copy(*copy).id));
        Ok(copies)
    }

    fn step(&self, draft: &mut Draft<'_>, copy: CopySlot) -> Result<(), TransferRefused> {
        let (bytes, segment) = (draft.cluster.copy(copy).bytes(), draft.cluster.copy(copy).id.segment);
        let targets = draft.cluster.places(copy).filter(|node| {
            let id = draft.cluster.node(*node).id;
            id != self.from && (self.to.is_empty() || self.to.contains(&id))
        });
        let targets: Vec<_> = targets.collect();
        let used_then = |node: NodeSlot| draft.cluster.node(node).used[0].saturating_add(bytes);
        let fitting = targets.iter().copied().filter(|node| {
            !draft.cluster.holds_sibling(*node, copy) && used_then(*node) <= draft.memory_limit(*node)
        });
        let emptiest = fitting.min_by_key(|node| {
            let entry = draft.cluster.node(*node);
            (entry.level_with(Resource::Memory, used_then(*node)), entry.id)
        });
        let Some(target) = emptiest else {
            let obstacle = draft.obstacle_among(copy, targets.into_iter());
            return Err(TransferRefused::NoPlace { segment, obstacle });
        };
        draft.step(&[(copy, target)], Reason::ByHand, Gain::default());
        Ok(())
    }
}
