//! The planner against clusters of every shape, and against those that matter.

mod laws;
mod potential;
mod scenarios;
mod world;
