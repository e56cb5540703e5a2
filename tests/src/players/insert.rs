//! Inserts row after row: how long each takes is how long writes are held up.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Calls, INSERTED, Stage};
use crate::client::{Client, Row};

/// Every so many rows the one just inserted is searched.
const SEARCHED: i64 = 4;

/// Inserts until all is over; then every row is there, once.
pub(super) async fn run(mut stage: Stage, calls: Calls) -> anyhow::Result<()> {
    let mut told = Told::default();
    while !stage.is_over() {
        let proxy = stage.proxy(0);
        let Ok(mut client) = Client::connect(proxy).await else {
            stage.died(proxy).await?;
            continue;
        };
        while !stage.is_over() {
            let row = Row { id: told.next, version: 1, tag: "probe".to_owned() };
            told.next += 1;
            let begun = Instant::now();
            match client.insert(INSERTED, std::slice::from_ref(&row)).await {
                Ok(result) => {
                    calls.answered(begun);
                    told.acknowledged(result.timestamp)?;
                }
                Err(error) if error.code().is_none() => {
                    told.unknown += 1;
                    stage.died(proxy).await.with_context(|| format!("insert: {error}"))?;
                    break;
                }
                Err(error) => anyhow::bail!("insert: {error}"),
            }
            if row.id % SEARCHED == 0 {
                match client.search(INSERTED, &row, 1).await {
                    Ok(hits) => ensure!(hits == [(row.id, 0.0)], "search for {row:?}: {hits:?}"),
                    Err(error) if error.code().is_none() => {
                        stage.died(proxy).await.with_context(|| format!("search: {error}"))?;
                        break;
                    }
                    Err(error) => anyhow::bail!("search for a row just inserted: {error}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut client = Client::connect(stage.proxy(0)).await?;
    told.check(client.count(INSERTED, "id >= 0").await?)
}

/// What the inserter knows.
#[derive(Default)]
struct Told {
    next: i64,
    acknowledged: i64,
    /// Rows whose insertion was not answered.
    unknown: i64,
    last: u64,
}

impl Told {
    /// Times of writes rise, whoever is active.
    fn acknowledged(&mut self, timestamp: u64) -> anyhow::Result<()> {
        ensure!(timestamp > self.last, "timestamp {timestamp} after {}", self.last);
        self.last = timestamp;
        self.acknowledged += 1;
        Ok(())
    }

    fn check(&self, found: i64) -> anyhow::Result<()> {
        let expected = self.acknowledged..=self.acknowledged + self.unknown;
        ensure!(expected.contains(&found), "{found} rows are there, expected {expected:?}");
        Ok(())
    }
}
