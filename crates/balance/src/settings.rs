//! When is balancing worth its cost?

use serde::{Deserialize, Serialize};

use crate::quantity::{Bytes, Share};

/// Thresholds of automatic balancing; the first four have Milvus's names and meanings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BalanceSettings {
    /// Whether segments move to even nodes out. What must move (from nodes that leave or died, or by hand) does
    /// in any case. Milvus: `queryCoord.autoBalance`.
    pub auto_balance: bool,
    /// How often nodes are compared, in seconds; nodes that come and go are acted on at once.
    /// Milvus: `queryCoord.balanceIntervalSeconds`.
    pub balance_interval_seconds: u64,
    /// Above this percentage of its memory a node gives segments away, and none moves to where it would lead
    /// above. Milvus: `queryCoord.overloadedMemoryThresholdPercentage`.
    pub overloaded_memory_threshold_percentage: u64,
    /// Two nodes further apart than this, in percent of their memory, are evened out.
    /// Milvus: `queryCoord.memoryUsageMaxDifferencePercentage`.
    pub memory_usage_max_difference_percentage: u64,
    /// Two nodes further apart than this, in percent of their CPUs, are evened out.
    pub cpu_usage_max_difference_percentage: u64,
    /// Once begun, bytes are evened out until no two nodes are further apart than this, in percent of the mean
    /// load. Smaller means more moves.
    pub balance_goal_percentage: u64,
    /// Once begun, heat is evened out until no two nodes are further apart than this, in percent of their CPUs.
    pub cpu_balance_goal_percentage: u64,
    /// A segment that has moved stays at least so long, in seconds, unless its node leaves or is overloaded, or
    /// another node has joined.
    pub minimum_stay_seconds: u64,
    /// Of the bytes that a step moves at least this percentage must bring nodes closer to each other. With 25, a
    /// segment moves if it is at most 1.6 times what would make its two nodes equal.
    pub minimum_gain_percentage: u64,
    /// What a move costs apart from its bytes, in bytes that could be moved meanwhile. Keeps the smallest
    /// segments where they are.
    pub move_overhead_bytes: Bytes,
    /// The least time a move takes, however small, in milliseconds: for estimates.
    pub move_overhead_milliseconds: u64,
}

impl Default for BalanceSettings {
    fn default() -> Self {
        Self {
            auto_balance: true,
            balance_interval_seconds: 60,
            overloaded_memory_threshold_percentage: 90,
            memory_usage_max_difference_percentage: 30,
            cpu_usage_max_difference_percentage: 30,
            balance_goal_percentage: 5,
            cpu_balance_goal_percentage: 10,
            minimum_stay_seconds: 600,
            minimum_gain_percentage: 25,
            move_overhead_bytes: Bytes(64 << 10),
            move_overhead_milliseconds: 200,
        }
    }
}

impl BalanceSettings {
    pub(crate) fn overloaded(&self) -> Share {
        Share::percent(self.overloaded_memory_threshold_percentage)
    }

    /// Whether bytes that bring nodes closer are worth the bytes moved for it.
    pub(crate) fn repays(&self, gain: u64, bytes: u64, moves: u64) -> bool {
        let cost = u128::from(bytes) + u128::from(moves) * u128::from(self.move_overhead_bytes.0);
        u128::from(gain) * 100 >= cost * u128::from(self.minimum_gain_percentage)
    }
}
