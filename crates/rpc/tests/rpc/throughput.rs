//! How fast is it? Run by hand: `cargo test -p redkite-rpc --release -- --ignored --nocapture throughput`.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use redkite_rpc::{RpcSettings, role};
use redkite_service::{ShardDirectory, WriteOp, WriteRequest};
use redkite_types::{Batch, Column, ColumnData, FieldId, PartitionId};

use crate::fake::Fake;
use crate::samples::{self, SHARD};
use crate::world::World;

const ROWS: usize = 10_000;
const DIM: usize = 384;

fn insert() -> WriteRequest {
    let values = (0..ROWS * DIM).map(|n| n as f32).collect();
    let column = Column::new(FieldId(100), ColumnData::FloatVector { dim: DIM, values });
    let op = WriteOp::Insert(vec![(PartitionId(1), Batch::new(vec![column]))]);
    WriteRequest { shard: SHARD, id: samples::write_id(), schema_version: 2, op }
}

fn report(what: &str, bytes: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {:.2} GB/s", bytes as f64 / seconds / 1e9);
}

#[test]
#[ignore = "a measurement"]
fn throughput_of_the_codec() {
    let request = insert();
    for _ in 0..3 {
        let began = Instant::now();
        for _ in 0..50 {
            let bytes = rmp_serde::to_vec_named(&request).unwrap();
            let back: WriteRequest = rmp_serde::from_slice(&bytes).unwrap();
            assert_eq!(back.op.memory_bytes(), ROWS * DIM * 4);
        }
        report("written and read", 50 * ROWS * DIM * 4, began);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_calls() {
    for connections in [1, 2, 4] {
        for together in [1, 4] {
            let world = World::with(RpcSettings { connections, ..RpcSettings::default() }).await;
            let fake = Arc::new(Fake { quiet: true, ..Fake::default() });
            let _process = world.process(role::STREAMING_NODE, 3, fake.services(3)).await;
            world.assign(3).await;
            let leader = world.peers.leader(SHARD).await.unwrap();
            let requests: Vec<_> = (0..40).map(|_| insert()).collect();
            let mut requests = requests.into_iter();
            let began = Instant::now();
            while requests.len() > 0 {
                let writing = requests.by_ref().take(together).map(|request| leader.write(request));
                for written in join_all(writing).await {
                    written.unwrap();
                }
            }
            report(&format!("{connections} connections, {together} at a time"), 40 * ROWS * DIM * 4, began);
            let began = Instant::now();
            for _ in 0..200 {
                join_all((0..50).map(|_| leader.flush(SHARD))).await;
            }
            let calls = 10_000.0 / began.elapsed().as_secs_f64();
            println!("{connections} connections, 50 small calls at a time: {calls:.0} calls/s");
        }
    }
}
