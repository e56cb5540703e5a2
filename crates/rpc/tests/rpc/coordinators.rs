//! Commands reach the active coordinator, whichever that is by then.

use std::sync::Arc;
use std::time::Duration;

use redkite_rpc::{RpcSettings, role};
use redkite_service::{Ddl, Error, RequestId};

use crate::fake::{Fake, ack};
use crate::world::{Process, World};

const ROLE: &str = role::ROOT_COORD;
const ID: RequestId = RequestId(17);

fn command() -> Ddl {
    Ddl::DropDatabase { name: "d".to_owned() }
}

/// A candidate that is active now.
async fn active(world: &World, id: i64, fake: &Arc<Fake>) -> Process {
    let process = Process::start(fake.services(id)).await;
    let lease = world.register(ROLE, id, &process.address).await;
    world.activate(ROLE, id, &process.address, lease).await;
    process
}

async fn execute(world: &World) -> Result<redkite_service::DdlAck, Error> {
    world.peers.root().execute(ID, command()).await
}

fn heard_once() -> Vec<String> {
    vec![format!("{:?}", (ID, command()))]
}

#[tokio::test]
async fn a_command_waits_for_somebody_to_be_active() {
    let world = World::start().await;
    let fake = Arc::new(Fake::default());
    let (answer, _process) = tokio::join!(execute(&world), active(&world, 1, &fake));
    assert_eq!((answer, fake.heard()), (Ok(ack()), heard_once()));
}

#[tokio::test]
async fn a_command_survives_the_death_of_the_coordinator() {
    let world = World::start().await;
    let fakes = [Fake::closed(), Arc::new(Fake::default())];
    let first = active(&world, 1, &fakes[0]).await;
    let dying = async {
        fakes[0].call().await;
        first.kill();
        active(&world, 2, &fakes[1]).await
    };
    let (answer, _second) = tokio::join!(execute(&world), dying);
    assert_eq!(answer, Ok(ack()));
    assert_eq!((fakes[0].heard(), fakes[1].heard()), (heard_once(), heard_once()));
}

#[tokio::test]
async fn a_command_does_not_wait_for_a_coordinator_that_hangs_and_is_replaced() {
    let world = World::start().await;
    let fakes = [Fake::closed(), Arc::new(Fake::default())];
    let _first = active(&world, 1, &fakes[0]).await;
    let replacing = async {
        fakes[0].call().await;
        active(&world, 2, &fakes[1]).await
    };
    let (answer, _second) = tokio::join!(execute(&world), replacing);
    assert_eq!((answer, fakes[1].heard()), (Ok(ack()), heard_once()));
    fakes[0].cancelled.acquire().await.unwrap().forget();
}

#[tokio::test]
async fn errors_of_a_coordinator_that_takes_over_pass() {
    let world = World::start().await;
    let fake = Arc::new(Fake::default());
    let _process = active(&world, 1, &fake).await;
    for error in [
        Error::NotReady { role: ROLE.to_owned(), node: 1, state: "standby".to_owned() },
        Error::Unavailable { reason: "etcd".to_owned() },
        Error::Fenced { what: "rootcoord".to_owned() },
    ] {
        *fake.error.lock().unwrap() = Some(error);
        let passing = async {
            fake.call().await;
            fake.call().await;
            *fake.error.lock().unwrap() = None;
        };
        let (answer, ()) = tokio::join!(execute(&world), passing);
        assert_eq!(answer, Ok(ack()));
    }
}

#[tokio::test]
async fn other_errors_are_answers() {
    let world = World::start().await;
    let fake = Arc::new(Fake::default());
    let _process = active(&world, 1, &fake).await;
    for error in [Error::invalid("bad"), Error::DatabaseNotFound { database: "d".to_owned() }] {
        *fake.error.lock().unwrap() = Some(error.clone());
        assert_eq!((execute(&world).await, fake.heard()), (Err(error), heard_once()));
    }
}

#[tokio::test]
async fn patience_ends() {
    let command_patience = Duration::from_millis(100);
    let world = World::with(RpcSettings { command_patience, ..RpcSettings::default() }).await;
    let error = execute(&world).await.unwrap_err();
    assert!(matches!(&error, Error::NotReady { role, .. } if role == ROLE), "{error:?}");
    let lease = world.register(ROLE, 1, &crate::world::refusing().await).await;
    world.activate(ROLE, 1, &crate::world::refusing().await, lease).await;
    let error = execute(&world).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { .. } | Error::NotReady { .. }), "{error:?}");
}
