//! A streaming node on real logs, files and metastore, beside a query node and a query coordinator that
//! do the least they must.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod flush;
mod model;
mod neighbours;
mod reads;
mod trouble;
mod world;
mod writes;
