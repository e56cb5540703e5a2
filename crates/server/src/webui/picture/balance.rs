//! How even are nodes, and are they being evened out?

use redkite_balance::{Share, Spread, Unplaced};
use redkite_service::BalanceStatus;
use serde::Serialize;

/// Copies without a place that are named.
const UNPLACED: usize = 20;

#[derive(Debug, Serialize)]
pub(super) struct Balance {
    automatic: bool,
    suspended: bool,
    evening: bool,
    memory: Apart,
    cpu: Apart,
    moving: usize,
    waiting: usize,
    waiting_bytes: u64,
    unplaced: Vec<Homeless>,
    unplaced_total: usize,
}

/// Percentages of what a node has.
#[derive(Debug, Serialize)]
struct Apart {
    lowest: f64,
    highest: f64,
    mean: f64,
    difference: f64,
}

/// A copy that should be elsewhere, but can not.
#[derive(Debug, Serialize)]
struct Homeless {
    segment: String,
    on: Option<String>,
    bytes: u64,
    obstacle: String,
}

impl Balance {
    pub(super) fn of(status: &BalanceStatus) -> Self {
        Self {
            automatic: status.automatic,
            suspended: status.suspended,
            evening: status.evening,
            memory: Apart::of(&status.imbalance.memory),
            cpu: Apart::of(&status.imbalance.cpu),
            moving: status.moving.len(),
            waiting: status.waiting.len(),
            waiting_bytes: status.waiting.iter().map(|one| one.bytes.0).sum(),
            unplaced: status.unplaced.iter().take(UNPLACED).map(Homeless::of).collect(),
            unplaced_total: status.unplaced.len(),
        }
    }
}

impl Apart {
    fn of(spread: &Spread) -> Self {
        Self {
            lowest: percent(spread.lowest),
            highest: percent(spread.highest),
            mean: percent(spread.mean),
            difference: percent(spread.difference()),
        }
    }
}

impl Homeless {
    fn of(one: &Unplaced) -> Self {
        Self {
            segment: one.copy.segment.to_string(),
            on: one.on.map(|node| node.to_string()),
            bytes: one.bytes.0,
            obstacle: one.obstacle.to_string(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn percent(share: Share) -> f64 {
    share.0 as f64 * 100.0 / Share::WHOLE.0 as f64
}
