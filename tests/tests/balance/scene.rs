//! A loaded cluster of query nodes, and readers who notice every wrong answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::client::{Client, Row};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::metastore::{Entry, Metastore};
use redkite_tests::players::{Calls, summary};
use redkite_tests::server::Options;
use redkite_tests::workload;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A loaded machine takes its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Clients that read the collections that do not change.
const READERS: usize = 8;
/// Makes rows large, so that few of them make segments whose sizes matter.
const TAG_BYTES: usize = 400;

/// A loaded collection that does not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock<'a> {
    pub(crate) name: &'a str,
    /// The rows of each segment.
    pub(crate) segments: &'a [i64],
    pub(crate) replicas: i32,
    /// The resource group that it is loaded in, other than the default one.
    pub(crate) group: Option<&'a str>,
    /// The bytes of text in each row.
    pub(crate) tag_bytes: usize,
}

impl<'a> Stock<'a> {
    pub(crate) fn of(name: &'a str, segments: &'a [i64]) -> Self {
        Self { name, segments, replicas: 1, group: None, tag_bytes: TAG_BYTES }
    }

    fn rows(&self) -> i64 {
        self.segments.iter().sum()
    }
}

/// Query nodes, and one of everything else.
pub(crate) fn shape(querynode: usize) -> Shape {
    Shape { mixcoord: 1, querynode, ..Shape::SMALL }
}

/// Segments that are small beside what a node holds, as they are where there is much of both.
pub(crate) fn options() -> Options {
    Options::busy()
        .set("dataCoord.segment.maxSize=200KiB")
        .set("dataCoord.segment.sealProportion=0.2")
        .set("queryNode.memoryLimit=1GiB")
        .set("queryCoord.moveOverheadBytes=1024")
}

/// Rows of so many segments, the largest with five times those of the smallest.
pub(crate) fn spread_rows(segments: i64, least: i64) -> Vec<i64> {
    (0..segments).map(|at| least + at * 271 % (4 * least + 1)).collect()
}

fn row(id: i64, tag_bytes: usize) -> Row {
    Row { id, version: 1, tag: "x".repeat(tag_bytes) }
}

/// Makes it.
pub(crate) async fn stock(client: &mut Client, stock: &Stock<'_>) -> anyhow::Result<()> {
    client.create_collection(stock.name, 1).await?;
    client.create_index(stock.name).await?;
    let mut next = 0;
    for rows in stock.segments {
        let rows: Vec<Row> = (next..next + rows).map(|id| row(id, stock.tag_bytes)).collect();
        next += i64::try_from(rows.len())?;
        for part in rows.chunks(1000) {
            client.insert(stock.name, part).await?;
        }
        client.flush(stock.name).await?;
    }
    match stock.group {
        None => client.load_replicas(stock.name, stock.replicas).await?,
        Some(group) => client.load_in(stock.name, stock.replicas, group).await?,
    }
    Ok(())
}

/// Query nodes with what they hold.
pub(crate) type Held = BTreeMap<i64, BTreeMap<i64, u64>>;

/// The cluster, its records, its readers.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) metastore: Metastore,
    pub(crate) readers: Readers,
    _directory: TempDir,
}

impl Scene {
    /// A cluster with collections of segments with so many rows, each read all the time.
    pub(crate) async fn set(
        querynodes: usize,
        options: Options,
        collections: &[Stock<'_>],
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let cluster = Cluster::start(directory.path(), shape(querynodes), options).await?;
        let metastore = cluster.metastore().await?;
        let mut client = workload::connect(cluster.proxies()[0]).await?;
        let mut readers = Readers::default();
        for one in collections {
            stock(&mut client, one).await?;
            readers.begin(cluster.proxies()[0], one);
        }
        let scene = Self { cluster, metastore, readers, _directory: directory };
        scene.quiet().await.context("before anything happens")?;
        Ok(scene)
    }

    /// Waits until there is no background work, no move, and every node has had its share.
    pub(crate) async fn quiet(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            ensure!(Instant::now() < end, "it never becomes quiet: {}", self.status().await?);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let tasks = self.metastore.range("task/").await?.1.len();
            let moves = self.metastore.range("move/").await?.1.len();
            let state = self.metastore.get("balance/state").await?.map(|entry| json(&entry)).transpose()?;
            let state = state.unwrap_or_default();
            let settled: BTreeSet<i64> = numbers(&state["settled"]);
            let is_settled = self.query_nodes().iter().all(|node| settled.contains(node));
            if tasks > 0 || moves > 0 || !is_settled || state["evening"] == true {
                since = Instant::now();
            }
        }
        Ok(())
    }

    /// The id of a collection.
    pub(crate) async fn collection(&self, name: &str) -> anyhow::Result<i64> {
        for entry in self.metastore.range("collection/").await?.1 {
            let record = json(&entry)?;
            if record["name"] == name {
                return record["id"].as_i64().context("id");
            }
        }
        anyhow::bail!("no collection {name}")
    }

    pub(crate) fn query_nodes(&self) -> Vec<i64> {
        let positions = self.cluster.with_role("querynode").into_iter();
        positions.filter_map(|position| self.cluster.members[position].node()).collect()
    }

    /// Adds a query node.
    pub(crate) async fn add_node(&mut self, own: &[&str]) -> anyhow::Result<i64> {
        self.cluster.add_with("querynode", own).await?.node().context("it has not joined")
    }

    /// What nodes say that they hold, in bytes.
    pub(crate) async fn held(&self) -> anyhow::Result<Held> {
        let mut held = Held::new();
        for node in self.query_nodes() {
            held.insert(node, BTreeMap::new());
        }
        for entry in self.metastore.range("held/").await?.1 {
            let node: i64 = entry.key.split('/').nth(1).context("node")?.parse()?;
            let record = json(&entry)?;
            for (segment, cost) in record["segments"].as_object().context("segments")? {
                let bytes = |name: &str| cost[name].as_u64().unwrap_or(0);
                let bytes = bytes("resident_bytes") + bytes("mapped_bytes");
                held.entry(node).or_default().insert(segment.parse()?, bytes);
            }
        }
        Ok(held)
    }

    /// Moves that have ended, the first first.
    pub(crate) async fn moved(&self) -> anyhow::Result<Vec<Value>> {
        self.metastore.range("moved/").await?.1.iter().map(json).collect()
    }

    pub(crate) async fn status(&self) -> anyhow::Result<String> {
        self.cluster.ctl(&["balance", "status"]).await
    }

    /// Nothing is held that no view names, and nobody moves.
    pub(crate) async fn no_orphans(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let named = self.named().await?;
            let held: BTreeSet<(i64, i64)> = self
                .held()
                .await?
                .into_iter()
                .flat_map(|(node, segments)| segments.into_keys().map(move |segment| (node, segment)))
                .collect();
            if held == named {
                return Ok(());
            }
            let differing: Vec<_> = held.symmetric_difference(&named).collect();
            ensure!(Instant::now() < end, "held and named are not the same: {differing:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Nodes and segments that views name.
    pub(crate) async fn named(&self) -> anyhow::Result<BTreeSet<(i64, i64)>> {
        let mut named = BTreeSet::new();
        for entry in self.metastore.range("view/").await?.1 {
            for segment in json(&entry)?["segments"].as_array().context("segments")? {
                let number = |name: &str| segment[name].as_i64().with_context(|| name.to_owned());
                named.insert((number("node")?, number("segment")?));
            }
        }
        Ok(named)
    }

    /// Everybody has got right answers to the end; how long they took.
    pub(crate) async fn end(self, what: &str) -> anyhow::Result<()> {
        self.no_orphans().await?;
        self.readers.end(what).await
    }
}

pub(crate) fn json(entry: &Entry) -> anyhow::Result<Value> {
    serde_json::from_slice(&entry.value).with_context(|| entry.key.clone())
}

pub(crate) fn numbers(value: &Value) -> BTreeSet<i64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
}

/// Moves that were given up, other than because their segment was merged meanwhile.
pub(crate) fn given_up(moved: &[Value]) -> Vec<&Value> {
    let lost = |one: &&Value| match one["dropped"].as_str() {
        None => false,
        Some(why) => why != "the segment is merged, dropped or released",
    };
    moved.iter().filter(lost).collect()
}

/// Bytes of each node.
pub(crate) fn bytes(held: &Held) -> BTreeMap<i64, u64> {
    held.iter().map(|(node, segments)| (*node, segments.values().sum())).collect()
}

/// The difference between the fullest and the emptiest of nodes, in percent of their mean.
pub(crate) fn spread_percent(bytes: &BTreeMap<i64, u64>) -> u64 {
    let (most, least) = (bytes.values().max().copied(), bytes.values().min().copied());
    let mean = bytes.values().sum::<u64>() / bytes.len().max(1) as u64;
    (most.unwrap_or(0) - least.unwrap_or(0)) * 100 / mean.max(1)
}

/// Clients who count and search collections that do not change.
#[derive(Default)]
pub(crate) struct Readers {
    tasks: JoinSet<anyhow::Result<()>>,
    over: Arc<AtomicBool>,
    pub(crate) calls: Calls,
}

impl Readers {
    pub(crate) fn begin(&mut self, proxy: SocketAddr, stock: &Stock<'_>) {
        for number in 0..READERS {
            let reader = Reader {
                collection: stock.name.to_owned(),
                rows: stock.rows(),
                tag_bytes: stock.tag_bytes,
                over: self.over.clone(),
                calls: self.calls.clone(),
            };
            self.tasks.spawn(reader.read(proxy, number));
        }
    }

    /// Fails as soon as somebody got a wrong answer.
    pub(crate) fn all_well(&mut self) -> anyhow::Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(ended) => ended?.and_then(|()| anyhow::bail!("a reader ended before its time")),
        }
    }

    /// How long calls took from then until now.
    pub(crate) fn took_since(&self, from: Instant) -> String {
        summary(self.calls.during(from, Instant::now()))
    }

    async fn end(mut self, what: &str) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(reader) = self.tasks.join_next().await {
            reader??;
        }
        ensure!(self.calls.count() > 0, "nobody has read anything");
        self.calls.tell(what);
        Ok(())
    }
}

struct Reader {
    collection: String,
    rows: i64,
    tag_bytes: usize,
    over: Arc<AtomicBool>,
    calls: Calls,
}

impl Reader {
    async fn read(self, proxy: SocketAddr, number: usize) -> anyhow::Result<()> {
        let Self { collection, rows, .. } = &self;
        let mut client = Client::connect(proxy).await?;
        let mut next = i64::try_from(number)? * 101;
        let limit = usize::try_from(*rows.min(&10))?;
        while !self.over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let count =
                client.count(collection, "").await.with_context(|| format!("count of {collection}"))?;
            ensure!(count == *rows, "{collection} has {rows} rows, counted {count}");
            self.calls.answered(begun);
            let near = row(next * 37 % rows, self.tag_bytes);
            next += 1;
            let begun = Instant::now();
            let hits = client.search(collection, &near, limit).await;
            let hits = hits.with_context(|| format!("search of {collection}"))?;
            let ids: BTreeSet<i64> = hits.iter().map(|(id, _)| *id).collect();
            let nearest = hits.first() == Some(&(near.id, 0.0));
            ensure!(nearest, "search of {collection} for {} found {hits:?}", near.id);
            let all = ids.len() == hits.len() && hits.len() == limit;
            ensure!(all, "search of {collection} found {hits:?}");
            self.calls.answered(begun);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
