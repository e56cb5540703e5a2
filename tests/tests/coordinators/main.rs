//! Coordinators die, hang, are cut off, handed over and replaced under load, and nobody notices.
//!
//! `REDKITE_FAILOVERS` says how often each test lets the active coordinator go (5 by default), `REDKITE_DOWN_SECONDS`
//! for how long there is none, `REDKITE_MODEL_SEED` repeats a run. Times are printed, and asserted only as far as
//! they show by which mechanism a role was taken over: leases are made long where they must not be waited for.

mod candidates;
mod deaths;
mod fences;
mod midway;
mod nobody;
mod partitions;
mod scene;
mod store;
