//! What goes wrong? One thing after the other, each for a while; several may overlap.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use rand::Rng;
use rand::rngs::SmallRng;
use redkite_service::{BalanceCommand, TransferRequest};
use redkite_types::NodeId;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::{Cluster, MachineId};
use crate::settled;
use crate::weather::Place;

/// Most things that go wrong at the same time.
const AT_ONCE: usize = 3;
/// Most nodes of a role, with those that are added.
const MOST_NODES: usize = 5;

/// Makes trouble with a mean pause of so many milliseconds until then; ends what has begun.
pub async fn make(cluster: &Arc<Cluster>, chance: &mut SmallRng, pause: u64, until: Instant) {
    let mut going_on: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    loop {
        let next = Instant::now() + Duration::from_millis(chance.random_range(0..2 * pause));
        if next >= until {
            break;
        }
        let waiting = sleep_until(next);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                () = &mut waiting => break,
                Some(()) = going_on.next() => {}
            }
        }
        if going_on.len() < AT_ONCE {
            going_on.push(one(cluster.clone(), chance));
        }
    }
    while let Some(()) = going_on.next().await {}
    cluster.weather.clear_up();
}

/// Starts what is missing, and nothing is wrong any more.
pub fn end(cluster: &Cluster) {
    cluster.weather.clear_up();
    for machine in cluster.machines() {
        cluster.resume(machine);
        cluster.start(machine);
    }
}

/// Nothing that somebody asked for is in the way of balancing any more.
pub async fn take_back(cluster: &Cluster) {
    loop {
        let metadata = settled::metadata(cluster);
        let drained: Vec<_> = metadata.drains.keys().map(|node| BalanceCommand::Undrain(*node)).collect();
        let suspended = metadata.balance().is_some_and(|balance| balance.suspended);
        let orders: Vec<_> = drained.into_iter().chain(suspended.then_some(BalanceCommand::Resume)).collect();
        if orders.is_empty() {
            return;
        }
        for order in orders {
            cluster.order(&order).await;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn one(cluster: Arc<Cluster>, chance: &mut SmallRng) -> BoxFuture<'static, ()> {
    let machines = cluster.machines();
    let machine = machines[chance.random_range(0..machines.len())];
    let millis = Duration::from_millis(match chance.random_bool(0.6) {
        true => chance.random_range(10..3_000),
        false => chance.random_range(1_000..25_000),
    });
    match chance.random_range(0..115) {
        0..28 => killed(cluster, machine, millis).boxed(),
        28..42 => paused(cluster, machine, millis).boxed(),
        42..50 => stopped(cluster, machine, millis).boxed(),
        50..55 => added(cluster, chance.random_bool(0.5)).boxed(),
        55..70 => {
            let others = cluster.runs();
            let other = match chance.random_range(0..4) {
                0 => Place::ETCD,
                1 => Place::BUCKET,
                _ if others.is_empty() => Place::ETCD,
                _ => others[chance.random_range(0..others.len())].place,
            };
            cut(cluster, machine, other, millis).boxed()
        }
        70..76 => isolated(cluster, machine, millis).boxed(),
        76..83 => stalled(cluster, millis).boxed(),
        83..88 => {
            cluster.trace.note(format_args!("etcd forgets its history"));
            cluster.etcd.compact();
            std::future::ready(()).boxed()
        }
        88..95 => losing(cluster, chance.random_range(0.01..0.3), millis).boxed(),
        95..103 => drained(cluster, chance.random_range(0..64), millis).boxed(),
        103..106 => suspended(cluster, millis).boxed(),
        106..110 => moved(cluster, chance.random_range(0..64), chance.random_range(0..64)).boxed(),
        _ => {
            let (slowness, lag) = (chance.random_range(5..300), chance.random_range(5..2_000));
            slow(cluster, slowness, lag, millis).boxed()
        }
    }
}

async fn killed(cluster: Arc<Cluster>, machine: MachineId, for_so_long: Duration) {
    cluster.kill(machine);
    sleep(for_so_long).await;
    cluster.start(machine);
}

async fn paused(cluster: Arc<Cluster>, machine: MachineId, for_so_long: Duration) {
    cluster.pause(machine);
    sleep(for_so_long).await;
    cluster.resume(machine);
}

async fn stopped(cluster: Arc<Cluster>, machine: MachineId, for_so_long: Duration) {
    cluster.stop(machine, Duration::from_secs(40)).await;
    sleep(for_so_long).await;
    cluster.start(machine);
}

async fn added(cluster: Arc<Cluster>, query: bool) {
    let job = if query { "querynode" } else { "streamingnode" };
    let present = cluster.machines().into_iter().filter(|machine| cluster.job(*machine) == job).count();
    if present < MOST_NODES {
        let machine = cluster.add(job);
        cluster.start(machine);
    }
}

async fn cut(cluster: Arc<Cluster>, machine: MachineId, other: Place, for_so_long: Duration) {
    let Some(place) = cluster.run(machine).map(|run| run.place).filter(|place| *place != other) else {
        return;
    };
    cluster.trace.note(format_args!("{place} is cut off from {other}"));
    cluster.weather.cut(place, other);
    sleep(for_so_long).await;
    cluster.trace.note(format_args!("{place} reaches {other} again"));
    cluster.weather.mend(place, other);
}

/// Nobody reaches it, and it reaches nobody.
async fn isolated(cluster: Arc<Cluster>, machine: MachineId, for_so_long: Duration) {
    let Some(place) = cluster.run(machine).map(|run| run.place) else { return };
    let mut others: Vec<Place> =
        cluster.runs().iter().map(|run| run.place).filter(|other| *other != place).collect();
    others.extend([Place::ETCD, Place::BUCKET]);
    cluster.trace.note(format_args!("{place} is isolated"));
    others.iter().for_each(|other| cluster.weather.cut(place, *other));
    sleep(for_so_long).await;
    cluster.trace.note(format_args!("{place} is back"));
    others.iter().for_each(|other| cluster.weather.mend(place, *other));
}

async fn stalled(cluster: Arc<Cluster>, for_so_long: Duration) {
    cluster.trace.note(format_args!("etcd stalls"));
    cluster.etcd.stall();
    sleep(for_so_long).await;
    cluster.trace.note(format_args!("etcd goes on"));
    cluster.etcd.recover();
}

async fn losing(cluster: Arc<Cluster>, part: f64, for_so_long: Duration) {
    cluster.trace.note(format_args!("{part:.2} of all messages are lost"));
    cluster.weather.lose(part);
    sleep(for_so_long).await;
    cluster.trace.note(format_args!("no message is lost"));
    cluster.weather.lose(0.0);
}

async fn slow(cluster: Arc<Cluster>, slowness: u64, lag: u64, for_so_long: Duration) {
    cluster.trace.note(format_args!("messages take up to {slowness} ms, watches lag up to {lag} ms"));
    cluster.weather.slow_down(slowness, lag);
    sleep(for_so_long).await;
    cluster.trace.note(format_args!("messages are fast"));
    cluster.weather.slow_down(3, 6);
}

/// The node of a running process that holds segments, if there is one.
fn query_node(cluster: &Cluster, which: usize) -> Option<NodeId> {
    let runs = cluster.runs();
    let nodes: Vec<_> =
        runs.iter().filter(|run| run.job == "querynode").filter_map(|run| run.node()).collect();
    nodes.get(which % nodes.len().max(1)).copied()
}

async fn drained(cluster: Arc<Cluster>, which: usize, for_so_long: Duration) {
    let Some(node) = query_node(&cluster, which) else { return };
    cluster.order(&BalanceCommand::Drain { node, deadline: None }).await;
    sleep(for_so_long).await;
    cluster.order(&BalanceCommand::Undrain(node)).await;
}

async fn suspended(cluster: Arc<Cluster>, for_so_long: Duration) {
    cluster.order(&BalanceCommand::Suspend).await;
    sleep(for_so_long).await;
    cluster.order(&BalanceCommand::Resume).await;
}

/// Everything that a node has is to go to another.
async fn moved(cluster: Arc<Cluster>, from: usize, to: usize) {
    let (Some(from), Some(to)) = (query_node(&cluster, from), query_node(&cluster, to)) else { return };
    let (collection, segments) = (None, BTreeSet::new());
    let transfer = TransferRequest { collection, segments, from, to: [to].into() };
    cluster.order(&BalanceCommand::Transfer(transfer)).await;
}
