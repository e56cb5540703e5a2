//! Which segments should be on which query nodes, and what has to move for that?
//!
//! A pure planner: [`plan()`] makes of what is [`Observed`] a whole [`Plan`], each move with its bytes, time, reason
//! and gain. [`Planner`] does the same with what it knows kept between plans, for large clusters. Nothing here
//! does I/O, reads a clock or rolls a dice. How loaded a node is, is relative to what it has; what counts are
//! bytes first, CPU second. `draft` says why there is an end, and why plans settle.

mod by_hand;
mod cluster;
mod draft;
mod drain;
mod observed;
mod pacing;
mod plan;
mod planner;
mod quantity;
mod settings;
#[cfg(test)]
mod tests;

use redkite_types::Timestamp;

pub use self::by_hand::{Transfer, TransferRefused};
pub use self::draft::Occasion;
pub use self::drain::DrainRefused;
pub use self::observed::{Copy, CopyId, FixedBytes, MoveLimits, Node, NodeState, Observed, Replica};
pub use self::plan::{Gain, Imbalance, Move, Obstacle, Plan, Reason, Spread, Unplaced};
pub use self::planner::Planner;
pub use self::quantity::{Bytes, Cpu, Share};
pub use self::settings::BalanceSettings;

/// What should move, given all this.
#[must_use]
pub fn plan(observed: &Observed, settings: &BalanceSettings, occasion: Occasion, now: Timestamp) -> Plan {
    let mut cluster = Planner::of(observed, settings.clone()).cluster;
    let mut draft = draft::Draft::new(&mut cluster, settings, now);
    draft.run(occasion);
    draft.write_down()
}
