//! An active coordinator that was away and comes back: it changes nothing, and nobody obeys it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::client::Client;
use redkite_tests::cluster::{Cluster, Member};
use redkite_tests::metastore::Metastore;
use redkite_tests::players::Company;
use redkite_tests::relay::{Line, Relay};
use redkite_tests::workload;

use crate::scene::{Reigns, SHORT, Scene, busy, check_reigns, failovers, followed, moment, shape};

/// So long nothing must change before it counts as quiet: garbage is collected every 5 seconds, and only what has been
/// garbage for one.
const QUIET: Duration = Duration::from_secs(8);

/// Waits until it has noticed that it is no longer active, and stands by again.
async fn stands_by_again(member: &Member, metastore: &Metastore, reigns: &Reigns) -> anyhow::Result<()> {
    for (role, active) in reigns {
        deposed(member, role, active.revision).await?;
        metastore.registered_after(role, active.node, active.revision).await?;
    }
    Ok(())
}

/// Waits until it says that its reign is over; the entry.
async fn deposed(member: &Member, role: &str, revision: i64) -> anyhow::Result<serde_json::Value> {
    let says = |entry: &serde_json::Value| {
        let fields = &entry["fields"];
        let message = fields["message"].as_str().unwrap_or_default();
        let of = fields["revision"].as_i64().or_else(|| fields["revision"].as_str()?.parse().ok());
        message.contains("no longer active") && fields["role"] == role && of == Some(revision)
    };
    member.process.says(&format!("that it is no longer the active {role}"), says).await
}

/// When a member became active in a role.
async fn became_active(member: &Member, role: &str) -> anyhow::Result<String> {
    let says = |entry: &serde_json::Value| {
        let fields = &entry["fields"];
        fields["role"] == role && fields["message"].as_str().is_some_and(|text| text.contains("ACTIVE"))
    };
    Ok(moment(&member.process.says(&format!("that it is the active {role}"), says).await?).to_owned())
}

/// From the first revision on, nothing but sessions was written. Nobody else is at work.
async fn only_sessions_changed(metastore: &Metastore, from: i64) -> anyhow::Result<()> {
    let mut changes = metastore.history("", from).await?;
    changes.retain(|change| !change.key.starts_with("session/"));
    ensure!(changes.is_empty(), "changed by one who is not active: {changes:?}");
    Ok(())
}

/// H3: stopped in the middle of its work for longer than its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wakes_up_too_late_changes_nothing() {
    async fn run() -> anyhow::Result<()> {
        for _ in 0..failovers(1) {
            let mut scene = Scene::set(shape(2, 0), busy(SHORT), Company::DEFINE).await?;
            let (position, reigns) = scene.active("rootcoord").await?;
            let begun = Instant::now();
            scene.cluster.pause(position)?;
            scene.taken_over(&reigns, begun).await?;
            let metastore = scene.metastore.clone();
            let (cluster, _directory) = scene.end("hang in the middle of work").await?;
            let quiet = metastore.settled(QUIET).await?;
            cluster.resume(position)?;
            stands_by_again(&cluster.members[position], &metastore, &reigns).await?;
            metastore.settled(QUIET).await?;
            only_sessions_changed(&metastore, quiet + 1).await?;
            works(&cluster, "afterwards").await?;
        }
        Ok(())
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Definitions are carried out.
async fn works(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let mut client = workload::connect(cluster.proxies()[0]).await?;
    workload::prepare(&mut client, name, 1).await?;
    client.drop_collection(name).await?;
    cluster.healthy().await
}

/// H3: a proxy that slept as long as the coordinator wakes up with it, and asks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_obeys_who_wakes_up_too_late() {
    async fn run() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut shape = shape(2, 0);
        shape.proxy = 2;
        let cluster = Cluster::start(directory.path(), shape, busy(SHORT)).await?;
        let metastore = cluster.metastore().await?;
        let proxies = cluster.with_role("proxy");
        let address = |position: usize| cluster.members[position].process.address("proxy");
        let mut sleeper = Client::connect(address(proxies[0])).await?;
        let mut other = Client::connect(address(proxies[1])).await?;
        workload::prepare(&mut sleeper, "before", 1).await?;
        let active = cluster.active().await?;
        let old = cluster.position(active[0].1.node)?;
        cluster.pause(old)?;
        cluster.pause(proxies[0])?;
        let asked = async { sleeper.create_collection("late", 1).await.map(|()| sleeper) };
        let meanwhile = async {
            followed(&metastore, &active).await?;
            workload::prepare(&mut other, "meanwhile", 1).await?;
            cluster.resume(old)?;
            cluster.resume(proxies[0])?;
            anyhow::Ok(metastore.revision().await?)
        };
        let (asked, woken) = tokio::join!(asked, meanwhile);
        let (mut sleeper, woken) = (asked?, woken?);
        ensure!(sleeper.has_collection("late").await?, "it was acknowledged");
        let made = metastore.history("collection/", woken).await?;
        ensure!(made.iter().filter(|change| change.put.is_some()).count() >= 1, "nothing was made");
        let mut names = other.collections().await?;
        names.sort();
        ensure!(names == ["before", "late", "meanwhile"], "{names:?}");
        check_reigns(&metastore).await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// H4: only its way to etcd is disturbed. What it had sent arrives after its successor was elected.
async fn cut_off(line: Line) -> anyhow::Result<()> {
    let mut scene = Scene::set(shape(1, 0), busy(SHORT), Company::DEFINE).await?;
    let relay = Relay::start([127, 0, 0, 1].into(), scene.cluster.etcd.address(0)).await?;
    scene.add_candidate("mixcoord", &[&format!("etcd.endpoints={}", relay.address())]).await?;
    // The one with a good line goes in order, so that the one behind the relay leads; then a new one stands by.
    let (position, reigns) = scene.active("rootcoord").await?;
    scene.cluster.leave(position).await?;
    followed(&scene.metastore, &reigns).await?;
    scene.add_candidate("mixcoord", &[]).await?;
    let (old, reigns) = scene.active("rootcoord").await?;
    ensure!(reigns.len() == 3, "it leads only {reigns:?}");
    let begun = Instant::now();
    relay.set(line);
    scene.taken_over(&reigns, begun).await?;
    let (new, _) = scene.active("rootcoord").await?;
    for (role, active) in &reigns {
        let ended = deposed(&scene.cluster.members[old], role, active.revision).await?;
        let followed = became_active(&scene.cluster.members[new], role).await?;
        let ended = moment(&ended);
        ensure!(ended < followed.as_str(), "{role} served until {ended}, its successor from {followed}");
        eprintln!("{role}: served until {ended}, its successor from {followed}");
    }
    let metastore = scene.metastore.clone();
    let (mut cluster, _directory) = scene.end(&format!("line to etcd {line:?}")).await?;
    let quiet = metastore.settled(QUIET).await?;
    relay.set(Line::Open);
    stands_by_again(&cluster.members[old], &metastore, &reigns).await?;
    metastore.settled(QUIET).await?;
    only_sessions_changed(&metastore, quiet + 1).await?;
    ensure!(cluster.members[old].process.is_alive()?, "it ended because of etcd");
    works(&cluster, "afterwards").await.context("afterwards")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_line_to_etcd_is_stalled_stops_before_another_begins() {
    cut_off(Line::Stalled).await.unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_line_to_etcd_is_cut_stops_before_another_begins() {
    cut_off(Line::Cut).await.unwrap_or_else(|error| panic!("{error:#}"));
}
