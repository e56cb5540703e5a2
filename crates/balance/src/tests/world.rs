//! Clusters made up by tests, and what becomes of them when plans are carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use redkite_types::{CollectionId, NodeId, ReplicaId, SegmentId, Timestamp};

use crate::{
    BalanceSettings, Bytes, Copy, CopyId, Cpu, FixedBytes, MoveLimits, Node, NodeState, Observed, Occasion,
    Plan, Planner, Replica,
};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// Long after everything that tests let happen before.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_physical(1_000_000_000)
}

pub(crate) fn node(id: i64, memory: u64) -> Node {
    Node {
        id: NodeId(id),
        state: NodeState::Serving,
        joined: false,
        memory: Bytes(memory),
        fixed: FixedBytes::default(),
        cpu: Cpu(8_000_000),
        fixed_cpu: Cpu(0),
        limits: MoveLimits::default(),
    }
}

pub(crate) fn replica(id: i64, collection: i64, nodes: &[i64]) -> Replica {
    let nodes = Arc::new(nodes.iter().copied().map(NodeId).collect());
    Replica { id: ReplicaId(id), collection: CollectionId(collection), nodes }
}

pub(crate) fn copy(replica: i64, segment: i64, bytes: u64, node: Option<i64>) -> Copy {
    Copy {
        id: CopyId { replica: ReplicaId(replica), segment: SegmentId(segment) },
        bytes: Bytes(bytes),
        cpu: Cpu(0),
        node: node.map(NodeId),
        moving_to: None,
        moved_at: Timestamp::ZERO,
        pinned: false,
    }
}

/// One replica on nodes of the same size.
pub(crate) fn one_replica(nodes: i64, memory: u64) -> Observed {
    let ids: Vec<_> = (1..=nodes).collect();
    Observed {
        nodes: ids.iter().map(|id| node(*id, memory)).collect(),
        replicas: vec![replica(1, 1, &ids)],
        copies: Vec::new(),
    }
}

impl Observed {
    pub(crate) fn planned(&self, occasion: Occasion) -> Plan {
        crate::plan(self, &BalanceSettings::default(), occasion, now())
    }

    pub(crate) fn planner(&self) -> Planner {
        Planner::of(self, BalanceSettings::default())
    }

    /// What is observed when a plan has been carried out.
    pub(crate) fn after(&self, plan: &Plan, at: Timestamp) -> Self {
        let moved: BTreeMap<_, _> = plan.moves.iter().map(|one| (one.copy, one)).collect();
        let mut next = self.clone();
        for copy in &mut next.copies {
            if let Some(one) = moved.get(&copy.id) {
                copy.node = Some(one.to);
                copy.moving_to = None;
                copy.moved_at = at;
            }
        }
        next
    }

    /// Bytes of copies on a node.
    pub(crate) fn bytes_on(&self, node: i64) -> u64 {
        let here = self.copies.iter().filter(|copy| copy.node == Some(NodeId(node)));
        here.map(|copy| copy.bytes.0).sum()
    }

    pub(crate) fn cpu_on(&self, node: i64) -> u64 {
        let here = self.copies.iter().filter(|copy| copy.node == Some(NodeId(node)));
        here.map(|copy| copy.cpu.0).sum()
    }
}
