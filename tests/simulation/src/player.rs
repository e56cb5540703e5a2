//! A writer of a collection and reader of its own rows, who knows what every read must answer.
//!
//! A write that was not acknowledged has happened or not. To find out, the player deletes rows that never were
//! until every shard takes that: what was sent before is settled then, and the next read shows it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redkite_tests::client::{CallError, CallResult, Client, Row};
use redkite_tests::model::{Effect, Model};
use tokio::time::{Instant, sleep, timeout};

use crate::channel::Channel;
use crate::cluster::Cluster;
use crate::weather::Place;

/// Primary keys per player.
const KEYS: i64 = 1_000_000;
/// Keys it uses: few enough that rows meet again and again.
const USED: i64 = 120;
/// Keys that are deleted, but never written; so many that every shard has some.
const PROBES: i64 = 64;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(40);
/// Before something is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// One player.
#[derive(Debug)]
pub struct Player {
    cluster: Arc<Cluster>,
    name: String,
    collection: String,
    first: i64,
    model: Model,
    chance: SmallRng,
    next_version: i64,
    /// The proxy that is asked.
    proxy: Option<Place>,
    /// What was answered as it should be.
    pub done: u64,
    /// What was not answered.
    pub failed: u64,
}

impl Player {
    /// A player with keys of its own.
    #[must_use]
    pub fn new(cluster: &Arc<Cluster>, collection: &str, shards: i32, number: i64, seed: u64) -> Self {
        Self {
            cluster: cluster.clone(),
            name: format!("player {number}"),
            collection: collection.to_owned(),
            first: number * KEYS,
            model: Model::new(shards),
            chance: SmallRng::seed_from_u64(seed ^ number.cast_unsigned()),
            next_version: 1,
            proxy: None,
            done: 0,
            failed: 0,
        }
    }

    /// Plays until then.
    ///
    /// # Errors
    /// If an answer is wrong.
    pub async fn play(&mut self, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until {
            self.step().await.with_context(|| self.name.clone())?;
            let pause = self.chance.random_range(0..400);
            sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    /// Compares everything, patiently.
    ///
    /// # Errors
    /// If something differs, or nobody answers in time.
    pub async fn last_look(&mut self, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        while !self.compare().await.with_context(|| self.name.clone())? {
            ensure!(Instant::now() < until, "{}: {} is not read any more", self.name, self.collection);
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        match self.chance.random_range(0..100) {
            0..35 => self.insert().await,
            35..55 => self.upsert().await,
            55..68 => self.delete().await,
            68..82 => self.compare().await.map(drop),
            82..94 => self.search().await,
            _ => self.flush().await,
        }
    }

    /// A client of the proxy that was asked before, or of another one.
    async fn client(&mut self) -> Client<Channel> {
        loop {
            let mut clients = self.cluster.clients();
            if self.chance.random_bool(0.03) {
                self.proxy = None;
            }
            let same = clients.iter().position(|(place, _)| Some(*place) == self.proxy);
            let chosen = match same {
                Some(same) => same,
                None if clients.is_empty() => {
                    sleep(PAUSE).await;
                    continue;
                }
                None => self.chance.random_range(0..clients.len()),
            };
            let (place, client) = clients.swap_remove(chosen);
            self.proxy = Some(place);
            return client;
        }
    }

    /// Counts how a call ended; `None` if it was not answered as it should be.
    fn count<T>(
        &mut self,
        what: &str,
        outcome: Result<CallResult<T>, tokio::time::error::Elapsed>,
    ) -> Option<T> {
        let error = match outcome {
            Ok(Ok(answer)) => {
                self.done += 1;
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.failed += 1;
        self.cluster.trace.note(format_args!("{} {what}: {error}", self.name));
        None
    }

    async fn insert(&mut self) -> anyhow::Result<()> {
        let mut keys = self.some_keys(20);
        keys.retain(|id| !self.model.rows().contains_key(id));
        if keys.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = keys.into_iter().map(|id| self.new_row(id)).collect();
        let mut client = self.client().await;
        let outcome = timeout(PATIENCE, client.insert(&self.collection, &rows)).await;
        let outcome = self.count("inserts", outcome);
        self.written(client, effect_of(rows), outcome.is_some()).await
    }

    async fn upsert(&mut self) -> anyhow::Result<()> {
        let rows: Vec<Row> = self.some_keys(12).into_iter().map(|id| self.new_row(id)).collect();
        let mut client = self.client().await;
        let outcome = timeout(PATIENCE, client.upsert(&self.collection, &rows)).await;
        let outcome = self.count("upserts", outcome);
        self.written(client, effect_of(rows), outcome.is_some()).await
    }

    async fn delete(&mut self) -> anyhow::Result<()> {
        let keys = self.some_keys(10);
        let mut client = self.client().await;
        let outcome = timeout(PATIENCE, client.delete(&self.collection, &format!("id in {keys:?}"))).await;
        let outcome = self.count("deletes", outcome);
        self.written(client, keys.into_iter().map(|id| (id, None)).collect(), outcome.is_some()).await
    }

    async fn written(&mut self, client: Client<Channel>, effect: Effect, done: bool) -> anyhow::Result<()> {
        if done {
            return Ok(self.model.ended(effect, Ok(()))?);
        }
        self.model.unknown(effect);
        self.settle(client).await;
        while !self.compare().await? {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until every shard takes writes. The same proxy is asked as long as it lives: it knows best which of
    /// its writes are given up.
    async fn settle(&mut self, asked: Client<Channel>) {
        let proxy = self.proxy;
        let last = self.first + KEYS;
        let filter = format!("id in {:?}", (last - PROBES..last).collect::<Vec<_>>());
        let mut client = asked;
        loop {
            sleep(PAUSE).await;
            if !self.cluster.clients().iter().any(|(place, _)| Some(*place) == proxy) {
                client = self.client().await;
            }
            let outcome = timeout(PATIENCE, client.delete(&self.collection, &filter)).await;
            if self.count("settles", outcome).is_some() {
                return;
            }
        }
    }

    /// Whether it was answered.
    async fn compare(&mut self) -> anyhow::Result<bool> {
        let filter = format!("id >= {} and id < {}", self.first, self.first + KEYS);
        let mut client = self.client().await;
        let outcome = timeout(PATIENCE, client.query(&self.collection, &filter)).await;
        let Some(rows) = self.count("queries", outcome) else { return Ok(false) };
        self.model.compare(&rows)?;
        let outcome = timeout(PATIENCE, client.count(&self.collection, &filter)).await;
        let Some(count) = self.count("counts", outcome) else { return Ok(false) };
        let expected = i64::try_from(self.model.rows().len())?;
        if count != expected {
            let details = self.who_counts_twice(&mut client).await;
            bail!("count(*) is {count}, the model has {expected}: {details}");
        }
        Ok(true)
    }

    /// Queries show a key once, counts show how often it is there.
    async fn who_counts_twice(&self, client: &mut Client<Channel>) -> String {
        let mut details = Vec::new();
        for row in self.model.rows().values() {
            let count = client.count(&self.collection, &format!("id == {}", row.id)).await;
            if !matches!(count, Ok(1)) {
                let others = format!("id == {} and version != {}", row.id, row.version);
                let others = client.query(&self.collection, &others).await;
                details.push(format!("{row:?} {count:?} times, and {others:?}"));
            }
        }
        details.join("; ")
    }

    /// A row's own vector must be found first: distance 0, and no other row has it.
    async fn search(&mut self) -> anyhow::Result<()> {
        let rows = self.model.rows();
        if rows.is_empty() {
            return Ok(());
        }
        let nth = self.chance.random_range(0..rows.len());
        let Some(row) = rows.values().nth(nth).cloned() else { return Ok(()) };
        let mut client = self.client().await;
        let outcome = timeout(PATIENCE, client.search(&self.collection, &row, 3)).await;
        let Some(hits) = self.count("searches", outcome) else { return Ok(()) };
        ensure!(hits.first() == Some(&(row.id, 0.0)), "search for {row:?} found {hits:?}");
        let others = hits.iter().skip(1);
        ensure!(others.clone().all(|(id, _)| *id != row.id), "row {} found twice: {hits:?}", row.id);
        Ok(())
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let mut client = self.client().await;
        let outcome = timeout(PATIENCE, client.flush(&self.collection)).await;
        self.count("flushes", outcome);
        Ok(())
    }

    fn some_keys(&mut self, at_most: usize) -> Vec<i64> {
        let count = self.chance.random_range(1..=at_most);
        let mut keys: Vec<i64> = (0..count).map(|_| self.first + self.chance.random_range(0..USED)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn new_row(&mut self, id: i64) -> Row {
        let version = self.next_version;
        self.next_version += 1;
        Row { id, version, tag: format!("tag-{}", version % 7) }
    }
}

fn effect_of(rows: Vec<Row>) -> Effect {
    rows.into_iter().map(|row| (row.id, Some(row))).collect()
}

/// Who makes collections, loads, reads and drops them.
#[derive(Debug)]
pub struct Definer {
    cluster: Arc<Cluster>,
    number: usize,
    chance: SmallRng,
    /// Collections that came and went.
    pub done: u64,
}

impl Definer {
    /// A definer with names of its own.
    #[must_use]
    pub fn new(cluster: &Arc<Cluster>, number: usize, seed: u64) -> Self {
        Self {
            cluster: cluster.clone(),
            number,
            chance: SmallRng::seed_from_u64(!seed ^ number as u64),
            done: 0,
        }
    }

    /// Lets collections come and go until then.
    ///
    /// # Errors
    /// If an answer is wrong.
    pub async fn play(&mut self, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until {
            let name = format!("d{}_{}", self.number, self.done);
            self.one(&name).await.with_context(|| name.clone())?;
            self.done += 1;
            sleep(Duration::from_millis(self.chance.random_range(0..2000))).await;
        }
        Ok(())
    }

    async fn one(&mut self, name: &str) -> anyhow::Result<()> {
        let shards = self.chance.random_range(1..=2);
        let rows: Vec<Row> = (0..10).map(|id| Row { id, version: 1, tag: String::new() }).collect();
        self.insist("create", async |client| client.create_collection(name, shards).await).await;
        ensure!(self.insist("has", async |client| client.has_collection(name).await).await, "not there");
        self.insist("index", async |client| client.create_index(name).await).await;
        // Upserts: they may be repeated.
        self.insist("upsert", async |client| client.upsert(name, &rows).await).await;
        if self.chance.random_bool(0.5) {
            self.insist("flush", async |client| client.flush(name).await).await;
        }
        self.insist("load", async |client| client.load(name).await).await;
        let found = self.insist("query", async |client| client.query(name, "id >= 0").await).await;
        ensure!(found == rows, "found {found:?}");
        if self.chance.random_bool(0.5) {
            self.insist("release", async |client| client.release(name).await).await;
        }
        self.insist("drop", async |client| client.drop_collection(name).await).await;
        // Another proxy may not have heard of it yet.
        for _ in 0..100 {
            if !self.insist("has", async |client| client.has_collection(name).await).await {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        bail!("still there")
    }

    /// Tries until it succeeds.
    async fn insist<T>(
        &mut self,
        what: &str,
        work: impl AsyncFn(&mut Client<Channel>) -> Result<T, CallError>,
    ) -> T {
        loop {
            let mut clients = self.cluster.clients();
            if !clients.is_empty() {
                let (_, mut client) = clients.swap_remove(self.chance.random_range(0..clients.len()));
                match timeout(PATIENCE, work(&mut client)).await {
                    Ok(Ok(answer)) => return answer,
                    Ok(Err(error)) => {
                        self.cluster.trace.note(format_args!("definer {} {what}: {error}", self.number));
                    }
                    Err(_) => self.cluster.trace.note(format_args!("definer {} {what}: late", self.number)),
                }
            }
            sleep(PAUSE).await;
        }
    }
}
