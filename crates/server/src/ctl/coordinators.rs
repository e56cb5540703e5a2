//! Coordinators: who is active and who stands by, as the processes themselves say; how it came to that;
//! and that one hands over to another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use futures::future::join_all;
use redkite_cluster::Kv;
use redkite_cluster::election::{self, ElectionRecord};
use redkite_cluster::sessions::{Peer, Sessions, SessionsView};
use redkite_rpc::{Network, RpcSettings, role, seats_at};
use redkite_runtime::Tasks;
use redkite_service::{SeatState, SeatStatus, Seats};
use redkite_types::NodeId;
use tokio::time::{Instant, timeout};

use super::table::{Cell, Table};

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a successor may take.
const TAKING_OVER: Duration = Duration::from_secs(10);

/// Which role.
#[derive(Clone, Debug, Args)]
pub(crate) struct OfRole {
    /// Only of this one: rootcoord, datacoord or querycoord.
    #[arg(value_name = "ROLE")]
    role: Option<String>,
}

/// What is handed over.
#[derive(Clone, Debug, Args)]
pub(crate) struct Handover {
    /// rootcoord, datacoord or querycoord; mixcoord for all three.
    #[arg(value_name = "ROLE")]
    role: String,
    /// The node that follows. Default: the standby that is least behind.
    #[arg(value_name = "TO")]
    to: Option<i64>,
}

/// Where to look and ask.
pub(super) struct Desk {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) sessions: SessionsView,
    pub(super) rpc: RpcSettings,
    pub(super) tasks: Tasks,
}

fn named(name: &str) -> anyhow::Result<Vec<&'static str>> {
    match role::COORDINATORS.into_iter().find(|role| *role == name) {
        Some(role) => Ok(vec![role]),
        None if name == "mixcoord" => Ok(role::COORDINATORS.to_vec()),
        None => bail!("{name:?} is none of {}, mixcoord", role::COORDINATORS.join(", ")),
    }
}

impl Desk {
    /// Every candidate of every role, as it says itself. Who does not answer is shown all the same.
    pub(super) async fn coordinators(&self) -> anyhow::Result<Table> {
        let sessions = self.sessions.current();
        let answers = self.ask_all(&sessions).await;
        let mut table = Table::new(&[
            "role",
            "node",
            "address",
            "host",
            "state",
            "since",
            "epoch",
            "lease left",
            "revisions behind",
            "lag",
            "version",
            "remark",
        ]);
        for role in role::COORDINATORS {
            let last = election::elections(&*self.kv, role).await?.pop();
            let active = sessions.active(role).map(|peer| peer.info.node());
            let mut rows: Vec<_> = sessions.nodes(role).collect();
            rows.sort_by_key(|(node, _)| (Some(*node) != active, *node));
            for (node, peer) in rows {
                let seat = answers.get(&node).and_then(|seats| seats.iter().find(|seat| seat.role == role));
                add(&mut table, role, peer, seat, last.as_ref().filter(|_| active == Some(node)));
            }
            if active.is_none() {
                nobody(&mut table, role);
            }
        }
        Ok(table)
    }

    /// A process with three coordinators is asked once.
    async fn ask_all(&self, sessions: &Sessions) -> BTreeMap<NodeId, Vec<SeatStatus>> {
        let all = role::COORDINATORS.into_iter().flat_map(|role| sessions.nodes(role));
        let processes: BTreeMap<NodeId, &Peer> = all.collect();
        let asked = processes.into_iter().map(|(node, peer)| async move {
            let remote = self.seats_of(peer);
            Some((node, timeout(PATIENCE, remote.seats()).await.ok()?.ok()?))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    fn seats_of(&self, peer: &Peer) -> impl Seats + use<> {
        seats_at(peer.info.node(), &peer.info.address, &self.rpc, &Network::tcp(), &self.tasks)
    }

    /// The elections that are remembered.
    pub(super) async fn elections(&self, of: &OfRole) -> anyhow::Result<Table> {
        let roles = match &of.role {
            Some(name) => named(name)?,
            None => role::COORDINATORS.to_vec(),
        };
        let mut table = Table::new(&[
            "role",
            "epoch",
            "node",
            "address",
            "host",
            "when",
            "before",
            "reason",
            "by",
            "nobody for",
        ]);
        for role in roles {
            for record in election::elections(&*self.kv, role).await? {
                table.add([
                    role.into(),
                    Cell::count(record.epoch),
                    record.server_id.into(),
                    record.address.into(),
                    record.host.into(),
                    Cell::Time(record.at),
                    record.previous.map_or_else(|| "".into(), |node| node.to_string().into()),
                    record.reason.as_str().into(),
                    record.by.into(),
                    Cell::Millis(record.waited),
                ]);
            }
        }
        Ok(table)
    }

    /// Hands over one role, or all, and waits until the successor is active.
    pub(super) async fn hand_over(&self, what: &Handover, by: &str) -> anyhow::Result<Table> {
        let mut table = Table::new(&["role", "from", "to", "epoch", "took"]);
        for role in named(&what.role)? {
            let before = self.sessions.current();
            let Some(active) = before.active(role) else { bail!("{role}: nobody is active") };
            if what.to == Some(active.info.server_id) && what.role == "mixcoord" {
                continue;
            }
            let (from, began) = (active.info.node(), Instant::now());
            let remote = self.seats_of(active);
            let asked = remote.hand_over(role.to_owned(), what.to.map(NodeId), by.to_owned());
            let to = match timeout(TAKING_OVER, asked).await {
                Ok(answer) => answer.with_context(|| role)?,
                Err(_) => bail!("{role}: node {from} at {} does not answer", active.info.address),
            };
            let follower = self.follower(role, active).await?;
            if follower.info.node() != to {
                bail!("{role}: node {} took over, not node {to}", follower.info.node());
            }
            let epoch = election::elections(&*self.kv, role).await?.pop().map_or(0, |last| last.epoch);
            let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            table.add([role.into(), from.0.into(), to.0.into(), Cell::count(epoch), Cell::Millis(took)]);
        }
        Ok(table)
    }

    /// Whoever is active next, when it serves.
    async fn follower(&self, role: &str, before: &Peer) -> anyhow::Result<Peer> {
        let mut sessions = self.sessions.watch();
        let follows = async {
            let other = |now: &Arc<Sessions>| {
                now.active(role).is_some_and(|active| active.revision != before.revision)
            };
            let follower = sessions.wait_for(other).await.ok()?.active(role)?.clone();
            let remote = self.seats_of(&follower);
            loop {
                let seats = remote.seats().await.ok()?;
                let serves = |seat: &SeatStatus| seat.role == role && seat.state != SeatState::Starting;
                if seats.iter().any(serves) {
                    return Some(follower);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let follower = timeout(TAKING_OVER, follows).await.ok().flatten();
        follower.with_context(|| format!("{role}: given up, but nobody has taken over yet"))
    }
}

fn add(
    table: &mut Table,
    role: &str,
    peer: &Peer,
    seat: Option<&SeatStatus>,
    election: Option<&ElectionRecord>,
) {
    let info = &peer.info;
    let state = seat.map_or("Silent", |seat| seat.state.as_str());
    let since = seat.map(|seat| seat.since).or(election.map(|record| record.at));
    let epoch = seat.map(|seat| seat.epoch).or(election.map(|record| record.epoch)).unwrap_or(0);
    let remark = match (seat, election) {
        (Some(seat), _) => seat.hindrance.clone().unwrap_or_default(),
        (None, Some(_)) => "active by its lease, but does not answer".to_owned(),
        (None, None) => "does not answer".to_owned(),
    };
    let active = seat.filter(|seat| seat.state == SeatState::Active);
    table.add([
        role.into(),
        info.server_id.into(),
        info.address.as_str().into(),
        info.host_name.as_str().into(),
        state.into(),
        since.map_or_else(|| "".into(), Cell::Time),
        if epoch == 0 { "".into() } else { Cell::count(epoch) },
        active.map_or_else(|| "".into(), |seat| Cell::Millis(seat.lease_left)),
        seat.map_or_else(|| "".into(), |seat| Cell::count(seat.lag.revisions)),
        seat.map_or_else(|| "".into(), |seat| Cell::Millis(seat.lag.millis)),
        info.version.as_str().into(),
        remark.into(),
    ]);
}

/// So that nobody has to notice what is not there.
fn nobody(table: &mut Table, role: &str) {
    let nothing = || Cell::from("");
    table.add([
        role.into(),
        nothing(),
        nothing(),
        nothing(),
        "Nobody".into(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        "nobody is active".into(),
    ]);
}
