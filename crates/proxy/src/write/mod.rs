//! How do rows become writes of shards?
//!
//! [`rows`] checks what a client sent and makes one batch of it, [`route`] splits the batch by shard,
//! [`number`] tells repetitions from new writes, and a file per request says what is written.

pub(crate) mod delete;
mod fill;
pub(crate) mod insert;
pub(crate) mod number;
mod partial;
pub(crate) mod route;
pub(crate) mod rows;
pub(crate) mod upsert;
