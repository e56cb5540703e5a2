//! Random histories, and the state in which they must end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use redkite_catalog::{
    CollectionRecord, DEFAULT_DATABASE_ID, DEFAULT_RESOURCE_GROUP, DatabaseRecord, DeletesFile, DeltaFile,
    DroppedRecord, HeldRecord, HeldSegment, IndexesRecord, LoadRecord, LoadScope, MoveRecord, NameRecord,
    ReplicaRecord, ReplicasRecord, SegmentIndexFile, SegmentRecord, SegmentState, ServingView,
    ShardCheckpoint, TaskKind, TaskOutcome, TaskResult, ViewSegment,
};
use redkite_runtime::units::Bytes;
use redkite_types::{NodeId, PartitionId, ReplicaId, SegmentId, ShardId, Timestamp};

use super::invariants;
use crate::data::{DataSettings, Merges};
use crate::drive::data;
use crate::environment::IdPool;
use crate::nodes::{LiveNode, NodeSet, RoleNodes};
use crate::plan::fleet::Fleet;
use crate::plan::work::{self, Avoid};
use crate::plan::{garbage, replicas, results, serving};
use crate::step::Step;
use crate::testing::{COLLECTION, Records, collection, hnsw, indexes, segment, shard};

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Flush {
        shard: u16,
        partition: u8,
        rows: u64,
        deletes: bool,
    },
    DataSteps {
        count: usize,
    },
    QuerySteps {
        count: usize,
    },
    GiveOut,
    FinishTask {
        which: usize,
        fails: bool,
    },
    Converge {
        node: i64,
        part: bool,
    },
    Load {
        partition: Option<u8>,
    },
    Release {
        partition: Option<u8>,
    },
    Replicas {
        count: u8,
    },
    DropPartition {
        partition: u8,
    },
    Truncate,
    CreateIndex,
    DropIndex,
    /// Bits of the nodes that live, and of those that are stopping.
    NodesChange {
        alive: u8,
        stopping: u8,
    },
    Collect,
    DropCollection,
}

fn event() -> impl Strategy<Value = Event> {
    let rows = prop_oneof![1_u64..200, 1024_u64..5000];
    prop_oneof![
        6 => (0..2_u16, 0..3_u8, rows, any::<bool>())
            .prop_map(|(shard, partition, rows, deletes)| Event::Flush { shard, partition, rows, deletes }),
        6 => (1..4_usize).prop_map(|count| Event::DataSteps { count }),
        6 => (1..4_usize).prop_map(|count| Event::QuerySteps { count }),
        4 => Just(Event::GiveOut),
        6 => (0..8_usize, 0..10_u8)
            .prop_map(|(which, dice)| Event::FinishTask { which, fails: dice == 0 }),
        5 => (1..3_i64, any::<bool>()).prop_map(|(node, part)| Event::Converge { node, part }),
        2 => prop::option::of(0..3_u8).prop_map(|partition| Event::Load { partition }),
        1 => prop::option::of(0..3_u8).prop_map(|partition| Event::Release { partition }),
        1 => (1..3_u8).prop_map(|count| Event::Replicas { count }),
        1 => (1..3_u8).prop_map(|partition| Event::DropPartition { partition }),
        1 => Just(Event::Truncate),
        1 => Just(Event::CreateIndex),
        1 => Just(Event::DropIndex),
        1 => (0..8_u8, 0..8_u8).prop_map(|(alive, stopping)| Event::NodesChange { alive, stopping }),
        2 => Just(Event::Collect),
    ]
}

/// The world around the planners.
pub(super) struct World {
    pub(super) records: Records,
    pub(super) nodes: NodeSet,
    settings: DataSettings,
    next_id: i64,
    clock: u64,
    /// Flushed rows (by the segment that brought them) which their leader serves while no view does.
    pub(super) with_leader: BTreeSet<SegmentId>,
    /// The rows of each segment, as the segments that brought them.
    pub(super) rows: BTreeMap<SegmentId, BTreeSet<SegmentId>>,
    /// Every delta file ever recorded, by shard.
    pub(super) deltas: Vec<(ShardId, Timestamp)>,
}

impl World {
    fn new() -> Self {
        let mut records = Records::default();
        records.put(&COLLECTION, &collection(2, &[0, 1, 2]));
        let database = DatabaseRecord {
            id: DEFAULT_DATABASE_ID,
            name: "default".to_owned(),
            properties: Default::default(),
            created_at: Timestamp::ZERO,
        };
        records.put(&DEFAULT_DATABASE_ID, &database);
        let name = (DEFAULT_DATABASE_ID, "c".to_owned());
        records.put(&name, &NameRecord::Collection(COLLECTION));
        records.put(&COLLECTION, &indexes(hnsw()));
        let mut settings = DataSettings::default();
        settings.fold.max_files = 2;
        settings.compaction.max_segment_bytes = Bytes(20_000);
        Self {
            records,
            nodes: nodes(1, 0),
            settings,
            next_id: 1000,
            clock: 10,
            with_leader: BTreeSet::new(),
            rows: BTreeMap::new(),
            deltas: Vec::new(),
        }
    }

    fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp(self.clock)
    }

    pub(super) fn happen(&mut self, event: &Event) {
        match event {
            Event::Flush { shard, partition, rows, deletes } => {
                self.flush(*shard, *partition, *rows, *deletes)
            }
            Event::DataSteps { count } => {
                let steps = self.data_steps();
                self.records.apply_all(&steps[..steps.len().min(*count)]);
            }
            Event::QuerySteps { count } => {
                let steps = self.query_steps();
                self.records.apply_all(&steps[..steps.len().min(*count)]);
            }
            Event::GiveOut => drop(self.give_out()),
            Event::FinishTask { which, fails } => self.finish(*which, *fails),
            Event::Converge { node, part } => self.converge(NodeId(*node), *part),
            Event::Load { partition } => self.load(*partition),
            Event::Release { partition } => self.release(*partition),
            Event::DropPartition { partition } => self.drop_partition(*partition),
            Event::Truncate => self.truncate(),
            Event::CreateIndex if self.exists() => self.records.put(&COLLECTION, &indexes(hnsw())),
            Event::CreateIndex => {}
            Event::DropIndex => self.records.delete::<IndexesRecord>(&COLLECTION),
            Event::NodesChange { alive, stopping } => self.nodes = nodes(*alive, *stopping),
            Event::Replicas { count } => self.change_replicas(*count),
            Event::Collect => drop(self.collect()),
            Event::DropCollection => self.drop_collection(),
        }
        self.hand_over();
    }

    fn exists(&self) -> bool {
        self.records.metadata.collections.contains_key(&COLLECTION)
    }

    pub(super) fn load_record(&self) -> Option<LoadRecord> {
        self.records.metadata.loads.get(&COLLECTION).map(|load| (*load.record).clone())
    }

    /// The partition in this place, if there are so many.
    fn partition(&self, place: u8) -> Option<PartitionId> {
        let record = self.records.metadata.collections.get(&COLLECTION)?;
        record.partitions.get(usize::from(place)).map(|partition| partition.id)
    }

    /// What the leader does: a segment with its rows, perhaps a delta file, and the moved checkpoint.
    fn flush(&mut self, ordinal: u16, partition: u8, rows: u64, deletes: bool) {
        let partition = PartitionId(i64::from(partition));
        let metadata = &self.records.metadata;
        let known =
            metadata.collections.get(&COLLECTION).and_then(|record| record.partition_by_id(partition));
        if known.is_none() {
            return;
        }
        let (id, from, through) = (self.id(), self.tick(), self.tick());
        let shard = shard(ordinal);
        let record = SegmentRecord {
            min_timestamp: from,
            max_timestamp: through,
            deletes_through: through,
            ..segment(id, shard, partition.0, rows, rows)
        };
        let checkpoint = self.records.metadata.checkpoints.get(&shard);
        let mut checkpoint = checkpoint.map(|entry| (*entry.record).clone()).unwrap_or_default();
        checkpoint.timestamp = through;
        if deletes {
            let path = format!("deltas/{shard}/{}-{}.rkd", from.0, through.0);
            checkpoint.deltas.push(DeltaFile { path, after: from, through, rows: 10, bytes: 100 });
            self.deltas.push((shard, through));
        }
        if self.load_record().is_some_and(|load| load.scope.contains(partition)) {
            self.with_leader.insert(record.id);
        }
        self.rows.insert(record.id, BTreeSet::from([record.id]));
        self.records.put(&shard, &checkpoint);
        self.records.put(&(COLLECTION, record.id), &record);
    }

    /// The leader gives up what the views of all replicas with nodes serve, or nobody wants.
    fn hand_over(&mut self) {
        let load = self.load_record();
        let replicas = self.replicas().replicas;
        let views = invariants::rows_in_views(self);
        let serving: Vec<_> = views
            .iter()
            .filter(|(id, _)| replicas.get(id).is_some_and(|replica| !replica.nodes.is_empty()))
            .map(|(_, rows)| rows)
            .collect();
        let metadata = &self.records.metadata;
        self.with_leader.retain(|id| {
            let segment = metadata.segments.get(&(COLLECTION, *id));
            let wanted = segment.is_some_and(|segment| {
                load.as_ref().is_some_and(|load| load.scope.contains(segment.partition))
                    && !matches!(segment.state, SegmentState::Dropped { .. })
            });
            wanted && (serving.is_empty() || !serving.iter().all(|rows| rows.contains(id)))
        });
    }

    fn data_steps(&mut self) -> Vec<Step> {
        let now = self.tick();
        let steps = data::next(&self.records.metadata, COLLECTION, &self.nodes, now);
        if steps.is_empty() { results::orphans(&self.records.metadata) } else { steps }
    }

    fn query_steps(&self) -> Vec<Step> {
        let fleet = Fleet::of(&self.records.metadata, &self.nodes.query);
        serving::plan(&self.records.metadata, COLLECTION, &fleet)
    }

    /// Gives out tasks; whether there were any.
    fn give_out(&mut self) -> bool {
        let now = self.tick();
        let metadata = &self.records.metadata;
        let avoid = Avoid::default();
        let wanted = work::wanted(metadata, COLLECTION, &Merges::default(), &avoid, &self.settings, now);
        let backlog = BTreeMap::from([(COLLECTION, wanted)]);
        let mut ids = IdPool::new(self.next_id + 1, 16);
        let chosen = work::schedule(metadata, &backlog, &self.nodes.data, 2, &mut ids, now);
        self.next_id += 16;
        for (_, step) in &chosen {
            assert!(self.records.apply(&step.txn), "a new task conflicts with nothing");
        }
        !chosen.is_empty()
    }

    /// What a data node does.
    fn finish(&mut self, which: usize, fails: bool) {
        let metadata = &self.records.metadata;
        let open = metadata.tasks.values().filter(|task| !metadata.results.contains_key(&task.id));
        let open: Vec<_> = open.map(|task| task.record.clone()).collect();
        let Some(task) = open.get(which % open.len().max(1)).cloned() else { return };
        let outcome = if fails {
            TaskOutcome::Failed { reason: "bad luck".to_owned() }
        } else {
            self.outcome(&task.kind)
        };
        self.records.put(&task.id, &TaskResult { id: task.id, node: task.node, outcome });
    }

    fn outcome(&mut self, kind: &TaskKind) -> TaskOutcome {
        match kind {
            TaskKind::BuildIndex { path, .. } => {
                TaskOutcome::IndexBuilt(SegmentIndexFile { path: path.clone(), bytes: 1 })
            }
            TaskKind::FoldDeletes { segments, deltas, .. } => {
                let through = deltas.iter().map(|delta| delta.through).max().unwrap();
                let file = |id: &SegmentId| {
                    let path = format!("segments/{COLLECTION}/{id}/deletes-{through}.rkd");
                    (*id, Some(DeletesFile { path, rows: 1, bytes: 1 }))
                };
                TaskOutcome::DeletesFolded { files: segments.iter().map(file).collect(), through }
            }
            TaskKind::Compact { sources, target, shard, partition, .. } => {
                self.compact(*shard, *partition, sources, *target)
            }
        }
    }

    fn compact(
        &mut self,
        shard: ShardId,
        partition: PartitionId,
        sources: &[SegmentId],
        target: SegmentId,
    ) -> TaskOutcome {
        let metadata = &self.records.metadata;
        let records: Option<Vec<_>> =
            sources.iter().map(|id| metadata.segments.get(&(COLLECTION, *id))).collect();
        let Some(records) = records else {
            return TaskOutcome::Failed { reason: "source is gone".to_owned() };
        };
        let sum: u64 = records.iter().map(|record| record.rows).sum();
        let deltas = metadata.checkpoints.get(&shard).map(|entry| entry.deltas.clone()).unwrap_or_default();
        let folded = records.iter().map(|record| record.deletes_through).min().unwrap();
        let rows = sources.iter().flat_map(|id| self.rows[id].clone()).collect();
        let record = SegmentRecord {
            min_timestamp: records.iter().map(|record| record.min_timestamp).min().unwrap(),
            deletes_through: deltas.iter().map(|delta| delta.through).fold(folded, Timestamp::max),
            state: SegmentState::Building,
            sources: sources.to_vec(),
            ..segment(target.0, shard, partition.0, sum, sum)
        };
        self.rows.insert(target, rows);
        TaskOutcome::Compacted(Some(Box::new(record)))
    }

    /// What a query node does, wholly or for one segment only.
    fn converge(&mut self, node: NodeId, part: bool) {
        if !self.nodes.query.is_alive(node) {
            self.records.delete::<HeldRecord>(&(node, COLLECTION));
            return;
        }
        let metadata = &self.records.metadata;
        let wanted = metadata.holds.get(&(node, COLLECTION)).map(|hold| hold.segments.clone());
        let wanted = wanted.unwrap_or_default();
        let held = metadata.held.get(&(node, COLLECTION)).map(|held| (*held.record).clone());
        let mut held = held.unwrap_or_default();
        if part {
            let missing = wanted.iter().find(|id| !held.segments.contains_key(id));
            held.segments.extend(missing.map(|id| (*id, HeldSegment::default())));
        } else {
            held.segments = wanted.iter().map(|id| (*id, HeldSegment::default())).collect();
        }
        self.records.put(&(node, COLLECTION), &held);
    }

    fn load(&mut self, partition: Option<u8>) {
        let asked = match partition.map(|place| self.partition(place)) {
            _ if !self.exists() => return,
            None => LoadScope::Collection,
            Some(Some(id)) => LoadScope::Partitions(BTreeSet::from([id])),
            Some(None) => return,
        };
        let mut record = self.load_record().unwrap_or(LoadRecord {
            scope: asked.clone(),
            replicas: 1,
            requested_at: Timestamp::ZERO,
            loaded: BTreeSet::new(),
        });
        record.scope = match (record.scope, asked) {
            (LoadScope::Partitions(left), LoadScope::Partitions(right)) => {
                LoadScope::Partitions(&left | &right)
            }
            _ => LoadScope::Collection,
        };
        self.records.put(&COLLECTION, &record);
    }

    fn release(&mut self, partition: Option<u8>) {
        let Some(mut record) = self.load_record() else { return };
        let Some(collection) = self.records.metadata.collections.get(&COLLECTION) else { return };
        let all: BTreeSet<_> = collection.partitions.iter().map(|partition| partition.id).collect();
        let mut left = match &record.scope {
            LoadScope::Collection => all,
            LoadScope::Partitions(partitions) => partitions.clone(),
        };
        match partition {
            Some(place) => left.retain(|id| Some(*id) != self.partition(place)),
            None => left.clear(),
        }
        if left.is_empty() {
            self.records.delete::<LoadRecord>(&COLLECTION);
            self.records.delete::<ReplicasRecord>(&COLLECTION);
            let views: Vec<_> = self.records.metadata.views.keys().copied().collect();
            views.iter().for_each(|key| self.records.delete::<ServingView>(key));
        } else {
            record.loaded = &record.loaded & &left;
            record.scope = LoadScope::Partitions(left);
            self.records.put(&COLLECTION, &record);
        }
    }

    /// What a load with another number of replicas does.
    fn change_replicas(&mut self, count: u8) {
        let Some(load) = self.load_record() else { return };
        let mut record = self.replicas();
        let order = replicas::by_service(&self.records.metadata, COLLECTION, &record);
        for removed in order.iter().skip(usize::from(count)) {
            record.replicas.remove(removed);
        }
        while record.replicas.len() < usize::from(count) {
            let replica =
                ReplicaRecord { resource_group: DEFAULT_RESOURCE_GROUP.to_owned(), ..Default::default() };
            let id = ReplicaId(self.id());
            record.replicas.insert(id, replica);
        }
        self.records.put(&COLLECTION, &LoadRecord { replicas: u32::from(count), ..load });
        self.records.put(&COLLECTION, &record);
    }

    pub(super) fn replicas(&self) -> ReplicasRecord {
        let record = self.records.metadata.replicas.get(&COLLECTION);
        record.map(|record| (*record.record).clone()).unwrap_or_default()
    }

    fn drop_partition(&mut self, partition: u8) {
        let Some(id) = self.partition(partition) else { return };
        let mut record = (*self.records.metadata.collections[&COLLECTION].record).clone();
        if !self.load_record().is_some_and(|load| load.scope.contains(id)) {
            record.partitions.retain(|partition| partition.id != id);
            self.records.put(&COLLECTION, &record);
        }
    }

    fn truncate(&mut self) {
        use crate::command::Draft;
        use crate::root::{RootSettings, ddl};

        let now = self.tick();
        let mut ids = IdPool::new(self.next_id + 1, 16);
        self.next_id += 16;
        let mut draft = Draft { metadata: &self.records.metadata, ids: &mut ids, now };
        let command =
            redkite_service::Ddl::TruncateCollection { database: String::new(), collection: "c".to_owned() };
        if let Ok(step) = ddl::plan(&mut draft, &RootSettings::default(), &command) {
            assert!(self.records.apply(&step.txn));
        }
    }

    fn drop_collection(&mut self) {
        let dropped = DroppedRecord { id: COLLECTION, shards: 2, dropped_at: self.tick() };
        self.records.delete::<CollectionRecord>(&COLLECTION);
        self.records.delete::<IndexesRecord>(&COLLECTION);
        self.records.delete::<LoadRecord>(&COLLECTION);
        self.records.put(&COLLECTION, &dropped);
    }

    /// Forgets segments that are garbage; whether there were any.
    fn collect(&mut self) -> bool {
        let metadata = &self.records.metadata;
        let of = |collection: &redkite_types::CollectionId| {
            let due = garbage::segments(metadata, *collection, Timestamp::MAX).into_iter();
            due.map(|segment| (*collection, segment)).collect::<Vec<_>>()
        };
        let due: Vec<_> = metadata.collections.keys().flat_map(of).collect();
        for key in &due {
            self.records.delete::<SegmentRecord>(key);
        }
        for collection in garbage::collections(&self.records.metadata) {
            let segments = self.records.metadata.segments_of(collection).map(|segment| segment.id);
            for segment in segments.collect::<Vec<_>>() {
                self.records.delete::<SegmentRecord>(&(collection, segment));
            }
            self.records.delete::<DroppedRecord>(&collection);
        }
        !due.is_empty()
    }

    /// What the balancer does with segments that a replica has on nodes which are not its own: they begin to move.
    fn move_strays(&mut self) -> bool {
        let (replicas, metadata) = (self.replicas(), &self.records.metadata);
        let mut begun = Vec::new();
        for ((_, id), view) in &metadata.views {
            let Some(replica) = replicas.replicas.get(id) else { continue };
            let Some(to) = replica.nodes.first().copied() else { continue };
            let strays = view.segments.iter().filter(|entry| {
                self.nodes.query.is_alive(entry.node) && !replica.nodes.contains(&entry.node)
            });
            for ViewSegment { segment, node: from, .. } in strays {
                let key = (COLLECTION, (*id, *segment));
                let (from, reason) = (*from, "outside_replica".to_owned());
                let one = MoveRecord { from, to, bytes: 1, reason, begun: Timestamp::ZERO };
                begun.extend((!metadata.moves.contains_key(&key)).then_some((key, one)));
            }
        }
        begun.iter().for_each(|(key, one)| self.records.put(key, one));
        !begun.is_empty()
    }

    /// Everybody does what is to be done until nothing is left.
    pub(super) fn come_to_rest(&mut self) {
        // Somebody must be there to do it.
        let two = self.nodes.query.alive().count() > 1;
        self.nodes = nodes(if two { 3 } else { 1 }, 0);
        for _ in 0..2000 {
            let (data, query) = (self.data_steps(), self.query_steps());
            let mut busy = !data.is_empty() || !query.is_empty();
            // Both planned on the same records: what conflicts is planned again.
            self.records.apply_all(&data);
            self.records.apply_all(&query);
            self.hand_over();
            invariants::check(self);
            busy |= self.give_out();
            busy |= self.records.metadata.tasks.len() > self.records.metadata.results.len();
            self.finish(0, false);
            busy |= self.move_strays();
            for node in [1, 2, 3] {
                self.converge(NodeId(node), false);
            }
            busy |= self.collect();
            if !busy && self.data_steps().is_empty() && self.query_steps().is_empty() {
                return;
            }
        }
        panic!("the plans do not come to an end: {:#?}", self.records.metadata);
    }
}

fn nodes(alive: u8, stopping: u8) -> NodeSet {
    let has = |bits: u8, node: i64| bits & (1 << (node - 1)) != 0;
    let live = |node| (NodeId(node), LiveNode { stopping: has(stopping, node), ..LiveNode::default() });
    let nodes: RoleNodes = (1..=3).filter(|node| has(alive, *node)).map(live).collect();
    NodeSet { streaming: nodes.clone(), query: nodes.clone(), data: nodes }
}

proptest! {
    #[test]
    fn any_history_comes_to_rest_in_the_right_state(events in prop::collection::vec(event(), 0..120)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            invariants::check(&world);
        }
        world.come_to_rest();
        invariants::check_rest(&world);
    }

    #[test]
    fn a_dropped_collection_leaves_nothing(events in prop::collection::vec(event(), 0..60), at in 0..60_usize) {
        let mut world = World::new();
        for (index, event) in events.iter().enumerate() {
            if index == at {
                world.happen(&Event::DropCollection);
            }
            world.happen(event);
        }
        if events.len() <= at {
            world.happen(&Event::DropCollection);
        }
        world.come_to_rest();
        let metadata = &world.records.metadata;
        prop_assert!(metadata.segments.is_empty() && metadata.tasks.is_empty() && metadata.results.is_empty());
        prop_assert!(metadata.views.is_empty() && metadata.holds.is_empty() && metadata.loads.is_empty());
        prop_assert!(metadata.replicas.is_empty());
        prop_assert!(metadata.assignments.is_empty() && metadata.checkpoints.is_empty());
        prop_assert!(metadata.dropped.is_empty(), "{:?}", metadata.dropped);
    }
}

/// For the checks of the final state.
pub(super) fn checkpoint(world: &World, ordinal: u16) -> ShardCheckpoint {
    let entry = world.records.metadata.checkpoints.get(&shard(ordinal));
    entry.map(|entry| (*entry.record).clone()).unwrap_or_default()
}
