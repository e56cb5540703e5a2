//! What is shown of a cluster, as pure functions of what was seen.
//!
//! Ids are text, because they may be larger than what a browser counts exactly; times are milliseconds since the Unix
//! epoch. What could be long in a large cluster is cut off, and says of how much.

mod balance;
mod coordinators;
mod moves;
mod nodes;
mod shards;

use std::collections::BTreeMap;

use redkite_catalog::Metadata;
use redkite_cluster::election::ElectionRecord;
use redkite_cluster::sessions::{Peer, Sessions};
use redkite_service::BalanceStatus;
use redkite_types::{CollectionId, NodeId};
use serde::Serialize;

use balance::Balance;
use coordinators::Coordinator;
use moves::{Ended, UnderWay};
use nodes::Nodes;
use shards::Shards;

/// What was seen.
pub(super) struct Seen<'a> {
    pub(super) now: u64,
    /// This process.
    pub(super) node: NodeId,
    pub(super) records: &'a Metadata,
    pub(super) sessions: &'a Sessions,
    /// What the query coordinator said last.
    pub(super) balance: Option<&'a BalanceStatus>,
    /// Those that are remembered, by role.
    pub(super) elections: &'a BTreeMap<&'static str, Vec<ElectionRecord>>,
    pub(super) coordinator: Answers,
    pub(super) metastore: Answers,
}

/// Whether somebody answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Answers {
    /// When it did last; never if there is none.
    pub(super) at: Option<u64>,
    /// Why there has been no answer since.
    pub(super) problem: Option<String>,
}

/// What is shown.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    now: u64,
    process: Process,
    coordinator: Answers,
    metastore: Answers,
    balance: Option<Balance>,
    #[serde(flatten)]
    nodes: Nodes,
    shards: Shards,
    coordinators: Vec<Coordinator>,
    moves: UnderWay,
    history: Ended,
}

/// Who tells.
#[derive(Debug, Serialize)]
struct Process {
    node: String,
    version: &'static str,
}

impl Picture {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let history = Ended::of(seen);
        Self {
            now: seen.now,
            process: Process { node: seen.node.to_string(), version: env!("CARGO_PKG_VERSION") },
            coordinator: seen.coordinator.clone(),
            metastore: seen.metastore.clone(),
            balance: seen.balance.map(Balance::of),
            nodes: Nodes::of(seen),
            shards: Shards::of(seen),
            coordinators: coordinators::of(seen),
            moves: UnderWay::of(seen, history.pace()),
            history,
        }
    }
}

impl Seen<'_> {
    /// The name of a collection; that of its database before it, unless it is the default one.
    fn name(&self, collection: CollectionId) -> String {
        let Some(record) = self.records.collections.get(&collection) else {
            return format!("collection {collection}");
        };
        let database = self.records.databases.get(&record.database).map(|database| database.name.as_str());
        match database {
            None | Some(redkite_catalog::DEFAULT_DATABASE) => record.name.clone(),
            Some(database) => format!("{database}.{}", record.name),
        }
    }
}

/// Where a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Place {
    node: String,
    address: String,
    host: String,
    stopping: bool,
}

impl Place {
    fn of(node: NodeId, peer: Option<&Peer>) -> Self {
        let info = peer.map(|peer| peer.info.clone()).unwrap_or_default();
        Self { node: node.to_string(), address: info.address, host: info.host_name, stopping: info.stopping }
    }
}

#[cfg(test)]
mod testing;
