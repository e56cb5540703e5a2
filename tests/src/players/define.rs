//! Makes, indexes, fills, loads, releases and drops collections without a pause: how long commands wait.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, ensure};

use super::{Calls, Stage};
use crate::client::{CallResult, Client, Row};

const ROWS: i64 = 10;
/// Collections left before the oldest is dropped.
const LEFT: usize = 2;

/// One who defines.
#[derive(Debug)]
pub(super) struct Definer {
    number: usize,
    commands: Calls,
    loads: Calls,
    next: u64,
    present: VecDeque<String>,
}

impl Definer {
    pub(super) fn new(number: usize, commands: Calls, loads: Calls) -> Self {
        Self { number, commands, loads, next: 0, present: VecDeque::new() }
    }

    /// Defines until all is over; then exactly those collections are there that must be.
    pub(super) async fn run(mut self, stage: Stage) -> anyhow::Result<()> {
        let proxy = stage.proxy(self.number);
        let mut client = Client::connect(proxy).await?;
        while !stage.is_over() {
            let name = format!("defined_{}_{}", self.number, self.next);
            self.next += 1;
            self.make(&mut client, &name).await.with_context(|| format!("collection {name}"))?;
            self.present.push_back(name);
            if self.present.len() > LEFT
                && let Some(name) = self.present.pop_front()
            {
                self.drop(&mut client, &name).await.with_context(|| format!("collection {name}"))?;
            }
        }
        let own = format!("defined_{}_", self.number);
        let mut found = client.collections().await?;
        found.retain(|name| name.starts_with(&own));
        found.sort();
        let mut expected = Vec::from(self.present);
        expected.sort();
        ensure!(found == expected, "there are {found:?}, expected {expected:?}");
        Ok(())
    }

    async fn make(&self, client: &mut Client, name: &str) -> anyhow::Result<()> {
        self.timed(client.create_collection(name, 1)).await.context("create")?;
        ensure!(client.has_collection(name).await?, "it is not there");
        self.timed(client.create_index(name)).await.context("index")?;
        let rows: Vec<Row> = (0..ROWS).map(|id| Row { id, version: 1, tag: name.to_owned() }).collect();
        client.insert(name, &rows).await.context("insert")?;
        let begun = Instant::now();
        self.timed(client.begin_load(name, 1)).await.context("load")?;
        client.loaded(name).await.context("load")?;
        let found = client.count(name, "id >= 0").await.context("count")?;
        self.loads.answered(begun);
        ensure!(found == ROWS, "{found} rows are there, expected {ROWS}");
        Ok(())
    }

    async fn drop(&self, client: &mut Client, name: &str) -> anyhow::Result<()> {
        let found = client.query(name, "id >= 0").await.context("query")?;
        ensure!(found.len() == ROWS as usize, "{} rows are there, expected {ROWS}", found.len());
        self.timed(client.release(name)).await.context("release")?;
        self.timed(client.drop_collection(name)).await.context("drop")?;
        ensure!(!client.has_collection(name).await?, "it is still there");
        Ok(())
    }

    async fn timed<T>(&self, call: impl Future<Output = CallResult<T>>) -> CallResult<T> {
        let begun = Instant::now();
        let answer = call.await?;
        self.commands.answered(begun);
        Ok(answer)
    }
}
