//! The metastore's records in memory, typed: what a watch applies to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use redkite_types::{CollectionId, DatabaseId, NodeId, ReplicaId, Revision, SegmentId, ShardId, TaskId};
use tracing::error;

use crate::{
    BalanceRecord, CollectionRecord, CopyKey, DEFAULT_DATABASE, DatabaseRecord, DrainRecord, DroppedRecord,
    HeldRecord, HoldRecord, IndexesRecord, Key, LoadRecord, MoveRecord, MovedRecord, NameRecord, Record,
    ReplicasRecord, ResourceGroupRecord, SegmentRecord, ServingView, ShardAssignment, ShardCheckpoint,
    ShardStatus, StayRecord, TaskRecord, TaskResult,
};

/// A record and the revision that last changed it.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// The record.
    pub record: Arc<T>,
    /// The revision that wrote it.
    pub revision: Revision,
}

impl<T> std::ops::Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.record
    }
}

macro_rules! metadata {
    ($( $(#[$doc:meta])* $table:ident : $change:ident($key:ty) => $record:ty ),* $(,)?) => {
        /// All records of the metastore, table by table.
        #[derive(Clone, Debug, Default)]
        pub struct Metadata {
            $( $(#[$doc])* pub $table: BTreeMap<$key, Entry<$record>>, )*
            /// Keys of records that do not parse. They exist all the same: while there are any, what has no
            /// record here may have one, and nothing must be removed for want of a record.
            pub unreadable: BTreeSet<String>,
        }

        /// Which record a watch event changed.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "variants are named like the tables")]
        pub enum Change {
            $( $change($key), )*
        }

        impl Metadata {
            /// Applies a stored value; `None` if the key belongs to no table here.
            ///
            /// A value that does not parse is logged and skipped: it comes from a newer version, and
            /// refusing to run at all would make a rolling upgrade an outage.
            pub fn put(&mut self, key: &str, value: &[u8], revision: Revision) -> Option<Change> {
                $( if let Some(rest) = key.strip_prefix(<$record as Record>::PREFIX) {
                    let id = <$key as Key>::decode(rest)?;
                    match <$record as Record>::decode(value) {
                        Ok(record) => {
                            self.$table.insert(id.clone(), Entry { record: Arc::new(record), revision });
                            self.unreadable.remove(key);
                        }
                        Err(source) => {
                            error!(key, %source, "metadata record does not parse");
                            self.unreadable.insert(key.to_owned());
                        }
                    }
                    return Some(Change::$change(id));
                } )*
                None
            }

            /// Applies a removal; `None` if the key belongs to no table here.
            pub fn delete(&mut self, key: &str) -> Option<Change> {
                $( if let Some(rest) = key.strip_prefix(<$record as Record>::PREFIX) {
                    let id = <$key as Key>::decode(rest)?;
                    self.$table.remove(&id);
                    self.unreadable.remove(key);
                    return Some(Change::$change(id));
                } )*
                None
            }
        }
    };
}

metadata! {
    /// Databases.
    databases: Database(DatabaseId) => DatabaseRecord,
    /// Names of collections and aliases.
    names: Name((DatabaseId, String)) => NameRecord,
    /// Collections.
    collections: Collection(CollectionId) => CollectionRecord,
    /// Dropped collections of which something is left.
    dropped: Dropped(CollectionId) => DroppedRecord,
    /// Index definitions.
    indexes: Indexes(CollectionId) => IndexesRecord,
    /// Desired shard leaders.
    assignments: Assignment(ShardId) => ShardAssignment,
    /// Shard leaders that serve.
    shards: Shard(ShardId) => ShardStatus,
    /// Flushed positions.
    checkpoints: Checkpoint(ShardId) => ShardCheckpoint,
    /// Sealed segments.
    segments: Segment((CollectionId, SegmentId)) => SegmentRecord,
    /// Background work.
    tasks: Task(TaskId) => TaskRecord,
    /// Results of background work.
    results: TaskResult(TaskId) => TaskResult,
    /// Load requests.
    loads: Load(CollectionId) => LoadRecord,
    /// Desired placement.
    holds: Hold((NodeId, CollectionId)) => HoldRecord,
    /// Actual placement.
    held: Held((NodeId, CollectionId)) => HeldRecord,
    /// Serving views.
    views: View((ShardId, ReplicaId)) => ServingView,
    /// Replicas of loaded collections.
    replicas: Replicas(CollectionId) => ReplicasRecord,
    /// Resource groups.
    resource_groups: ResourceGroup(String) => ResourceGroupRecord,
    /// Copies of segments on their way.
    moves: Move(CopyKey) => MoveRecord,
    /// Where copies came to by moves.
    stays: Stay(CopyKey) => StayRecord,
    /// Moves that have ended, the latest last.
    moved: Moved(String) => MovedRecord,
    /// Query nodes that are being emptied.
    drains: Drain(NodeId) => DrainRecord,
    /// Where balancing stands.
    balance: Balance(String) => BalanceRecord,
}

impl Metadata {
    /// The database of this name; the empty name means the default one.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Entry<DatabaseRecord>> {
        let name = if name.is_empty() { DEFAULT_DATABASE } else { name };
        self.databases.values().find(|database| database.name == name)
    }

    /// The collection that a name or alias stands for.
    #[must_use]
    pub fn collection(&self, database: DatabaseId, name: &str) -> Option<&Entry<CollectionRecord>> {
        let named = self.names.get(&(database, name.to_owned()))?;
        self.collections.get(&named.collection())
    }

    /// The aliases of a collection, in alphabetical order.
    pub fn aliases(&self, collection: &CollectionRecord) -> impl Iterator<Item = &str> {
        let id = collection.id;
        self.names_in(collection.database)
            .filter(move |(_, record)| **record == NameRecord::Alias(id))
            .map(|(name, _)| name)
    }

    /// Names of a database in alphabetical order.
    pub fn names_in(&self, database: DatabaseId) -> impl Iterator<Item = (&str, &NameRecord)> {
        self.names
            .range((database, String::new())..)
            .take_while(move |((of, _), _)| *of == database)
            .map(|((_, name), entry)| (name.as_str(), &*entry.record))
    }

    /// What nodes should hold of a collection.
    pub fn holds_of(&self, collection: CollectionId) -> impl Iterator<Item = (NodeId, &Entry<HoldRecord>)> {
        by_node(&self.holds, collection)
    }

    /// What nodes do hold of a collection.
    pub fn held_of(&self, collection: CollectionId) -> impl Iterator<Item = (NodeId, &Entry<HeldRecord>)> {
        by_node(&self.held, collection)
    }

    /// The serving views of a collection.
    pub fn views_of(
        &self,
        collection: CollectionId,
    ) -> impl Iterator<Item = (&(ShardId, ReplicaId), &Entry<ServingView>)> {
        let from = (ShardId { collection, ordinal: 0 }, ReplicaId(i64::MIN));
        let through = (ShardId { collection, ordinal: u16::MAX }, ReplicaId(i64::MAX));
        self.views.range(from..=through)
    }

    /// The serving views of a shard, one for each replica that has one.
    pub fn views_on(&self, shard: ShardId) -> impl Iterator<Item = (ReplicaId, &Entry<ServingView>)> {
        let range = (shard, ReplicaId(i64::MIN))..=(shard, ReplicaId(i64::MAX));
        self.views.range(range).map(|((_, replica), view)| (*replica, view))
    }

    /// The segments of a collection, in any state.
    pub fn segments_of(&self, collection: CollectionId) -> impl Iterator<Item = &Entry<SegmentRecord>> {
        self.segments
            .range((collection, SegmentId(i64::MIN))..=(collection, SegmentId(i64::MAX)))
            .map(|(_, entry)| entry)
    }
}

/// The records of a collection. Skips from node to node: there are few nodes and many collections.
fn by_node<R>(
    records: &BTreeMap<(NodeId, CollectionId), R>,
    collection: CollectionId,
) -> impl Iterator<Item = (NodeId, &R)> {
    let node_of = |entry: (&(NodeId, CollectionId), &R)| entry.0.0;
    let first = records.first_key_value().map(node_of);
    let next = move |node: &NodeId| {
        let after = (Excluded((*node, CollectionId(i64::MAX))), Unbounded);
        records.range(after).next().map(node_of)
    };
    let nodes = std::iter::successors(first, next);
    nodes.filter_map(move |node| Some((node, records.get(&(node, collection))?)))
}
