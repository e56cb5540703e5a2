//! What is sent arrives, and what is answered comes back.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use redkite_catalog::{LoadScope, ResourceGroupConfig};
use redkite_rpc::{RpcSettings, Services, role};
use redkite_runtime::units::Bytes;
use redkite_service::{
    BalanceCommand, CompactionProgress, Ddl, Error, NewLoad, PlacementCommand, RequestId, SegmentRetrieve,
    SegmentSearch, SegmentsDirectory, Shard, ShardDirectory, TransferRequest, WriteAck, WriteOp,
    WriteRequest,
};
use redkite_types::{
    Batch, Column, ColumnData, FieldId, IndexId, NodeId, PartitionId, PrimaryKeys, SegmentId, TaskId,
    Timestamp,
};

use crate::fake::{Fake, TIMESTAMP, ack, flushed, read};
use crate::samples::{self, COLLECTION, SHARD};
use crate::world::{Process, World};

async fn leader(world: &World, fake: &Arc<Fake>) -> (Arc<dyn Shard>, Process) {
    let process = world.process(role::STREAMING_NODE, 3, fake.services(3)).await;
    world.assign(3).await;
    (world.peers.leader(SHARD).await.unwrap(), process)
}

fn assert_heard(fake: &Fake, asked: impl Debug) {
    assert_eq!(fake.heard(), [format!("{asked:?}")]);
}

fn write(op: WriteOp) -> WriteRequest {
    WriteRequest { shard: SHARD, id: samples::write_id(), schema_version: 2, op }
}

#[tokio::test]
async fn shards() {
    let (world, fake) = (World::start().await, Arc::new(Fake::default()));
    let (leader, _process) = leader(&world, &fake).await;
    for op in [
        WriteOp::Insert(vec![(PartitionId(1), samples::batch()), (PartitionId(2), Batch::default())]),
        WriteOp::Upsert(vec![(PartitionId(1), samples::batch())]),
        WriteOp::Delete { partition: Some(PartitionId(1)), keys: PrimaryKeys::Int64(vec![1, 2]) },
    ] {
        let ack = leader.write(write(op.clone())).await.unwrap();
        assert_eq!(ack, WriteAck { timestamp: TIMESTAMP });
        assert_heard(&fake, write(op));
    }
    let (search, retrieve) = (Arc::new(samples::search()), Arc::new(samples::retrieve()));
    assert_eq!(leader.search(SHARD, search.clone()).await.unwrap(), read(samples::found()));
    assert_heard(&fake, (SHARD, search));
    assert_eq!(leader.retrieve(SHARD, retrieve.clone()).await.unwrap(), read(samples::retrieved()));
    assert_heard(&fake, (SHARD, &retrieve));
    assert_eq!(leader.count(SHARD, retrieve.clone()).await.unwrap(), read(u64::MAX));
    assert_heard(&fake, (SHARD, &retrieve));
    assert_eq!(leader.flush(SHARD).await.unwrap(), flushed());
    assert_heard(&fake, SHARD);
    assert_eq!(leader.deletes_after(SHARD, Timestamp(6)).await.unwrap(), samples::deletes());
    assert_heard(&fake, (SHARD, Timestamp(6)));
    let there = ShardDirectory::on_node(&world.peers, NodeId(3)).await.unwrap();
    assert_eq!(there.usage().await.unwrap(), samples::leader_usage());
    assert_heard(&fake, ());
}

#[tokio::test]
async fn segments() {
    let (world, fake) = (World::start().await, Arc::new(Fake::default()));
    let _process = world.process(role::QUERY_NODE, 5, fake.services(5)).await;
    let node = world.peers.node(NodeId(5)).await.unwrap();
    let (segments, read_timestamp) = (vec![SegmentId(1), SegmentId(2)], Timestamp(8));
    let request = samples::search().into();
    let search = SegmentSearch { shard: SHARD, segments: segments.clone(), read_timestamp, request };
    assert_eq!(node.search(search.clone()).await.unwrap(), samples::found());
    assert_heard(&fake, search);
    let request = samples::retrieve().into();
    let retrieve = SegmentRetrieve { shard: SHARD, segments, read_timestamp, request };
    assert_eq!(node.retrieve(retrieve.clone()).await.unwrap(), samples::retrieved());
    assert_heard(&fake, &retrieve);
    assert_eq!(node.count(retrieve.clone()).await.unwrap(), 12);
    assert_heard(&fake, &retrieve);
    node.apply_deletes(SHARD, samples::deletes()).await.unwrap();
    assert_heard(&fake, (SHARD, samples::deletes()));
    assert_eq!(node.usage().await.unwrap(), samples::usage());
    assert_heard(&fake, ());
}

#[tokio::test]
async fn coordinators() {
    let (world, fake) = (World::start().await, Arc::new(Fake::default()));
    let process = Process::start(fake.services(9)).await;
    for role in [role::ROOT_COORD, role::DATA_COORD, role::QUERY_COORD] {
        let lease = world.register(role, 9, &process.address).await;
        world.activate(role, 9, &process.address, lease).await;
    }
    let id = RequestId(u128::MAX - 5);
    let command = Ddl::DropCollection { database: "d".to_owned(), collection: "c".to_owned() };
    assert_eq!(world.peers.root().execute(id, command.clone()).await.unwrap(), ack());
    assert_heard(&fake, (id, command));

    let data = world.peers.data();
    let set = BTreeMap::from([("mmap.enabled".to_owned(), "true".to_owned())]);
    let (name, delete) = ("i".to_owned(), vec!["x".to_owned()]);
    data.alter_index(id, COLLECTION, name.clone(), set.clone(), delete.clone()).await.unwrap();
    assert_heard(&fake, (id, COLLECTION, name, set, delete));
    assert_eq!(data.drop_index(id, COLLECTION, IndexId(4)).await.unwrap(), ack());
    assert_heard(&fake, (id, COLLECTION, IndexId(4)));
    assert_eq!(data.compact(id, COLLECTION).await.unwrap(), (TaskId(8), 2));
    assert_heard(&fake, (id, COLLECTION));
    assert_eq!(data.compaction(TaskId(8)).await.unwrap(), CompactionProgress::default());
    assert_heard(&fake, TaskId(8));

    let query = world.peers.query();
    let scope = LoadScope::Partitions([PartitionId(1)].into());
    let load =
        NewLoad { replicas: 2, resource_groups: vec!["g".to_owned()], ..NewLoad::new(COLLECTION, scope) };
    assert_eq!(query.load(id, load.clone()).await.unwrap(), ack());
    assert_heard(&fake, (id, load));
    let labels = vec![("disk".to_owned(), "fast".to_owned())];
    let config = ResourceGroupConfig { requests: 1, limits: 2, node_labels: labels, ..Default::default() };
    let configs = BTreeMap::from([("g".to_owned(), config)]);
    let command = PlacementCommand::UpdateResourceGroups { configs };
    assert_eq!(query.place(id, command.clone()).await.unwrap(), ack());
    assert_heard(&fake, (id, command));
    let (segments, to) = ([SegmentId(1)].into(), [NodeId(4)].into());
    let wish = TransferRequest { collection: Some(COLLECTION), segments, from: NodeId(3), to };
    let command = BalanceCommand::Transfer(wish);
    assert_eq!(query.balance(command.clone()).await.unwrap(), samples::balanced());
    assert_heard(&fake, command);
    assert_eq!(query.release(id, COLLECTION, vec![PartitionId(1)]).await.unwrap(), ack());
    assert_heard(&fake, (id, COLLECTION, vec![PartitionId(1)]));
}

#[tokio::test]
async fn every_error_comes_back_as_it_is() {
    let (world, fake) = (World::start().await, Arc::new(Fake::default()));
    let (leader, _process) = leader(&world, &fake).await;
    for error in samples::errors() {
        *fake.error.lock().unwrap() = Some(error.clone());
        assert_eq!(leader.flush(SHARD).await, Err(error));
    }
}

#[tokio::test]
async fn services_that_are_not_offered_are_not_ready() {
    let (world, fake) = (World::start().await, Arc::new(Fake::default()));
    let services = Services { shard: None, ..fake.services(3) };
    let _process = world.process(role::STREAMING_NODE, 3, services).await;
    world.assign(3).await;
    let error = world.peers.leader(SHARD).await.unwrap().flush(SHARD).await.unwrap_err();
    assert!(matches!(&error, Error::NotReady { role, node: 3, .. } if role == "streamingnode"), "{error:?}");
}

fn insert(rows: usize, dim: usize) -> WriteRequest {
    let values = (0..rows * dim).map(|n| n as f32).collect();
    let column = Column::new(FieldId(100), ColumnData::FloatVector { dim, values });
    write(WriteOp::Insert(vec![(PartitionId(1), Batch::new(vec![column]))]))
}

#[tokio::test]
async fn large_messages_pass_and_too_large_ones_are_refused() {
    let (world, fake) = (World::start().await, Arc::new(Fake::default()));
    let (leader, _process) = leader(&world, &fake).await;
    leader.write(insert(10_000, 384)).await.unwrap();
    fake.heard();

    let settings = RpcSettings { max_message: Bytes(700), ..RpcSettings::default() };
    for (caller, callee) in [(settings.clone(), RpcSettings::default()), (RpcSettings::default(), settings)] {
        let world = World::with(caller).await;
        let process = Process::at("127.0.0.1:0", fake.services(3), callee).await;
        world.register(role::STREAMING_NODE, 3, &process.address).await;
        world.assign(3).await;
        let leader = world.peers.leader(SHARD).await.unwrap();
        let error = leader.write(insert(1000, 1)).await.unwrap_err();
        assert!(matches!(error, Error::ParameterTooLarge { .. }), "{error:?}");
        let error = leader.search(SHARD, samples::search().into()).await.unwrap_err();
        assert!(matches!(error, Error::ParameterTooLarge { .. }), "{error:?}");
        leader.flush(SHARD).await.unwrap();
    }
}
