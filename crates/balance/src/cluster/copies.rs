//! A copy of a segment.

use std::num::NonZeroU32;

use redkite_types::Timestamp;

use super::{NodeSlot, ReplicaSlot};
use crate::observed::CopyId;

/// Where a copy's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CopySlot(pub(super) u32);

impl CopySlot {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug)]
pub(crate) struct CopyEntry {
    pub(crate) id: CopyId,
    pub(super) replica: ReplicaSlot,
    /// Among the replica's copies.
    pub(super) position: u32,
    /// Among strays, if it is one.
    pub(super) stray: Option<u32>,
    /// What it uses, by resource.
    pub(crate) load: [u64; 2],
    /// Who answers for it.
    pub(crate) home: Option<NodeSlot>,
    /// Where a move takes it that was begun.
    pub(crate) target: Option<NodeSlot>,
    /// The move is under way: its target can still take it.
    pub(crate) on_its_way: bool,
    /// Where it counts.
    pub(crate) at: Option<NodeSlot>,
    pub(super) moved_at: Timestamp,
    pub(super) pinned: bool,
    /// Its place among what a draft has moved.
    pub(crate) draft: Option<NonZeroU32>,
}

impl CopyEntry {
    pub(crate) fn bytes(&self) -> u64 {
        self.load[0]
    }

    pub(crate) fn heat(&self) -> u64 {
        self.load[1]
    }

    /// Neither put there by hand nor on its way.
    pub(crate) fn may_leave(&self) -> bool {
        !self.pinned && !self.on_its_way
    }

    /// Whether it is on a node now or then.
    pub(super) fn touches(&self, node: NodeSlot) -> bool {
        [self.home, self.target, self.at].contains(&Some(node))
    }
}
