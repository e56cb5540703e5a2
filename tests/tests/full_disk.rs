//! A disk that is full, or cannot be written: a clear refusal, nothing lost, and work goes on with room.
//!
//! Each test mounts a small file system of its own and fails where that is not allowed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use redkite_tests::cast::{Cast, Share};
use redkite_tests::client::{CallError, Client, Row};
use redkite_tests::disk::SmallDisk;
use redkite_tests::server::{EndedEarly, Options, Server};
use redkite_tests::workload::{self, DISK_FULL};

/// Something that must happen, happens within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Milvus: `ErrTimeout`. Nobody knows whether a command that ends so has been carried out.
const TIMEOUT: i32 = 10_001;
/// Rows per request of the filler.
const BATCH: i64 = 4000;

/// Inserts until the server refuses; how it does.
async fn insert_until_refused(client: &mut Client, collection: &str) -> anyhow::Result<CallError> {
    for batch in 0..1000 {
        let ids = batch * BATCH..(batch + 1) * BATCH;
        let rows: Vec<Row> = ids.map(|id| Row { id, version: 0, tag: "x".repeat(60) }).collect();
        if let Err(error) = client.upsert(collection, &rows).await {
            return Ok(error);
        }
    }
    anyhow::bail!("the disk is not getting full")
}

/// Tries a call until it works.
async fn until_it_works<T, F>(what: &str, mut call: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, CallError>>,
{
    let works = async {
        loop {
            match call().await {
                Ok(value) => return Ok(value),
                Err(CallError::Refused { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(lost) => return Err(lost),
            }
        }
    };
    Ok(tokio::time::timeout(PATIENCE, works)
        .await
        .with_context(|| format!("{what} does not work again"))??)
}

fn is_disk_full(error: &CallError) -> anyhow::Result<()> {
    let CallError::Refused { code, reason } = error else { anyhow::bail!("{error}") };
    ensure!(*code == DISK_FULL, "code {code}: {reason}");
    ensure!(reason.starts_with("disk limit exceeded: "), "{reason}");
    Ok(())
}

/// A command during which the disk became full may have been carried out: it is not refused, but not confirmed.
fn names_the_disk(error: &CallError) -> anyhow::Result<()> {
    match error {
        CallError::Refused { code: TIMEOUT, reason } if reason.contains("No space left on device") => Ok(()),
        error => is_disk_full(error),
    }
}

async fn until_healthy(server: &Server) -> anyhow::Result<()> {
    let mut report = serde_json::Value::Null;
    let healthy = async {
        loop {
            let (well, said) = server.health().await?;
            if well {
                return anyhow::Ok(());
            }
            report = said;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let healthy = tokio::time::timeout(PATIENCE, healthy).await;
    healthy.map_err(|_| anyhow::anyhow!("still not healthy: {report}"))?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_on_a_full_disk_are_refused_and_nothing_is_lost() -> anyhow::Result<()> {
    let disk = SmallDisk::mount(96 << 20)?;
    let directory = disk.path().join("data");
    let mut cast = Cast::enter(&directory, 1, true).await?;
    let server = Server::start(&directory, &Options::busy()).await?;
    let mut client = workload::connect(server.address).await?;
    workload::prepare(&mut client, "probe", 1).await?;
    for _ in 0..2 {
        let full = async {
            let mut ballast = disk.fill()?;
            is_disk_full(&insert_until_refused(&mut client, "probe").await?).context("insert")?;
            // Background work fails too, for a while.
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                ballast.grow()?;
            }
            let error = insert_until_refused(&mut client, "probe").await?;
            is_disk_full(&error).context("insert once more")?;
            ensure!(client.count("probe", "id >= 0").await? >= 0, "reads go on");
            if let Err(error) = client.create_collection("more", 1).await {
                names_the_disk(&error).context("create a collection")?;
            }
            drop(ballast);
            anyhow::Ok(())
        };
        let (worked, full) = tokio::join!(cast.work(&server, Share { operations: 40, cycles: 1 }), full);
        full?;
        worked?;
        cast.go_on(&server).await.context("with room again")?;
        until_healthy(&server).await?;
        if client.has_collection("more").await? {
            client.drop_collection("more").await?;
        }
    }
    let ballast = disk.fill()?;
    insert_until_refused(&mut client, "probe").await?;
    server.kill().await?;
    // Whether it starts without any room or not: nothing is lost.
    match Server::start(&directory, &Options::busy()).await {
        Ok(server) => server.kill().await?,
        Err(error) => is_clear_refusal(&error, &directory, "No space left")?,
    }
    disk.resize(192 << 20)?;
    let server = Server::start(&directory, &Options::busy()).await?;
    cast.go_on(&server).await.context("on a larger disk")?;
    drop(ballast);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_collection_makes_room_on_a_full_disk() -> anyhow::Result<()> {
    let disk = SmallDisk::mount(48 << 20)?;
    let directory = disk.path().join("data");
    let server = Server::start(&directory, &Options::busy()).await?;
    let mut client = workload::connect(server.address).await?;
    workload::prepare(&mut client, "kept", 1).await?;
    let rows: Vec<Row> = (0..100).map(|id| Row { id, version: 0, tag: "kept".to_owned() }).collect();
    client.insert("kept", &rows).await?;
    workload::prepare(&mut client, "large", 1).await?;
    is_disk_full(&insert_until_refused(&mut client, "large").await?)?;
    let drop_large = || {
        let mut client = client.clone();
        async move { client.drop_collection("large").await }
    };
    until_it_works("drop", drop_large).await?;
    let insert = || {
        let mut client = client.clone();
        async move { client.insert("kept", &[Row { id: 100, version: 0, tag: "kept".to_owned() }]).await }
    };
    until_it_works("insert", insert).await?;
    ensure!(client.count("kept", "id >= 0").await? == 101, "rows are lost");
    until_healthy(&server).await
}

fn is_clear_refusal(error: &anyhow::Error, path: &Path, cause: &str) -> anyhow::Result<()> {
    let Some(ended) = error.downcast_ref::<EndedEarly>() else { anyhow::bail!("{error:#}") };
    ensure!(ended.status.code() == Some(1), "{}", ended.status);
    let last = ended.said.lines().last().unwrap_or_default();
    let is_clear =
        last.starts_with("redkite: ") && last.contains(cause) && last.contains(&*path.to_string_lossy());
    ensure!(is_clear, "it says: {last}");
    ensure!(!ended.said.contains("panicked"), "{}", ended.said);
    Ok(())
}

async fn refusal(directory: &Path) -> anyhow::Result<anyhow::Error> {
    match Server::start(directory, &Options::default()).await {
        Ok(_) => anyhow::bail!("it started on {}", directory.display()),
        Err(error) => Ok(error),
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused_with_its_name() -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    is_clear_refusal(&refusal(file.path()).await?, file.path(), "File exists")?;
    is_clear_refusal(&refusal(&file.path().join("below")).await?, file.path(), "Not a directory")?;

    let disk = SmallDisk::mount(64 << 20)?;
    let directory = disk.path().join("data");
    Server::start(&directory, &Options::default()).await?.kill().await?;
    disk.make_read_only()?;
    is_clear_refusal(&refusal(&directory).await?, &directory, "Read-only file system")?;
    is_clear_refusal(&refusal(&disk.path().join("new")).await?, disk.path(), "Read-only file system")
}

#[tokio::test]
async fn a_directory_without_room_is_refused_with_its_name() -> anyhow::Result<()> {
    let disk = SmallDisk::mount(16 << 10)?;
    is_clear_refusal(&refusal(&disk.path().join("data")).await?, disk.path(), "No space left")?;
    disk.resize(64 << 20)?;
    let server = Server::start(&disk.path().join("data"), &Options::default()).await?;
    let mut client = workload::connect(server.address).await?;
    workload::prepare(&mut client, "birds", 1).await
}
