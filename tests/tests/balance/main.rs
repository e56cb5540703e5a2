//! Segments move between query nodes under load, and nobody notices.
//!
//! `REDKITE_QUIET_SECONDS` says how long nothing may move once nodes are even (5 by default), `REDKITE_MODEL_SEED`
//! repeats a run, `REDKITE_ROUNDS`, `REDKITE_FAILOVERS` and `REDKITE_COLLECTIONS` make long forms. Times are printed,
//! not asserted.

mod by_hand;
mod drains;
mod groups;
mod joins;
mod losses;
mod midway;
mod scene;
mod sizes;
