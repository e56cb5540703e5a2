//! Restart: quick with many collections, clean when told to stop.

use std::time::{Duration, Instant};

use anyhow::ensure;
use redkite_tests::client::Row;
use redkite_tests::server::{Options, Server};
use redkite_tests::workload;

const COLLECTIONS: usize = 200;

fn rows() -> Vec<Row> {
    (0..20).map(|id| Row { id, version: 3, tag: format!("tag-{id}") }).collect()
}

/// Generous: tests of a loaded machine must not fail; what it took is printed.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_collections_are_back_soon() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut server = Server::start(directory.path(), &Options::default()).await?;
    let mut client = workload::connect(server.address).await?;
    let names: Vec<String> = (0..COLLECTIONS).map(|number| format!("small_{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        workload::prepare(&mut client, name, 1).await?;
        client.insert(name, &rows()).await?;
        if number % 2 == 0 {
            client.flush(name).await?;
        }
    }
    for how in ["kill", "stop"] {
        if how == "kill" {
            server.kill().await?;
        } else {
            let stopping = Instant::now();
            let status = server.terminate(Duration::from_secs(10)).await?;
            eprintln!("stopped after {:?}", stopping.elapsed());
            ensure!(status.success(), "stopped with {status}");
        }
        let began = Instant::now();
        server = Server::start(directory.path(), &Options::default()).await?;
        let listens = began.elapsed();
        let mut client = workload::connect(server.address).await?;
        for name in &names {
            ensure!(client.query(name, "id >= 0").await? == rows(), "rows of {name} after a {how}");
        }
        let answered = began.elapsed();
        eprintln!(
            "{COLLECTIONS} collections after a {how}: listens after {listens:?}, all read after {answered:?}"
        );
        ensure!(answered < LIMIT, "{COLLECTIONS} collections are read {answered:?} after a {how}");
        ensure!(server.health().await?.0, "not healthy after a {how}");
    }
    Ok(())
}
