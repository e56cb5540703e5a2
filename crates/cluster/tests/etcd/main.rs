//! The metastore on real etcd: its laws, and what happens when etcd or the way to it fails.

#![allow(clippy::unwrap_used, reason = "tests")]

mod contract;
mod fake;
mod outages;
mod relay;
mod scale;
mod server;
mod sharing;
mod standing;
