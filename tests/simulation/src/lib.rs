//! A whole cluster in one thread: real code; simulated network, etcd, bucket and time; one seed.
//!
//! [`run`](mod@run) plays a seed: a `shape` is drawn, a [`cluster`] of real processes started, [`player`]s work on it and
//! know what they must be answered, [`trouble`] is made, and in the end the cluster must have [`settled`]. In
//! between lie [`etcd`], the [`bucket`] and the [`roads`] between processes; the [`weather`] decides what comes
//! through. The [`trace`] shows what happened, and that a seed replays exactly.
//!
//! What is not simulated: HTTP/2 (messages travel whole), the client's side of etcd and S3, local files, threads.

pub mod bucket;
pub mod channel;
pub mod cluster;
pub mod etcd;
pub mod player;
mod referee;
pub mod roads;
pub mod run;
pub mod settled;
pub mod shape;
pub mod trace;
pub mod trouble;
pub mod wall;
pub mod weather;
