//! Random work of one writer, checked against its model.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::{CallError, Client, Row};
use crate::model::{Effect, Model};

/// Primary keys per writer.
pub const KEYS_PER_WRITER: i64 = 1_000_000;
/// Keys a writer actually uses: few enough that rows meet again and again.
const KEYS_USED: i64 = 600;
/// Keys at the end of a writer's range that are deleted, but never written, to see whether writes work.
const PROBE_KEYS: i64 = 16;
/// A writer that found the server gone tries again so long to reach the next one.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);
/// A server to which something happened takes writes again within this time.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(60);
/// Milvus: `ErrServiceDiskLimitExceeded`. A write refused so has not happened.
pub const DISK_FULL: i32 = 7;

/// One writer: its keys, its model, its own chance.
#[derive(Debug)]
pub struct Writer {
    collection: String,
    first_key: i64,
    model: Model,
    random: SmallRng,
    next_version: i64,
    operations: u64,
    /// Whether all rows are in one shard: a refused write has then not happened in part.
    one_shard: bool,
    tolerant: bool,
    refusals: BTreeMap<i32, u64>,
}

/// How a stretch of work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// After as many operations as asked for.
    Done,
    /// The server was gone.
    ServerGone,
}

impl Writer {
    /// A writer with keys from `number` × [`KEYS_PER_WRITER`].
    #[must_use]
    pub fn new(collection: &str, number: i64, shards: i32, seed: u64) -> Self {
        Self {
            collection: collection.to_owned(),
            first_key: number * KEYS_PER_WRITER,
            model: Model::new(shards),
            random: SmallRng::seed_from_u64(seed.wrapping_add(number.cast_unsigned())),
            next_version: 1,
            operations: 0,
            one_shard: shards == 1,
            tolerant: false,
            refusals: BTreeMap::new(),
        }
    }

    /// A writer to whom writes may be refused for a while. Reads must go on.
    #[must_use]
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// How many writes were refused, by code.
    #[must_use]
    pub fn refusals(&self) -> &BTreeMap<i32, u64> {
        &self.refusals
    }

    /// Number of operations done so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// The filter for all rows of this writer.
    #[must_use]
    pub fn own_rows(&self) -> String {
        format!("id >= {} and id < {}", self.first_key, self.first_key + KEYS_PER_WRITER)
    }

    /// Compares everything with the model, then works until `operations` are done or the server is gone.
    ///
    /// # Errors
    /// If the server answers wrongly.
    pub async fn work(&mut self, address: SocketAddr, operations: u64) -> anyhow::Result<Stopped> {
        let Ok(mut client) = Client::connect(address).await else { return Ok(Stopped::ServerGone) };
        if self.check(&mut client).await.context("after connecting")? == Stopped::ServerGone {
            return Ok(Stopped::ServerGone);
        }
        for _ in 0..operations {
            let step = self.step(&mut client).await;
            match step {
                Ok(()) => self.operations += 1,
                Err(Failure::Gone) => return Ok(Stopped::ServerGone),
                Err(Failure::Wrong(error)) => return Err(error),
            }
        }
        Ok(Stopped::Done)
    }

    /// Compares everything with the model, by rows and by count.
    ///
    /// # Errors
    /// If they differ.
    pub async fn check(&mut self, client: &mut Client) -> anyhow::Result<Stopped> {
        match self.compare(client).await {
            Ok(()) => Ok(Stopped::Done),
            Err(Failure::Gone) => Ok(Stopped::ServerGone),
            Err(Failure::Wrong(error)) => Err(error),
        }
    }

    async fn step(&mut self, client: &mut Client) -> Result<(), Failure> {
        match self.random.random_range(0..100) {
            0..35 => self.insert(client).await,
            35..55 => self.upsert(client).await,
            55..70 => self.delete_keys(client).await,
            70..75 => self.delete_versions(client).await,
            75..85 => self.compare(client).await,
            85..95 => self.search(client).await,
            _ => self.flush(client).await,
        }
    }

    async fn flush(&mut self, client: &mut Client) -> Result<(), Failure> {
        match client.flush(&self.collection).await {
            Err(CallError::Refused { code, .. }) if self.tolerant => {
                *self.refusals.entry(code).or_default() += 1;
                Ok(())
            }
            outcome => outcome.map_err(Failure::from),
        }
    }

    async fn insert(&mut self, client: &mut Client) -> Result<(), Failure> {
        let mut keys = self.some_keys(100);
        keys.retain(|id| !self.model.rows().contains_key(id));
        let rows: Vec<Row> = keys.into_iter().map(|id| self.new_row(id)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let outcome = client.insert(&self.collection, &rows).await;
        self.ended(client, effect_of(rows), outcome).await
    }

    async fn upsert(&mut self, client: &mut Client) -> Result<(), Failure> {
        let rows: Vec<Row> = self.some_keys(40).into_iter().map(|id| self.new_row(id)).collect();
        let outcome = client.upsert(&self.collection, &rows).await;
        self.ended(client, effect_of(rows), outcome).await
    }

    async fn delete_keys(&mut self, client: &mut Client) -> Result<(), Failure> {
        let keys = self.some_keys(30);
        let filter = format!("id in {keys:?}");
        let outcome = client.delete(&self.collection, &filter).await;
        self.ended(client, keys.into_iter().map(|id| (id, None)).collect(), outcome).await
    }

    async fn delete_versions(&mut self, client: &mut Client) -> Result<(), Failure> {
        let divisor = self.random.random_range(5..20);
        let filter = format!("{} and version % {divisor} == 0", self.own_rows());
        let gone = self.model.rows().values().filter(|row| row.version % divisor == 0);
        let effect: Effect = gone.map(|row| (row.id, None)).collect();
        let outcome = client.delete(&self.collection, &filter).await;
        self.ended(client, effect, outcome).await
    }

    async fn compare(&mut self, client: &mut Client) -> Result<(), Failure> {
        let rows = client.query(&self.collection, &self.own_rows()).await?;
        self.model.compare(&rows).map_err(|difference| Failure::Wrong(difference.into()))?;
        let count = client.count(&self.collection, &self.own_rows()).await?;
        let expected = i64::try_from(self.model.rows().len()).expect("few rows");
        if count == expected {
            return Ok(());
        }
        let details = self.who_counts_twice(client).await?;
        check(false, || format!("count(*) is {count}, the model has {expected}: {details}"))
    }

    /// Queries show a key once, counts show how often it is there: what else is there of it.
    async fn who_counts_twice(&self, client: &mut Client) -> Result<String, Failure> {
        let mut details = Vec::new();
        for row in self.model.rows().values() {
            let count = client.count(&self.collection, &format!("id == {}", row.id)).await?;
            if count != 1 {
                let others = format!("id == {} and version != {}", row.id, row.version);
                let others = client.query(&self.collection, &others).await?;
                details.push(format!("{row:?} {count} times, and {others:?}"));
            }
        }
        Ok(details.join("; "))
    }

    /// A row's own vector must be found first: distance 0 and no other row has it.
    async fn search(&mut self, client: &mut Client) -> Result<(), Failure> {
        let rows = self.model.rows();
        let Some(row) = rows.values().nth(self.random.random_range(0..rows.len().max(1))).cloned() else {
            return Ok(());
        };
        let hits = client.search(&self.collection, &row, 3).await?;
        let ids: Vec<i64> = hits.iter().map(|(id, _)| *id).collect();
        check(hits.first() == Some(&(row.id, 0.0)), || format!("search for row {row:?} found {hits:?}"))?;
        check(ids.iter().skip(1).all(|id| *id != row.id), || format!("row {} found twice: {hits:?}", row.id))
    }

    async fn ended<T>(
        &mut self,
        client: &mut Client,
        effect: Effect,
        outcome: Result<T, CallError>,
    ) -> Result<(), Failure> {
        match &outcome {
            Err(CallError::Refused { code, .. }) if self.tolerant => {
                *self.refusals.entry(*code).or_default() += 1;
                if self.one_shard && *code == DISK_FULL {
                    return self.model.ended(effect, outcome).map_err(Failure::from);
                }
                self.model.unknown(effect);
                self.recover(client).await?;
                self.compare(client).await
            }
            Err(CallError::Refused { code, reason }) => {
                Err(Failure::Wrong(anyhow::anyhow!("refused with code {code}: {reason}")))
            }
            _ => self.model.ended(effect, outcome).map_err(Failure::from),
        }
    }

    /// Waits until every shard takes writes: only then is it settled what became of a failed one.
    async fn recover(&mut self, client: &mut Client) -> Result<(), Failure> {
        let end = self.first_key + KEYS_PER_WRITER;
        let nothing = format!("id in {:?}", (end - PROBE_KEYS..end).collect::<Vec<_>>());
        let patience = Instant::now() + RECOVERY_PATIENCE;
        loop {
            match client.delete(&self.collection, &nothing).await {
                Err(CallError::Refused { code, .. }) if Instant::now() < patience => {
                    *self.refusals.entry(code).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                outcome => return outcome.map(drop).map_err(Failure::from),
            }
        }
    }

    fn some_keys(&mut self, at_most: usize) -> Vec<i64> {
        let count = self.random.random_range(1..=at_most);
        let mut keys: Vec<i64> =
            (0..count).map(|_| self.first_key + self.random.random_range(0..KEYS_USED)).collect();
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

enum Failure {
    /// The server gave no answer.
    Gone,
    /// The server answered wrongly.
    Wrong(anyhow::Error),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Lost(_) => Self::Gone,
            refused @ CallError::Refused { .. } => Self::Wrong(refused.into()),
        }
    }
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Wrong(anyhow::anyhow!(otherwise()))) }
}

/// Connects to a server that is only just starting.
///
/// # Errors
/// If it does not answer in time.
pub async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    let connected = tokio::time::timeout(CONNECT_PATIENCE, async {
        loop {
            if let Ok(client) = Client::connect(address).await {
                return client;
            }
            tokio::task::yield_now().await;
        }
    });
    connected.await.context("server does not answer")
}

/// Makes the collection that writers work on, indexed and loaded.
///
/// # Errors
/// If the server refuses.
pub async fn prepare(client: &mut Client, collection: &str, shards: i32) -> anyhow::Result<()> {
    client.create_collection(collection, shards).await?;
    client.create_index(collection).await?;
    client.load(collection).await?;
    ensure!(client.has_collection(collection).await?, "collection {collection} is not there");
    Ok(())
}
