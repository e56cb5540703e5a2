//! A cluster made of records, for the tests of what is shown of it.

use std::collections::BTreeMap;

use redkite_balance::Bytes;
use redkite_catalog::{
    CollectionRecord, CopyKey, DEFAULT_DATABASE_ID, DrainRecord, HeldRecord, HeldSegment, Metadata,
    MoveRecord, MovedRecord, Properties, Record, ShardAssignment, ShardStatus,
};
use redkite_cluster::election::{ElectionRecord, Reason};
use redkite_cluster::kv::KeyValue;
use redkite_cluster::session::{SessionInfo, active_key};
use redkite_cluster::sessions::Sessions;
use redkite_service::{BalanceStatus, NodeStatus};
use redkite_types::{
    CollectionId, CollectionSchema, ConsistencyLevel, Epoch, NodeId, ReplicaId, Revision, SegmentId, ShardId,
    Timestamp,
};

use super::{Answers, Picture, Seen};
use crate::surroundings::{STANDALONE, testing};

/// When it is seen.
pub(super) const NOW: u64 = 1_800_000_000_000;

fn one_move(bytes: u64, begun: u64) -> MoveRecord {
    let begun = Timestamp::from_physical(begun);
    MoveRecord { from: NodeId(1), to: NodeId(2), bytes, reason: "node_joined".to_owned(), begun }
}

/// What there is to see.
#[derive(Default)]
pub(super) struct Scene {
    records: Metadata,
    sessions: BTreeMap<String, SessionInfo>,
    status: Option<BalanceStatus>,
    elections: BTreeMap<&'static str, Vec<ElectionRecord>>,
}

impl Scene {
    /// Query nodes.
    pub(super) fn with_nodes(nodes: &[i64]) -> Self {
        let mut scene = Self::default();
        for node in nodes {
            scene.candidate("querynode", *node);
        }
        scene
    }

    pub(super) fn standalone() -> Self {
        let mut scene = Self::default();
        scene.candidate(STANDALONE, 1);
        scene
    }

    /// What is shown of it.
    pub(super) fn shown(&self) -> serde_json::Value {
        let entry = |(key, info): (&String, &SessionInfo)| KeyValue {
            key: key.clone(),
            value: info.to_value(),
            create_revision: Revision(1),
            mod_revision: Revision(1),
            version: 1,
            lease: None,
        };
        let sessions: Sessions = self.sessions.iter().map(entry).collect();
        let answers = Answers { at: Some(NOW), problem: None };
        let seen = Seen {
            now: NOW,
            node: NodeId(1),
            records: &self.records,
            sessions: &sessions,
            balance: self.status.as_ref(),
            elections: &self.elections,
            coordinator: answers.clone(),
            metastore: answers,
        };
        serde_json::to_value(Picture::of(&seen)).unwrap()
    }

    pub(super) fn streaming(&mut self, node: i64) -> &mut Self {
        self.candidate("streamingnode", node)
    }

    /// A process of a role, which may be a coordinator's.
    pub(super) fn candidate(&mut self, role: &str, node: i64) -> &mut Self {
        let info = testing::session(role, node);
        self.sessions.insert(info.key(), info);
        self
    }

    pub(super) fn active(&mut self, role: &str, node: i64) -> &mut Self {
        self.sessions.insert(active_key(role), testing::session(role, node));
        self
    }

    pub(super) fn elected(&mut self, role: &'static str, epoch: u64, node: i64) -> &mut Self {
        let record =
            ElectionRecord { epoch, server_id: node, at: NOW, reason: Reason::Died, ..Default::default() };
        self.elections.entry(role).or_default().push(record);
        self
    }

    pub(super) fn collection(&mut self, id: i64, name: &str) -> &mut Self {
        self.collection_of(id, name, 1)
    }

    pub(super) fn collection_of(&mut self, id: i64, name: &str, shards: u16) -> &mut Self {
        let schema = CollectionSchema {
            description: String::new(),
            fields: Vec::new(),
            enable_dynamic_field: false,
            version: 0,
        };
        let record = CollectionRecord {
            id: CollectionId(id),
            database: DEFAULT_DATABASE_ID,
            name: name.to_owned(),
            schema,
            shards,
            partitions: Vec::new(),
            consistency: ConsistencyLevel::Strong,
            properties: Properties::new(),
            created_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
        };
        self.record(&CollectionId(id), &record)
    }

    /// Segments with their bytes on the heap and mapped.
    pub(super) fn held(&mut self, node: i64, collection: i64, segments: &[(i64, u64, u64)]) -> &mut Self {
        let held = |(id, resident_bytes, mapped_bytes): &(i64, u64, u64)| {
            (SegmentId(*id), HeldSegment { resident_bytes: *resident_bytes, mapped_bytes: *mapped_bytes })
        };
        let record = HeldRecord { segments: segments.iter().map(held).collect(), ..HeldRecord::default() };
        self.record(&(NodeId(node), CollectionId(collection)), &record)
    }

    pub(super) fn led(&mut self, collection: i64, ordinal: u16, node: i64, serving: bool) -> &mut Self {
        let shard = ShardId { collection: CollectionId(collection), ordinal };
        let node = NodeId(node);
        self.record(&shard, &ShardAssignment::new(node, Epoch(2)));
        self.record(&shard, &ShardStatus { node, epoch: Epoch(if serving { 2 } else { 1 }) })
    }

    /// A move from node 1 to node 2.
    pub(super) fn moves(&mut self, collection: i64, segment: i64, bytes: u64, begun: u64) -> &mut Self {
        let key: CopyKey = (CollectionId(collection), (ReplicaId(1), SegmentId(segment)));
        self.record(&key, &one_move(bytes, begun))
    }

    /// One that has ended: begun and ended, and whether it was refused and why if it was not done.
    pub(super) fn moved(
        &mut self,
        collection: i64,
        segment: i64,
        bytes: u64,
        (begun, ended): (u64, u64),
        given_up: Option<(bool, &str)>,
    ) -> &mut Self {
        let record = MovedRecord {
            collection: CollectionId(collection),
            replica: ReplicaId(1),
            segment: SegmentId(segment),
            moved: one_move(bytes, begun),
            ended: Timestamp::from_physical(ended),
            refused: given_up.is_some_and(|(refused, _)| refused),
            dropped: given_up.map(|(_, why)| why.to_owned()),
        };
        self.record(&record.id(), &record)
    }

    /// What the query coordinator says of a node.
    pub(super) fn status(&mut self, node: i64, memory: u64, other: u64) -> &mut Self {
        let status = self.status.get_or_insert_with(|| testing::status(Vec::new()));
        let told = NodeStatus { memory: Bytes(memory), other: Bytes(other), ..testing::node_status(node) };
        status.nodes.push(told);
        self
    }

    pub(super) fn drained(&mut self, node: i64, bytes: u64, left: u64) -> &mut Self {
        let drain = DrainRecord { begun: Timestamp::from_physical(NOW), bytes, deadline: None };
        let statuses = self.status.iter_mut().flat_map(|status| &mut status.nodes);
        for status in statuses.filter(|status| status.node == NodeId(node)) {
            (status.drain, status.bytes) = (Some(drain.clone()), Bytes(left));
        }
        self.record(&NodeId(node), &drain)
    }

    fn record<R: Record>(&mut self, key: &R::Key, record: &R) -> &mut Self {
        self.records.put(&R::key(key), &record.encode(), Revision(1));
        self
    }
}
