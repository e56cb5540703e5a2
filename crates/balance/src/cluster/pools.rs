//! Which sets of nodes do replicas use?
//!
//! Thousands of replicas share few sets, so each set is kept once.

use hashbrown::HashMap;
use redkite_types::NodeId;

use super::NodeSlot;

/// Where a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PoolSlot(u32);

#[derive(Clone, Debug, Default)]
struct Pool {
    ids: Box<[NodeId]>,
    members: Vec<NodeSlot>,
    /// A bit per slot of a node.
    bits: Vec<u64>,
    users: u32,
}

/// The sets in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools {
    pools: Vec<Pool>,
    vacant: Vec<PoolSlot>,
    slots: HashMap<Box<[NodeId]>, PoolSlot>,
}

impl Pools {
    /// The set of these nodes, with one more user; whether it is a new one.
    pub(super) fn join(
        &mut self,
        ids: Vec<NodeId>,
        slot_of: impl FnMut(NodeId) -> NodeSlot,
    ) -> (PoolSlot, bool) {
        if let Some(slot) = self.slots.get(ids.as_slice()) {
            self.pools[slot.0 as usize].users += 1;
            return (*slot, false);
        }
        let ids = ids.into_boxed_slice();
        let members: Vec<_> = ids.iter().copied().map(slot_of).collect();
        let mut bits = Vec::new();
        for member in &members {
            let word = member.at() / 64;
            if bits.len() <= word {
                bits.resize(word + 1, 0_u64);
            }
            bits[word] |= 1 << (member.at() % 64);
        }
        let pool = Pool { ids: ids.clone(), members, bits, users: 1 };
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.pools.push(Pool::default());
            PoolSlot(u32::try_from(self.pools.len() - 1).expect("fewer sets than replicas"))
        });
        self.pools[slot.0 as usize] = pool;
        self.slots.insert(ids, slot);
        (slot, true)
    }

    /// One user less; whether it was the last.
    pub(super) fn leave(&mut self, slot: PoolSlot) -> bool {
        let pool = &mut self.pools[slot.0 as usize];
        pool.users -= 1;
        let unused = pool.users == 0;
        if unused {
            let pool = std::mem::take(pool);
            self.slots.remove(&pool.ids);
            self.vacant.push(slot);
        }
        unused
    }

    pub(super) fn contains(&self, slot: PoolSlot, node: NodeSlot) -> bool {
        let word = self.pools[slot.0 as usize].bits.get(node.at() / 64);
        word.is_some_and(|word| word & (1 << (node.at() % 64)) != 0)
    }

    /// In the order of ids.
    pub(super) fn members(&self, slot: PoolSlot) -> &[NodeSlot] {
        &self.pools[slot.0 as usize].members
    }

    /// The members of every set in use.
    pub(super) fn all(&self) -> impl Iterator<Item = &[NodeSlot]> {
        self.pools.iter().filter(|pool| pool.users > 0).map(|pool| pool.members.as_slice())
    }
}
