//! Calls between processes over real sockets: what arrives, and what is told when nothing does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod coordinators;
mod failures;
mod fake;
mod leaders;
mod round_trip;
mod samples;
mod throughput;
mod watchdog;
mod world;
