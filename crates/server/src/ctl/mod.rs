//! What does the cluster look like? `redkite ctl`.
//!
//! Records are read from the metastore alone, which also works when every role is down. Only coordinators are
//! asked themselves: whether they live is what one wants to know.

mod balance;
mod coordinators;
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

use crate::settings::Settings;
use crate::{cluster, front};
use balance::{Balance, Drain};
use coordinators::{Desk, Handover, OfRole};
use table::Table;
use tables::Picture;

/// How long etcd may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to show or do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum What {
    /// Coordinators: who is active, who stands by, and how far behind.
    #[command(alias = "roles")]
    Coordinators,
    /// Elections of coordinators, with their reasons.
    Elections(OfRole),
    /// Hands a coordinator's role over to another process.
    Handover(Handover),
    /// Balancing of query nodes: plans, moves, history.
    #[command(subcommand)]
    Balance(Balance),
    /// Empties a query node, and waits until it is. Refused if the others cannot hold what is on it.
    Drain(Drain),
    #[command(flatten)]
    Records(Records),
}

/// What to show of the records.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Records {
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

/// Does it, and prints what there is to say.
pub(crate) fn run(settings: &Settings, what: &What, json: bool) -> anyhow::Result<()> {
    front::block_on(async {
        let tasks = Tasks::new("ctl");
        let table = match what {
            What::Records(records) => tables::draw(&look(settings, &tasks).await?, *records),
            What::Coordinators => desk(settings, &tasks).await?.coordinators().await?,
            What::Elections(of) => desk(settings, &tasks).await?.elections(of).await?,
            What::Balance(what) => desk(settings, &tasks).await?.balance(what).await?,
            What::Drain(what) => desk(settings, &tasks).await?.drain(what).await?,
            What::Handover(handover) => {
                let by = format!("ctl on {}", cluster::host_name());
                desk(settings, &tasks).await?.hand_over(handover, &by).await?
            }
        };
        let text = if json { table.to_json() } else { table.to_text() };
        print(&text)?;
        tasks.stop(Duration::from_millis(100)).await;
        Ok(())
    })
}

/// The records and sessions of now.
async fn look(settings: &Settings, tasks: &Tasks) -> anyhow::Result<Picture> {
    let looking = async {
        let Desk { kv, sessions, .. } = sit_down(settings, tasks).await?;
        let view = MetadataView::start(kv, tasks).await?;
        Ok(Picture { metadata: view.read(Clone::clone), sessions: sessions.current() })
    };
    in_time(settings, looking).await
}

async fn desk(settings: &Settings, tasks: &Tasks) -> anyhow::Result<Desk> {
    in_time(settings, sit_down(settings, tasks)).await
}

async fn sit_down(settings: &Settings, tasks: &Tasks) -> anyhow::Result<Desk> {
    let kv: Arc<dyn Kv> = EtcdKv::new(&settings.etcd.connection, &settings.etcd.prefix())?;
    let sessions = SessionsView::start(kv.clone(), tasks).await?;
    Ok(Desk { kv, sessions, rpc: settings.common.rpc.clone(), tasks: tasks.clone() })
}

async fn in_time<T>(
    settings: &Settings,
    looking: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let endpoints = settings.etcd.connection.endpoints.join(",");
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(looked) => looked.with_context(|| format!("etcd at {endpoints}")),
        Err(_) => bail!("etcd at {endpoints} does not answer"),
    }
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
