//! A writer of definitions: collections that come, are filled, indexed, and go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::{CallError, Client, Row};
use crate::workload::Stopped;

const ROWS: i64 = 1200;
/// Every so many rows one is deleted again.
const DELETED: usize = 7;
/// Rows per request: the first are enough for an index to be built.
const BATCH: usize = 1100;
/// Deletes in files of their own: enough for them to be folded into the segments.
const DELETES: usize = 17;
/// A tolerant definer is refused for no longer than this.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a collection must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Its creation was not answered: it may be there, and is then empty.
    Creating,
    /// It has rows `0..rows`, or up to a batch more; some of those that are to be deleted may be.
    Filling { rows: i64 },
    /// It is complete.
    Complete,
    /// Its drop was not answered: it may be gone; if not, it is complete.
    Dropping,
    /// The same, but it is not complete: it was looked at and found right before.
    Discarding,
}

/// Creates, fills, indexes and drops collections, one at a time, two being left.
#[derive(Debug)]
pub struct Definer {
    prefix: String,
    next: u64,
    present: Vec<(String, Life)>,
    cycles: u64,
    tolerant: bool,
}

impl Definer {
    /// One whose collections have names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), next: 0, present: Vec::new(), cycles: 0, tolerant: false }
    }

    /// One who may be refused for a while, and then settles what is unknown and goes on.
    #[must_use]
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// Number of collections made.
    #[must_use]
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Settles what is unknown, then makes and drops `cycles` collections, or until the server is gone.
    ///
    /// # Errors
    /// If the server answers wrongly.
    pub async fn work(&mut self, address: SocketAddr, cycles: u64) -> anyhow::Result<Stopped> {
        let Ok(mut client) = Client::connect(address).await else { return Ok(Stopped::ServerGone) };
        let until = self.cycles.saturating_add(cycles);
        let mut success = (self.cycles, Instant::now());
        loop {
            let error = match self.run(&mut client, until).await {
                Ok(()) => return Ok(Stopped::Done),
                Err(error) => error,
            };
            if success.0 < self.cycles {
                success = (self.cycles, Instant::now());
            }
            match error.downcast_ref() {
                Some(CallError::Lost(_)) => return Ok(Stopped::ServerGone),
                Some(CallError::Refused { .. }) if self.tolerant && success.1.elapsed() < PATIENCE => {
                    match self.recover(&mut client).await {
                        Err(CallError::Lost(_)) => return Ok(Stopped::ServerGone),
                        recovered => recovered?,
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// Waits until commands are taken: only then is it settled what became of a failed one.
    async fn recover(&self, client: &mut Client) -> Result<(), CallError> {
        let name = format!("probe_{}", self.prefix);
        let patience = Instant::now() + PATIENCE;
        loop {
            let outcome = match client.create_collection(&name, 1).await {
                Ok(_) => client.drop_collection(&name).await.map(drop),
                refused => refused.map(drop),
            };
            match outcome {
                Err(CallError::Refused { .. }) if Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn run(&mut self, client: &mut Client, until: u64) -> anyhow::Result<()> {
        self.check(client).await?;
        while self.cycles < until {
            self.make(client).await?;
            self.cycles += 1;
            if self.present.len() > 2 {
                self.drop_oldest(client).await?;
            }
        }
        Ok(())
    }

    async fn make(&mut self, client: &mut Client) -> anyhow::Result<()> {
        let name = format!("{}_{}", self.prefix, self.next);
        self.next += 1;
        self.present.push((name.clone(), Life::Creating));
        client.create_collection(&name, 1).await.context("create")?;
        self.set(&name, Life::Filling { rows: 0 });
        client.create_index(&name).await.context("index")?;
        let rows: Vec<Row> = (0..ROWS).map(|id| Row { id, version: id, tag: name.clone() }).collect();
        for batch in rows.chunks(BATCH) {
            client.insert(&name, batch).await.context("insert")?;
            self.set(&name, Life::Filling { rows: batch.last().map_or(0, |row| row.id + 1) });
        }
        client.flush(&name).await.context("flush")?;
        let deleted: Vec<i64> = (0..ROWS).step_by(DELETED).collect();
        for some in deleted.chunks(deleted.len().div_ceil(DELETES)) {
            client.delete(&name, &format!("id in {some:?}")).await.context("delete")?;
            client.flush(&name).await.context("flush deletes")?;
        }
        client.load(&name).await.context("load")?;
        self.set(&name, Life::Complete);
        check_complete(client, &name).await?;
        indexed(client, &name).await?;
        check_complete(client, &name).await
    }

    async fn drop_oldest(&mut self, client: &mut Client) -> anyhow::Result<()> {
        let name = self.present[0].0.clone();
        self.set(&name, Life::Dropping);
        client.drop_collection(&name).await.context("drop")?;
        self.present.retain(|(present, _)| *present != name);
        ensure!(!client.has_collection(&name).await?, "dropped collection {name} is still there");
        Ok(())
    }

    /// Compares every collection with what it must be; those that were left half made are dropped.
    ///
    /// # Errors
    /// If one is not as it must be, or the connection is lost.
    pub async fn check(&mut self, client: &mut Client) -> anyhow::Result<()> {
        let found = client.collections().await?;
        let unknown = found.iter().filter(|name| name.starts_with(&format!("{}_", self.prefix)));
        for name in unknown {
            ensure!(self.present.iter().any(|(known, _)| known == name), "collection {name} came back");
        }
        for (name, life) in self.present.clone() {
            let exists = found.contains(&name);
            let gone = matches!(life, Life::Creating | Life::Dropping | Life::Discarding);
            ensure!(exists || gone, "collection {name} is gone, it was {life:?}");
            if !exists {
                self.present.retain(|(known, _)| *known != name);
                continue;
            }
            match life {
                Life::Complete => check_complete(client, &name).await?,
                Life::Creating => self.check_partial(client, &name, 0, 0).await?,
                Life::Filling { rows } => {
                    self.check_partial(client, &name, rows, rows + BATCH as i64).await?
                }
                Life::Dropping => {
                    check_complete(client, &name).await?;
                    self.discard(client, &name).await?;
                }
                Life::Discarding => self.discard(client, &name).await?,
            }
        }
        Ok(())
    }

    /// A collection being filled has the rows that were acknowledged, and at most one batch more; some
    /// of the deletes may have been made.
    async fn check_partial(
        &mut self,
        client: &mut Client,
        name: &str,
        least: i64,
        most: i64,
    ) -> anyhow::Result<()> {
        client.create_index(name).await.context("index a half made collection")?;
        client.load(name).await.context("load a half made collection")?;
        let rows = client.query(name, "id >= 0").await?;
        let kept = rows.iter().filter(|row| is_kept(&row.id)).count();
        let expected = |count: i64| (0..count.min(ROWS)).filter(is_kept).count();
        ensure!(
            kept == expected(least) || kept == expected(most),
            "collection {name}: {kept} rows, expected {} or {}",
            expected(least),
            expected(most)
        );
        self.discard(client, name).await
    }

    async fn discard(&mut self, client: &mut Client, name: &str) -> anyhow::Result<()> {
        self.set(name, Life::Discarding);
        client.drop_collection(name).await.context("drop a half made collection")?;
        self.present.retain(|(known, _)| known != name);
        Ok(())
    }

    fn set(&mut self, name: &str, life: Life) {
        for (_, state) in self.present.iter_mut().filter(|(known, _)| known == name) {
            *state = life;
        }
    }
}

fn is_kept(id: &i64) -> bool {
    id % DELETED as i64 != 0
}

/// Waits until all rows are indexed.
async fn indexed(client: &mut Client, name: &str) -> anyhow::Result<()> {
    let built = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let (indexed, total) = client.index_progress(name).await?;
            if total > 0 && indexed >= total {
                return Ok::<_, CallError>(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    Ok(built.await.with_context(|| format!("index of {name} is not built"))??)
}

async fn check_complete(client: &mut Client, name: &str) -> anyhow::Result<()> {
    let expected: Vec<i64> = (0..ROWS).filter(is_kept).collect();
    let rows = client.query(name, "id >= 0").await.with_context(|| format!("query {name}"))?;
    let found: Vec<i64> = rows.iter().map(|row| row.id).collect();
    ensure!(found == expected, "collection {name}: {} rows, expected {}", found.len(), expected.len());
    let near = Row { id: 1100, version: 1100, tag: String::new() };
    let hits = client.search(name, &near, 1).await.with_context(|| format!("search {name}"))?;
    ensure!(hits == [(1100, 0.0)], "collection {name}: search found {hits:?}");
    Ok(())
}
