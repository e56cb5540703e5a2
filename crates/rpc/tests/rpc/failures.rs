//! What is a caller told when a call is not answered?

use std::sync::Arc;
use std::time::Duration;

use redkite_rpc::{RpcSettings, role};
use redkite_service::{
    Error, Result, Retry, SegmentsDirectory, Shard, ShardDirectory, WriteOp, WriteRequest,
};
use redkite_types::{NodeId, PrimaryKeys};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::fake::Fake;
use crate::samples::{self, SHARD};
use crate::world::{Process, World, refuses, refusing};

async fn leader(world: &World, fake: &Arc<Fake>) -> (Arc<dyn Shard>, Process) {
    let process = world.process(role::STREAMING_NODE, 3, fake.services(3)).await;
    world.assign(3).await;
    (world.peers.leader(SHARD).await.unwrap(), process)
}

fn write() -> WriteRequest {
    let op = WriteOp::Delete { partition: None, keys: PrimaryKeys::Int64(vec![1]) };
    WriteRequest { shard: SHARD, id: samples::write_id(), schema_version: 1, op }
}

/// A write and a read that are both being carried out when `accident` happens.
async fn in_mid_call(
    fake: &Fake,
    leader: &Arc<dyn Shard>,
    accident: impl Future<Output = ()>,
) -> (Result<()>, Result<()>) {
    let accident = async {
        fake.call().await;
        fake.call().await;
        accident.await;
    };
    let writing = async { leader.write(write()).await.map(drop) };
    let reading = async { leader.search(SHARD, samples::search().into()).await.map(drop) };
    let (written, read, ()) = tokio::join!(writing, reading, accident);
    (written, read)
}

fn assert_lost((written, read): (Result<()>, Result<()>)) {
    let (written, read) = (written.unwrap_err(), read.unwrap_err());
    assert!(matches!(written, Error::ConnectionLost { .. }), "{written:?}");
    assert!(matches!(read, Error::Unavailable { .. }), "{read:?}");
    assert_eq!((written.retry(), read.retry()), (Retry::MaybeApplied, Retry::Yes));
}

#[tokio::test]
async fn a_process_killed_in_mid_call() {
    let (world, fake) = (World::start().await, Fake::closed());
    let (leader, process) = leader(&world, &fake).await;
    let address = process.address.clone();
    assert_lost(in_mid_call(&fake, &leader, async { process.kill() }).await);
    refuses(&address).await;
    let error = leader.write(write()).await.unwrap_err();
    assert_eq!(error, Error::NodeNotFound { node: 3 }, "refused, so nothing was sent");
}

#[tokio::test]
async fn a_session_that_ends_in_mid_call() {
    let (world, fake) = (World::start().await, Fake::closed());
    let (leader, _process) = leader(&world, &fake).await;
    let forget = async {
        world.kv.delete("session/streamingnode-3".to_owned()).await.unwrap();
    };
    assert_lost(in_mid_call(&fake, &leader, forget).await);
}

#[tokio::test]
async fn a_process_that_stops_answers_the_calls_on_their_way() {
    let (world, fake) = (World::start().await, Fake::closed());
    let (leader, process) = leader(&world, &fake).await;
    let stop = async {
        let stopping = async {
            process.stop().await;
        };
        let opening = async {
            refuses(&process.address).await;
            fake.open.send_replace(true);
        };
        tokio::join!(stopping, opening);
    };
    let (written, read) = in_mid_call(&fake, &leader, stop).await;
    written.unwrap();
    read.unwrap();
    let error = leader.write(write()).await.unwrap_err();
    assert_eq!(error, Error::NodeNotFound { node: 3 });
}

#[tokio::test]
async fn an_address_that_refuses() {
    let world = World::start().await;
    let address = refusing().await;
    world.register(role::STREAMING_NODE, 3, &address).await;
    world.register(role::QUERY_NODE, 4, &address).await;
    world.assign(3).await;
    let error = world.peers.leader(SHARD).await.unwrap().write(write()).await.unwrap_err();
    assert_eq!((error.retry(), &error), (Retry::Yes, &Error::NodeNotFound { node: 3 }));
    let node = world.peers.node(NodeId(4)).await.unwrap();
    let error = node.apply_deletes(SHARD, samples::deletes()).await.unwrap_err();
    assert_eq!(error, Error::NodeNotFound { node: 4 });
}

#[tokio::test]
async fn a_connection_that_is_cut_before_anything_is_answered() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.register(role::STREAMING_NODE, 3, &listener.local_addr().unwrap().to_string()).await;
    world.assign(3).await;
    let leader = world.peers.leader(SHARD).await.unwrap();
    let cutting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The preface and the request arrive; nobody ever says what became of it.
        let mut read = vec![0; 200];
        stream.read_exact(&mut read).await.unwrap();
    };
    let (written, ()) = tokio::join!(leader.write(write()), cutting);
    assert!(matches!(written, Err(Error::ConnectionLost { .. })), "{written:?}");
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_sides() {
    let timeout = Duration::from_millis(100);
    let settings = RpcSettings { read_timeout: timeout, write_timeout: timeout, ..RpcSettings::default() };
    let (world, fake) = (World::with(settings).await, Fake::closed());
    let (leader, _process) = leader(&world, &fake).await;
    let (written, read) = in_mid_call(&fake, &leader, async {}).await;
    for outcome in [written, read] {
        assert!(matches!(outcome, Err(Error::Timeout { .. })), "{outcome:?}");
    }
    fake.cancelled.acquire_many(2).await.unwrap().forget();
}

#[tokio::test]
async fn who_gives_up_waiting_cancels_the_call() {
    let (world, fake) = (World::start().await, Fake::closed());
    let (leader, _process) = leader(&world, &fake).await;
    tokio::select! {
        _ = leader.write(write()) => panic!("nobody answers"),
        () = fake.call() => {}
    }
    fake.cancelled.acquire().await.unwrap().forget();
    fake.open.send_replace(true);
    leader.write(write()).await.unwrap();
}

/// A process that was restarted in place does nothing that is meant for the one before.
#[tokio::test]
async fn another_process_at_the_address_refuses() {
    let (world, fake) = (World::start().await, Arc::new(Fake::default()));
    let (leader, process) = leader(&world, &fake).await;
    leader.write(write()).await.unwrap();
    let (address, other) = (process.address.clone(), Arc::new(Fake::default()));
    process.kill();
    refuses(&address).await;
    let _other = Process::at(&address, other.services(4), RpcSettings::default()).await;
    let error = leader.write(write()).await.unwrap_err();
    assert_eq!((error.retry(), &error), (Retry::Yes, &Error::NodeNotMatch { expected: 3, actual: 4 }));
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn coordinators_are_connected_before_they_are_called() {
    let world = World::start().await;
    let standby = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.register(role::DATA_COORD, 1, &standby.local_addr().unwrap().to_string()).await;
    standby.accept().await.unwrap();
}
