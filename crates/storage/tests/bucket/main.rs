//! The store on a bucket keeps the laws, whatever the network does.

#![allow(clippy::unwrap_used, reason = "a test")]

mod cached;
mod contract;
mod creating;
mod large;
mod moto;
mod opening;
mod world;
