//! What do shards get, and what do clients get back?

#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

mod leaders;
mod reads;
mod world;
mod writes;
