//! What does the cluster look like? `redkite ctl`, read from the metastore alone.
//!
//! No role is asked, so it also works when all of them are down.

mod table;
mod tables;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use redkite_catalog::MetadataView;
use redkite_cluster::Kv;
use redkite_cluster::kv::etcd::EtcdKv;
use redkite_cluster::sessions::SessionsView;
use redkite_runtime::Tasks;
use std::sync::Arc;

use crate::front;
use crate::settings::Settings;
use table::Table;
use tables::Picture;

/// How long etcd may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to show.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum What {
    /// Coordinators: who is active, who stands by.
    Roles,
    /// Every node with its role, address and state.
    Nodes,
    /// Sessions as they are recorded, with their leases.
    Sessions,
    /// Shards with their leaders and epochs.
    Shards(Of),
    /// Segments with their places and sizes.
    Segments(Of),
    /// Background work that is given out.
    Tasks,
}

/// Which collection.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Of {
    /// Only of the collection with this id.
    #[arg(long, value_name = "ID")]
    pub(crate) collection: Option<i64>,
}

/// Prints it.
pub(crate) fn run(settings: &Settings, what: What, json: bool) -> anyhow::Result<()> {
    front::block_on(async {
        let tasks = Tasks::new("ctl");
        let endpoints = settings.etcd.connection.endpoints.join(",");
        let looked = tokio::time::timeout(PATIENCE, look(settings, &tasks)).await;
        let picture = match looked {
            Ok(picture) => picture.with_context(|| format!("etcd at {endpoints}"))?,
            Err(_) => bail!("etcd at {endpoints} does not answer"),
        };
        let table = tables::draw(&picture, what);
        let text = if json { table.to_json() } else { table.to_text() };
        print(&text)?;
        tasks.stop(Duration::from_millis(100)).await;
        Ok(())
    })
}

async fn look(settings: &Settings, tasks: &Tasks) -> anyhow::Result<Picture> {
    let kv: Arc<dyn Kv> = EtcdKv::new(&settings.etcd.connection, &settings.etcd.prefix())?;
    let view = MetadataView::start(kv.clone(), tasks).await?;
    let sessions = SessionsView::start(kv, tasks).await?;
    Ok(Picture { metadata: view.read(Clone::clone), sessions: sessions.current() })
}

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Such as `redkite ctl segments | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

impl Table {
    fn to_json(&self) -> String {
        let rows: Vec<serde_json::Map<String, serde_json::Value>> = self
            .rows
            .iter()
            .map(|row| {
                let cells = self.columns.iter().zip(row);
                cells.map(|(column, cell)| ((*column).to_owned(), cell.to_json())).collect()
            })
            .collect();
        format!("{}\n", serde_json::to_string_pretty(&rows).expect("text and numbers are JSON"))
    }
}
