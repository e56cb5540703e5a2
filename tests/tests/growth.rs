//! Nothing grows for ever: what is deleted or dropped gives its space back, and files without an owner go.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use redkite_tests::client::{Client, Row};
use redkite_tests::files;
use redkite_tests::server::{Options, Server};
use redkite_tests::workload;

/// Housekeeping is done within this time after the last write.
const PATIENCE: Duration = Duration::from_secs(40);
const CYCLES: i64 = 60;
const ROWS: i64 = 400;

fn rows(ids: std::ops::Range<i64>) -> Vec<Row> {
    ids.map(|id| Row { id, version: 0, tag: format!("tag-{id}") }).collect()
}

/// Waits until a condition holds; what it said last otherwise.
async fn settles<F>(what: &str, mut check: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Option<String>>>,
{
    let mut problem = String::new();
    let settled = async {
        while let Some(said) = check().await? {
            problem = said;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(PATIENCE, settled).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("{what}: {problem}"),
    }
}

/// Files of segments and indexes belong to segments that count; `None` if so.
async fn orphans(client: &mut Client, collection: &str, objects: &Path) -> anyhow::Result<Option<String>> {
    let segments: BTreeSet<String> =
        client.persistent_segments(collection).await?.into_iter().map(|id| id.to_string()).collect();
    let mut found = BTreeSet::new();
    let mut orphans = Vec::new();
    for file in files::below(objects)? {
        let parts: Vec<_> = file.strip_prefix(objects)?.iter().map(|part| part.to_string_lossy()).collect();
        match (&*parts[0], parts.get(2)) {
            ("segments" | "indexes", Some(segment)) if segments.contains(&**segment) => {
                found.insert(segment.to_string());
            }
            ("deltas", _) => {}
            _ => orphans.push(file.clone()),
        }
    }
    let missing: Vec<_> = segments.difference(&found).collect();
    let wrong = !orphans.is_empty() || !missing.is_empty();
    Ok(wrong.then(|| format!("without owner: {orphans:?}; missing: {missing:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_or_dropped_gives_its_space_back() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (objects, wal) = (directory.path().join("objects"), directory.path().join("wal"));
    // Longer than any flush takes from the first byte of a file to its record.
    let settings = Options::busy().set("dataCoord.gc.missingTolerance=10s");
    let server = Server::start(directory.path(), &settings).await?;
    let mut client = workload::connect(server.address).await?;
    workload::prepare(&mut client, "lasting", 2).await?;
    for cycle in 0..CYCLES {
        let first = cycle * ROWS;
        client.insert("lasting", &rows(first..first + ROWS)).await?;
        client.delete("lasting", &format!("id < {}", first - ROWS)).await?;
        client.flush("lasting").await?;
        let passing = format!("passing_{cycle}");
        workload::prepare(&mut client, &passing, 1).await?;
        client.insert(&passing, &rows(0..ROWS)).await?;
        if cycle % 2 == 0 {
            client.flush(&passing).await?;
        }
        client.drop_collection(&passing).await?;
    }
    ensure!(client.query("lasting", "id >= 0").await? == rows((CYCLES - 2) * ROWS..CYCLES * ROWS), "rows");
    settles("files of segments", || {
        let (mut client, objects) = (client.clone(), objects.clone());
        async move { orphans(&mut client, "lasting", &objects).await }
    })
    .await?;
    // 800 rows of 56 bytes and their index are left, of 48,000 that were written.
    settles("space of a small collection", || async {
        let sizes = (files::bytes(&objects)?, files::bytes(&wal)?);
        Ok((sizes.0 > 2 << 20 || sizes.1 > 256 << 10).then(|| format!("{sizes:?} bytes of objects and logs")))
    })
    .await?;
    let metastore = files::bytes(&directory.path().join("meta"))?;
    ensure!(metastore < 16 << 20, "the metastore has {metastore} bytes");

    // Deletes are folded into segments when there are many files of them, or after ten minutes.
    client.delete("lasting", "id >= 0").await?;
    for _ in 0..20 {
        client.insert("lasting", &rows(0..20)).await?;
        client.delete("lasting", "id >= 0").await?;
        client.flush("lasting").await?;
    }
    settles("space of an empty collection", || async {
        let left = files::bytes(&objects)?;
        Ok((left > 100 << 10).then(|| format!("{left} bytes of objects: {:?}", files::below(&objects))))
    })
    .await?;
    client.insert("lasting", &rows(0..ROWS)).await?;
    client.drop_collection("lasting").await?;
    settles("space of dropped collections", || async {
        let left = [files::below(&objects)?, files::below(&wal)?].concat();
        Ok((!left.is_empty()).then(|| format!("{left:?}")))
    })
    .await?;
    let left: Vec<_> = std::fs::read_dir(&wal)?.collect::<Result<_, _>>()?;
    ensure!(left.is_empty(), "directories of logs: {left:?}");
    ensure!(server.health().await?.0, "not healthy");
    server.terminate(Duration::from_secs(10)).await.context("stop").map(drop)
}
