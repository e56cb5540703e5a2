//! The dead are buried quickly, the living are left alone.

use std::sync::Arc;

use redkite_cluster::kv::KeyValue;
use redkite_rpc::{Onlooker, RpcSettings, Watchdog, role};
use redkite_types::NodeId;
use tokio::net::TcpListener;

use crate::fake::Fake;
use crate::world::{Process, World, refusing};

const ROLE: &str = role::QUERY_NODE;

fn watch(world: &World) {
    let settings = RpcSettings::default();
    Watchdog::start(
        world.sessions.clone(),
        &[role::DATA_NODE, ROLE],
        world.kv.clone(),
        settings,
        redkite_rpc::Network::tcp(),
        Onlooker { node: NodeId(9), host: "here".to_owned() },
        &world.tasks,
    );
}

async fn node(world: &World, id: i64) -> Process {
    world.process(ROLE, id, Arc::new(Fake::default()).services(id)).await
}

async fn session(world: &World, id: i64) -> Option<KeyValue> {
    world.kv.get(&format!("session/{ROLE}-{id}")).await.unwrap()
}

/// A node dies and is buried: whoever was to be buried before is.
async fn another_death(world: &World) {
    let process = node(world, 1000).await;
    process.kill();
    world.gone(ROLE, 1000).await;
}

#[tokio::test]
async fn a_dead_node_loses_its_lease_and_all_that_stands_under_it() {
    let world = World::start().await;
    watch(&world);
    let process = node(&world, 1).await;
    let lease = session(&world, 1).await.unwrap().lease.unwrap();
    let held = redkite_cluster::kv::Txn::new().put_leased("held/1/7", "{}", lease);
    world.kv.txn(held).await.unwrap();
    process.kill();
    world.gone(ROLE, 1).await;
    assert!(world.kv.get("held/1/7").await.unwrap().is_none());
}

#[tokio::test]
async fn a_node_that_was_dead_before_anybody_looked() {
    let world = World::start().await;
    world.register(ROLE, 1, &refusing().await).await;
    watch(&world);
    world.gone(ROLE, 1).await;
}

#[tokio::test]
async fn another_process_at_the_address_says_that_the_first_is_dead() {
    let world = World::start().await;
    watch(&world);
    let process = node(&world, 1).await;
    // As if the first had been replaced so quickly that nobody was refused.
    world.register(ROLE, 2, &process.address).await;
    world.gone(ROLE, 2).await;
    assert!(session(&world, 1).await.is_some());
}

#[tokio::test]
async fn the_living_are_left_alone() {
    let world = World::start().await;
    let _well = node(&world, 1).await;
    // Connections are accepted by the system; the process says nothing.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.register(ROLE, 2, &hanging.local_addr().unwrap().to_string()).await;
    watch(&world);
    another_death(&world).await;
    // Its connections break, but new ones are accepted.
    for _ in 0..3 {
        drop(hanging.accept().await.unwrap());
    }
    another_death(&world).await;
    assert!(session(&world, 1).await.is_some());
    assert!(session(&world, 2).await.is_some());
}

#[tokio::test]
async fn who_leaves_ends_the_session_alone() {
    let world = World::start().await;
    watch(&world);
    let leaving = node(&world, 1).await;
    // Only who was seen alive can be seen to leave.
    another_death(&world).await;
    leaving.stop().await;
    drop(leaving);
    another_death(&world).await;
    assert!(session(&world, 1).await.is_some());
}

#[tokio::test]
async fn who_comes_back_is_not_buried_again_before_it_was_reached() {
    let world = World::start().await;
    watch(&world);
    let unreachable = refusing().await;
    world.register(ROLE, 1, &unreachable).await;
    world.gone(ROLE, 1).await;
    world.register(ROLE, 1, &unreachable).await;
    // Its first second passes while this one is waited for.
    world.register(ROLE, 2, &unreachable).await;
    world.gone(ROLE, 2).await;
    let mut sessions = world.sessions.watch();
    assert!(sessions.borrow_and_update().node(ROLE, NodeId(1)).is_some());
}
