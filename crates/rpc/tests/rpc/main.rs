//! Calls between processes over real sockets: what arrives, and what is told when nothing does.

#![allow(dead_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;
mod round_trip;
mod samples;
mod world;
