//! A streaming node on real logs, files and metastore, beside a query node and a query coordinator that
//! do the least they must.
//!
//! What holds whatever the logs are in is tested on logs in local files and on logs in an object store.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::duplicate_mod, reason = "tests on every kind of log")]

#[path = "../../../wal/tests/bucket/mod.rs"]
mod bucket;
mod local;
mod neighbours;
mod replicas;
mod two_leaders;
mod world;

#[path = "."]
mod on_local_files {
    const LOGS: crate::world::Logs = crate::world::Logs::Local;

    mod flush;
    mod lead;
    mod model;
    mod once;
    mod reads;
    mod trouble;
    mod writes;
}

#[path = "."]
mod on_objects {
    const LOGS: crate::world::Logs = crate::world::Logs::Objects;

    mod flush;
    mod lead;
    mod model;
    mod once;
    mod reads;
    mod trouble;
    mod writes;
}
