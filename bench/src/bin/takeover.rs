//! How long does it take to become the active coordinator of much metadata?
//!
//! Makes one collection with one segment, writes its records over and over under other ids straight into etcd, and then
//! lets coordinators die, stop and start. Nodes are not there meanwhile: this is about coordinators.
//! `REDKITE_BIN` is the server, `etcd` must be installed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use redkite_tests::client::{Client, Row};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::metastore::{COORDINATORS, Entry, Metastore};
use redkite_tests::server::Options;
use redkite_tests::workload;

/// Measures takeovers with much metadata.
#[derive(Debug, Parser)]
struct Arguments {
    /// Collections.
    #[arg(long, default_value_t = 10_000)]
    collections: u64,
    /// Segments, all collections together.
    #[arg(long, default_value_t = 1_000_000)]
    segments: u64,
    /// Takeovers of each kind.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Records per transaction.
const BATCH: usize = 100;
/// Ids of copies begin here: far from those given out.
const FIRST: u64 = 1_000_000_000_000;
/// Reading everything may take its time.
const PATIENCE: Duration = Duration::from_secs(900);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let directory = tempfile::tempdir()?;
    let options = Options::default().set("common.session.ttl=30");
    let mut cluster = Cluster::start(directory.path(), Shape::SMALL, options).await?;
    let metastore = cluster.metastore().await?;
    let template = Template::make(&cluster, &metastore).await?;
    for role in ["proxy", "datanode", "querynode", "streamingnode", "mixcoord"] {
        let position = cluster.with_role(role)[0];
        cluster.kill(position).await?;
    }
    let begun = Instant::now();
    let bytes = template.write(&metastore, &arguments).await?;
    println!(
        "{} collections, {} segments: {bytes} bytes of records, written in {:.0?}",
        arguments.collections,
        arguments.segments,
        begun.elapsed()
    );

    let begun = Instant::now();
    cluster.add_unready("mixcoord").await?;
    let last = metastore.revision().await?;
    followed(&metastore, last, begun).await?;
    println!("cold start: elected after {:.2?}", begun.elapsed());
    cluster.add_unready("proxy").await?;
    let proxy = &cluster.members.last().context("just added")?.process;
    let proxy = loop {
        match proxy.address_of("proxy").await {
            Ok(address) => break address,
            // It reads everything first.
            Err(error) => ensure!(begun.elapsed() < PATIENCE, "{error:#}"),
        }
    };
    let mut client = workload::connect(proxy).await?;
    command(&mut client, 0).await?;
    println!("cold start: first command carried out after {:.2?}", begun.elapsed());
    standby(&mut cluster).await?;

    let mut next = 1;
    for kind in ["kill -9", "SIGTERM"] {
        let mut took = Vec::new();
        for _ in 0..arguments.rounds {
            let before = cluster.active().await?;
            let node = before[0].1.node;
            let position = cluster.position(node)?;
            let begun = Instant::now();
            if kind == "SIGTERM" {
                cluster.dismiss(position)?
            } else {
                cluster.kill(position).await?;
            }
            command(&mut client, next).await?;
            took.push(begun.elapsed());
            next += 1;
            for (role, before) in before.iter().filter(|(_, before)| before.node == node) {
                metastore.active_after(role, before.revision).await?;
            }
            tell_of_roles(&cluster).await?;
            if kind == "SIGTERM" {
                cluster.left(position).await?;
            }
            standby(&mut cluster).await?;
        }
        took.sort();
        println!("{kind}: a command was carried out after {took:.2?}");
    }
    Ok(())
}

/// Prints how long each role was without an active one that serves, as the active one says.
async fn tell_of_roles(cluster: &Cluster) -> anyhow::Result<()> {
    for (role, active) in cluster.active().await? {
        let revision = active.revision.to_string();
        let serves = |entry: &serde_json::Value| {
            let fields = &entry["fields"];
            fields["message"] == "ACTIVE"
                && fields["role"] == role
                && fields["revision"].as_str() == Some(revision.as_str())
        };
        let member = &cluster.members[cluster.position(active.node)?];
        let entry = member.process.says("ACTIVE", serves).await?;
        println!(
            "  {role} was without one for {:.3} s",
            entry["fields"]["took"].as_f64().unwrap_or(f64::NAN)
        );
    }
    Ok(())
}

/// Something that the root coordinator carries out, and for which no node is needed.
async fn command(client: &mut Client, number: usize) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = client.drop_collection(&format!("copy_{number}")).await {
        ensure!(Instant::now() < end, "no command is carried out: {error}");
        println!("a command was refused: {error}");
    }
    Ok(())
}

/// Waits until every role is taken by somebody new.
async fn followed(metastore: &Metastore, last: i64, begun: Instant) -> anyhow::Result<()> {
    for role in COORDINATORS {
        while metastore.active(role).await?.is_none_or(|active| active.revision <= last) {
            ensure!(begun.elapsed() < PATIENCE, "nobody becomes the {role}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Starts one more coordinator and waits until it knows everything.
async fn standby(cluster: &mut Cluster) -> anyhow::Result<()> {
    let begun = Instant::now();
    cluster.add_unready("mixcoord").await?;
    let member = cluster.members.last().context("just added")?;
    while member
        .process
        .entries()
        .iter()
        .all(|entry| entry["fields"]["message"] != "stands by until it is elected")
    {
        ensure!(begun.elapsed() < PATIENCE, "it does not stand by");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("a standby is ready after {:.2?}", begun.elapsed());
    Ok(())
}

/// The records of one collection and one of its segments.
struct Template {
    /// Under keys that name the collection or its name.
    collection: Vec<(String, String)>,
    segment: (String, String),
    ids: [String; 2],
}

impl Template {
    async fn make(cluster: &Cluster, metastore: &Metastore) -> anyhow::Result<Self> {
        let mut client = workload::connect(cluster.proxies()[0]).await?;
        client.create_collection("template", 1).await?;
        client.create_index("template").await?;
        let rows: Vec<Row> = (0..10).map(|id| Row { id, version: 1, tag: String::new() }).collect();
        client.insert("template", &rows).await?;
        client.flush("template").await?;
        let all = metastore.range("").await?.1;
        let of =
            |prefix: &str| all.iter().find(|entry| entry.key.starts_with(prefix)).context("no such record");
        let segment = of("segment/")?;
        let mut names = segment.key.split('/').skip(1);
        let ids = [names.next(), names.next()].map(|id| id.unwrap_or_default().to_owned());
        let collection = all.iter().filter(|entry| {
            let room = entry.key.split('/').next().unwrap_or_default();
            ["collection", "name", "index", "shard", "checkpoint"].contains(&room)
                && (entry.key.contains(&ids[0]) || entry.key.ends_with("/template"))
        });
        let collection = collection.map(text).collect::<anyhow::Result<_>>()?;
        let segment = text(segment)?;
        // As large as segments grow, so that nobody wants to merge them.
        let mut record: serde_json::Value = serde_json::from_str(&segment.1)?;
        record["rows"] = 1_000_000.into();
        record["bytes"] = (1_u64 << 30).into();
        Ok(Self { collection, segment: (segment.0, record.to_string()), ids })
    }

    /// Writes copies; how many bytes.
    async fn write(&self, metastore: &Metastore, arguments: &Arguments) -> anyhow::Result<usize> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let each = arguments.segments / arguments.collections.max(1);
        for number in 0..arguments.collections {
            let collection = (FIRST + number).to_string();
            let name = format!("copy_{number}");
            for (key, value) in &self.collection {
                let copy = |text: &str| text.replace(&self.ids[0], &collection).replace("template", &name);
                batch.push((copy(key), copy(value).into_bytes()));
            }
            for segment in 0..each {
                let id = (FIRST + arguments.collections + number * each + segment).to_string();
                let copy = |text: &str| text.replace(&self.ids[0], &collection).replace(&self.ids[1], &id);
                batch.push((copy(&self.segment.0), copy(&self.segment.1).into_bytes()));
            }
            while batch.len() >= BATCH || (number + 1 == arguments.collections && !batch.is_empty()) {
                let some = batch.split_off(batch.len().saturating_sub(BATCH));
                bytes += some.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
                metastore.put(some).await?;
            }
        }
        Ok(bytes)
    }
}

fn text(entry: &Entry) -> anyhow::Result<(String, String)> {
    Ok((entry.key.clone(), String::from_utf8(entry.value.clone())?))
}
