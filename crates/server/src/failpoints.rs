//! Where can tests make this process fail, and where do they want it to?

use anyhow::Context;
use redkite_runtime::failpoint::{Failpoint, arm};

/// Every failpoint of every crate; `tests/tests/failpoints.rs` notices if a crate is missing.
pub(crate) fn all() -> Vec<Failpoint> {
    [
        redkite_cluster::FAILPOINTS,
        redkite_data_node::FAILPOINTS,
        redkite_storage::FAILPOINTS,
        redkite_storage::bucket::FAILPOINTS,
        redkite_streaming_node::FAILPOINTS,
        redkite_wal::FAILPOINTS,
    ]
    .concat()
}

/// Does what the variable `FAILPOINTS` says.
pub(crate) fn arm_from_environment() -> anyhow::Result<()> {
    let specification = std::env::var("FAILPOINTS").unwrap_or_default();
    arm(&specification, &all()).context("environment variable FAILPOINTS")
}
