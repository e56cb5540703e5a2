//! Balancing of query nodes: what would be done, what is done, what was done, and what somebody wants done.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use redkite_balance::{Move, NodeState, Plan, Spread};
use redkite_catalog::MovedRecord;
use redkite_rpc::{Network, balancing_at, role};
use redkite_service::{BalanceAnswer, BalanceCommand, BalanceStatus, NodeStatus, TransferRequest};
use redkite_types::{CollectionId, NodeId, SegmentId};
use tokio::time::{Instant, timeout};

use super::coordinators::Desk;
use super::table::{Cell, Table};

/// How long the query coordinator may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often progress is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// What to show or do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Balance {
    /// What would make nodes even now; nothing is done.
    Plan,
    /// Nodes, with what they hold and use; moves under way.
    Status,
    /// Moves that have ended, the latest first.
    History {
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Stops automatic balancing, also over failovers. Nodes that leave are still emptied.
    Suspend,
    /// Automatic balancing goes on.
    Resume,
    /// Moves segments, and waits until they have moved. They stay there.
    Move(Wish),
}

/// Segments that are to be elsewhere.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wish {
    /// The node that has them.
    #[arg(long)]
    from: i64,
    /// A node that takes them; may be repeated. Default: any of the replica's.
    #[arg(long)]
    to: Vec<i64>,
    /// Only of the collection with this id.
    #[arg(long, value_name = "ID")]
    collection: Option<i64>,
    /// A segment; may be repeated. Default: all.
    #[arg(long, value_name = "ID")]
    segment: Vec<i64>,
}

/// A node that is to be emptied.
#[derive(Clone, Debug, Args)]
pub(crate) struct Drain {
    /// The query node.
    node: i64,
    /// Give up waiting after so many seconds. The drain goes on.
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Use the node again.
    #[arg(long)]
    cancel: bool,
    /// Do not wait until it is empty.
    #[arg(long)]
    no_wait: bool,
}

impl Desk {
    async fn order(
        &self,
        command: BalanceCommand,
        patience: Option<Duration>,
    ) -> anyhow::Result<BalanceAnswer> {
        let sessions = self.sessions.current();
        let active = sessions.active(role::QUERY_COORD).context("no querycoord is active")?;
        let (node, address) = (active.info.node(), &active.info.address);
        let remote = balancing_at(node, address, &self.rpc, &Network::tcp(), &self.tasks);
        let asked = remote.balance(command);
        let answer = match patience {
            None => asked.await,
            Some(patience) => match timeout(patience, asked).await {
                Ok(answer) => answer,
                Err(_) => bail!("the querycoord at {address} does not answer"),
            },
        };
        Ok(answer?)
    }

    pub(super) async fn balance(&self, what: &Balance) -> anyhow::Result<Table> {
        let command = match what {
            Balance::Plan => BalanceCommand::Plan,
            Balance::Status => BalanceCommand::Status,
            Balance::History { limit } => BalanceCommand::History(*limit),
            Balance::Suspend => BalanceCommand::Suspend,
            Balance::Resume => BalanceCommand::Resume,
            Balance::Move(wish) => BalanceCommand::Transfer(TransferRequest {
                collection: wish.collection.map(CollectionId),
                segments: wish.segment.iter().copied().map(SegmentId).collect(),
                from: NodeId(wish.from),
                to: wish.to.iter().copied().map(NodeId).collect(),
            }),
        };
        let patience = (!matches!(what, Balance::Move(_))).then_some(PATIENCE);
        Ok(match self.order(command, patience).await? {
            BalanceAnswer::Plan(plan) => plan_table(&plan),
            BalanceAnswer::Status(status) => status_table(&status),
            BalanceAnswer::History(moved) => history_table(&moved),
            BalanceAnswer::Done { segments, bytes, .. } => done_table(segments, bytes.0),
        })
    }

    /// Empties a node, and says how far that has come.
    pub(super) async fn drain(&self, what: &Drain) -> anyhow::Result<Table> {
        let node = NodeId(what.node);
        if what.cancel {
            self.order(BalanceCommand::Undrain(node), Some(PATIENCE)).await?;
            return Ok(done_table(0, 0));
        }
        let command = BalanceCommand::Drain { node, deadline: what.deadline };
        let BalanceAnswer::Done { segments, bytes, milliseconds } =
            self.order(command, Some(PATIENCE)).await?
        else {
            bail!("unexpected answer")
        };
        eprintln!("node {node}: {segments} segments, {bytes} to move, about {:.1} s", seconds(milliseconds));
        if !what.no_wait {
            self.wait_for_drain(node, bytes.0, what.deadline).await?;
        }
        Ok(done_table(segments, bytes.0))
    }

    async fn wait_for_drain(&self, node: NodeId, bytes: u64, deadline: Option<u64>) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let (segments, left) = self.left_on(node).await?;
            if segments == 0 {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| begun.elapsed().as_secs() >= deadline) {
                bail!("node {node} still has {segments} segments, {left} B; the drain goes on");
            }
            let speed = bytes.saturating_sub(left) / begun.elapsed().as_secs().max(1);
            let eta = left.checked_div(speed).map_or_else(|| "unknown".to_owned(), |s| format!("{s} s"));
            eprintln!("node {node}: {segments} segments, {left} B left, ready in {eta}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Segments and bytes that a node still answers for.
    async fn left_on(&self, node: NodeId) -> anyhow::Result<(usize, u64)> {
        match self.order(BalanceCommand::Status, Some(PATIENCE)).await? {
            BalanceAnswer::Status(status) => {
                let status = status.nodes.into_iter().find(|status| status.node == node);
                Ok(status.map_or((0, 0), |status| (status.segments, status.bytes.0)))
            }
            _ => bail!("unexpected answer"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn done_table(segments: usize, bytes: u64) -> Table {
    let mut table = Table::new(&["segments", "bytes"]);
    table.add([Cell::count(segments as u64), Cell::Bytes(bytes)]);
    table
}

fn spread(spread: &Spread) -> String {
    format!("{} to {}, mean {}", spread.lowest, spread.highest, spread.mean)
}

fn plan_table(plan: &Plan) -> Table {
    let columns =
        ["segment", "collection", "replica", "from", "to", "size", "expected", "reason", "nearer by"];
    let mut table = Table::new(&columns);
    for one in &plan.moves {
        table.add(move_row(one));
    }
    let expected = seconds(u64::try_from(plan.duration.as_millis()).unwrap_or(u64::MAX));
    table.note(format!("{} moves, {}, about {expected:.1} s", plan.moves.len(), plan.bytes()));
    table.note(format!("memory now {}, then {}", spread(&plan.before.memory), spread(&plan.after.memory)));
    table.note(format!("CPU now {}, then {}", spread(&plan.before.cpu), spread(&plan.after.cpu)));
    for one in &plan.unplaced {
        table.note(format!("segment {} has no place: {}", one.copy.segment, one.obstacle));
    }
    table
}

fn move_row(one: &Move) -> [Cell; 9] {
    let expected = u64::try_from(one.expected.as_millis()).unwrap_or(u64::MAX);
    [
        one.copy.segment.0.into(),
        one.collection.0.into(),
        one.copy.replica.0.into(),
        one.from.map_or_else(|| "".into(), |node| node.0.into()),
        one.to.0.into(),
        Cell::Bytes(one.bytes.0),
        Cell::Millis(expected),
        one.reason.name().into(),
        one.gain.memory.to_string().into(),
    ]
}

fn status_table(status: &BalanceStatus) -> Table {
    let columns = [
        "node", "state", "memory", "used", "segments", "held", "other", "cpu", "of", "coming", "going",
        "drained",
    ];
    let mut table = Table::new(&columns);
    for node in &status.nodes {
        table.add(node_row(node));
    }
    let automatic = match (status.automatic, status.suspended) {
        (true, _) => "on",
        (false, true) => "suspended",
        (false, false) => "off",
    };
    table.note(format!("automatic balancing is {automatic}"));
    table.note(format!("memory {}", spread(&status.imbalance.memory)));
    table.note(format!("CPU {}", spread(&status.imbalance.cpu)));
    table.note(format!("{} moves under way, {} waiting", status.moving.len(), status.waiting.len()));
    for node in &status.leaders {
        table.note(format!(
            "streaming node {}: {} shards and {} coming, {}, {} of {}",
            node.node, node.shards, node.coming, node.bytes, node.cpu, node.cpus
        ));
    }
    for ((_, (_, segment)), one) in &status.moving {
        table.note(format!(
            "segment {segment}: node {} to {}, {} B, {}",
            one.from, one.to, one.bytes, one.reason
        ));
    }
    for one in &status.unplaced {
        table.note(format!("segment {} has no place: {}", one.copy.segment, one.obstacle));
    }
    table
}

fn node_row(node: &NodeStatus) -> [Cell; 12] {
    let state = match node.state {
        NodeState::Serving => "serving",
        NodeState::Suspended => "suspended",
        NodeState::Draining => "draining",
    };
    [
        node.node.0.into(),
        state.into(),
        Cell::Bytes(node.memory.0),
        node.used.to_string().into(),
        Cell::count(node.segments as u64),
        Cell::Bytes(node.bytes.0),
        Cell::Bytes(node.other.0),
        node.cpu.to_string().into(),
        Cell::count(node.cpus.0 / 1_000_000),
        Cell::count(node.coming as u64),
        Cell::count(node.going as u64),
        node.drain.as_ref().map_or_else(|| "".into(), |drain| Cell::Time(drain.begun.physical())),
    ]
}

fn history_table(moved: &[MovedRecord]) -> Table {
    let columns = ["ended", "segment", "collection", "from", "to", "size", "took", "reason", "result"];
    let mut table = Table::new(&columns);
    for one in moved {
        let took = one.ended.physical().saturating_sub(one.moved.begun.physical());
        table.add([
            Cell::Time(one.ended.physical()),
            one.segment.0.into(),
            one.collection.0.into(),
            one.moved.from.0.into(),
            one.moved.to.0.into(),
            Cell::Bytes(one.moved.bytes),
            Cell::Millis(took),
            one.moved.reason.as_str().into(),
            one.dropped.as_deref().unwrap_or("moved").into(),
        ]);
    }
    table
}
