//! The planners against a world that does what it is told, in any order, and forgets nothing.
//!
//! Random histories of flushes, deletes, definitions, loads, finished tasks and single planned steps;
//! after every event the invariants hold, and in the end everything comes to rest in the one right state.

mod cases;
mod history;
mod invariants;
