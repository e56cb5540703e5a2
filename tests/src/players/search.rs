//! Searches rows that do not change, over and over; every answer must be right.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Calls, Stage};
use crate::client::{Client, Row};

/// Rows of a collection that is only read.
const ROWS: i64 = 2000;

fn row(id: i64) -> Row {
    Row { id, version: 1, tag: "read".to_owned() }
}

/// A collection of sealed and indexed rows.
pub(super) async fn prepare(client: &mut Client, collection: &str, replicas: i32) -> anyhow::Result<()> {
    client.create_collection(collection, 2).await?;
    client.create_index(collection).await?;
    for part in (0..ROWS).collect::<Vec<_>>().chunks(500) {
        let rows: Vec<Row> = part.iter().map(|id| row(*id)).collect();
        client.insert(collection, &rows).await?;
        client.flush(collection).await?;
    }
    client.load_replicas(collection, replicas).await?;
    Ok(())
}

/// Searches until all is over.
pub(super) async fn run(
    collection: &'static str,
    number: usize,
    mut stage: Stage,
    calls: Calls,
) -> anyhow::Result<()> {
    let mut next = 0;
    while !stage.is_over() {
        let proxy = stage.proxy(number);
        let Ok(mut client) = Client::connect(proxy).await else {
            stage.died(proxy).await?;
            continue;
        };
        while !stage.is_over() {
            let row = row(next * 37 % ROWS);
            next += 1;
            let begun = Instant::now();
            match client.search(collection, &row, 2).await {
                Ok(hits) => {
                    ensure!(hits.first() == Some(&(row.id, 0.0)), "search for {row:?} found {hits:?}")
                }
                Err(error) if error.code().is_none() => {
                    stage.died(proxy).await.with_context(|| format!("search: {error}"))?;
                    break;
                }
                Err(error) => anyhow::bail!("search of {collection}: {error}"),
            }
            calls.answered(begun);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(())
}
