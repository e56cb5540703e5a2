//! Shard leaders are spread over streaming nodes: by their number, the memory of rows that are not in files yet, and
//! the CPU that writes, and reads of those rows, take.
//!
//! The planner of copies decides, too: to it, every shard is a copy of one replica that uses all streaming nodes. A
//! move is the next assignment. It fences the leader before, and the new one reads the log while writes and reads wait
//! for it; so shards move a few at a time, and only to a node that has come, or when settings find nodes too far
//! apart. Shards whose leader is dead or stopping are given away by the data coordinator, at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use redkite_balance::{Bytes, Copy, CopyId, Cpu, FixedBytes, Move, Node, NodeState, Occasion, Planner};
use redkite_catalog::{BalanceRecord, Entry, Metadata, ShardAssignment};
use redkite_runtime::{Backoff, Stopping, blocking};
use redkite_service::{LeaderStatus, LeaderUsage, ShardDirectory};
use redkite_types::{CollectionId, Epoch, NodeId, ReplicaId, SegmentId, ShardId, Timestamp};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::Shared;
use super::usage::{AT_ONCE, PATIENCE, PAUSE, average, smooth};
use crate::environment::Commit;
use crate::nodes::RoleNodes;
use crate::step::Step;
use crate::writer::WriteError;

/// How soon it is looked again while shards are moving.
const EAGER: Duration = Duration::from_millis(100);
/// How long it is waited for a shard that comes up, and at the beginning for nodes that have told nothing yet.
const PATIENT: Duration = Duration::from_secs(60);
/// What a shard counts in any case, beside what it has in memory: a quarter of what it collects before it is sealed. So
/// shards are spread by number first, and what they happen to have collected decides little.
const EVERY: Bytes = Bytes(64 << 20);
/// More than any node uses: shards do not fill memory as segments do.
const NEVER_OVERLOADED: u64 = 1_000_000;
/// All shards, as the planner sees them.
const ALL: (CollectionId, ReplicaId) = (CollectionId(0), ReplicaId(0));

/// Spreads leaders until stopped or deposed.
pub(crate) async fn run(shared: Arc<Shared>, directory: Arc<dyn ShardDirectory>, stopping: Stopping) {
    let mut nodes = shared.environment.nodes.watch();
    let mut leaders = Leaders {
        shared,
        directory,
        began: Instant::now(),
        said: BTreeMap::new(),
        loads: BTreeMap::new(),
        coming: BTreeMap::new(),
        evening: false,
    };
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut compared = Instant::now();
    loop {
        let interval = leaders.shared.settings.borrow().planning.balance_interval_seconds.max(1);
        let due = compared.elapsed() >= Duration::from_secs(interval);
        if due {
            compared = Instant::now();
        }
        let streaming = nodes.borrow_and_update().streaming.clone();
        let Some(outcome) = stopping.race(leaders.round(&streaming, due)).await else { return };
        let pause = match outcome {
            Ok(busy) => {
                backoff.reset();
                if busy { EAGER } else { PAUSE }
            }
            Err(WriteError::Fenced { role }) => {
                info!(role, "deposed, spreading of leaders ends");
                return;
            }
            Err(WriteError::Kv(error)) => {
                warn!(%error, "spreading of leaders waits for the metastore");
                if stopping.race(backoff.wait()).await.is_none() {
                    return;
                }
                continue;
            }
        };
        if stopping.race(timeout(pause, nodes.changed())).await.is_none() {
            return;
        }
    }
}

struct Leaders {
    shared: Arc<Shared>,
    directory: Arc<dyn ShardDirectory>,
    began: Instant,
    /// What each node said last, and when.
    said: BTreeMap<NodeId, (LeaderUsage, Instant)>,
    loads: BTreeMap<ShardId, Load>,
    /// Shards that are not served yet, as they were found to be.
    coming: BTreeMap<ShardId, Coming>,
    /// Nodes were found too far apart, and are not even yet.
    evening: bool,
}

/// What a shard takes, on average over half a minute; it takes that along.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    memory: u64,
    cpu: Cpu,
}

/// An assignment that is not served yet.
#[derive(Clone, Copy, Debug)]
struct Coming {
    epoch: Epoch,
    since: Instant,
    /// Who led it before, if it was taken from there.
    from: Option<NodeId>,
}

/// A shard and who leads it.
#[derive(Clone, Debug)]
struct Led {
    shard: ShardId,
    assignment: Arc<ShardAssignment>,
    is_served: bool,
}

impl Leaders {
    /// Looks at all nodes and gives some of what should move to others; whether there is more to do.
    async fn round(&mut self, nodes: &RoleNodes, due: bool) -> Result<bool, WriteError> {
        self.ask(nodes).await;
        let (entry, led) =
            self.shared.environment.view.read(|metadata| (metadata.balance().cloned(), led(metadata)));
        self.follow(&led);
        *self.shared.leaders.lock() = self.statuses(nodes, &led);
        let record = entry.as_ref().map(|entry| (*entry.record).clone()).unwrap_or_default();
        let settings = self.shared.settings.borrow().clone();
        if record.suspended || !settings.planning.auto_balance {
            return Ok(false);
        }
        let mut open = nodes.open();
        if self.began.elapsed() < PATIENT && !open.iter().all(|node| self.said.contains_key(node)) {
            return Ok(false);
        }
        // Who does not tell is hung, or of a version that cannot.
        open.retain(|node| self.said.contains_key(node));
        let unfinished = record.leaders != open;
        if !(unfinished || due || self.evening) {
            return Ok(false);
        }
        let occasion = match (self.evening, due) {
            (true, _) => Occasion::Demand,
            (false, true) => Occasion::Interval,
            (false, false) => Occasion::Change,
        };
        let (planned, moves) = self.plan(nodes, &record, &led, occasion).await;
        self.evening = planned && (self.evening || due);
        for (shard, one) in &moves {
            self.give(entry.as_ref(), *shard, one).await?;
        }
        let is_coming = !moves.is_empty() || self.coming.values().any(Coming::is_waited_for);
        if unfinished && !planned && !is_coming {
            self.settled(entry.as_ref(), open).await?;
        }
        Ok(is_coming)
    }

    /// Asks every node what it takes.
    async fn ask(&mut self, nodes: &RoleNodes) {
        let alive: Vec<_> = nodes.alive().map(|(node, _)| node).collect();
        let directory = &*self.directory;
        let one = |node: NodeId| async move {
            let asking = async { directory.on_node(node).await?.usage().await };
            (node, timeout(PATIENCE, asking).await)
        };
        let answers: Vec<_> = stream::iter(alive).map(one).buffered(AT_ONCE).collect().await;
        self.said.retain(|node, _| nodes.is_alive(*node));
        for (node, answer) in answers {
            match answer {
                Ok(Ok(said)) => self.note(node, said),
                Ok(Err(error)) => debug!(%node, %error, "node does not say what its shards take"),
                Err(_) => {}
            }
        }
    }

    fn note(&mut self, node: NodeId, said: LeaderUsage) {
        let at = Instant::now();
        let before = self.said.get(&node);
        for (shard, usage) in &said.shards {
            let load = self.loads.entry(*shard).or_insert(Load { memory: usage.memory, cpu: Cpu(0) });
            // How fast it spends is not known yet, unless from another node.
            let Some((then, when)) = before else { continue };
            // One that was not there before has come meanwhile; one that has begun anew, too.
            let then = then.shards.get(shard).map_or(0, |then| then.cpu);
            let spent = usage.cpu.checked_sub(then).unwrap_or(usage.cpu);
            #[expect(clippy::cast_precision_loss, reason = "an average")]
            let memory = usage.memory as f64;
            load.memory = average(load.memory, memory, at - *when);
            load.cpu = smooth(load.cpu, spent, at - *when);
        }
        self.said.insert(node, (said, at));
    }

    /// Which shards are coming, and which are no more.
    fn follow(&mut self, led: &[Led]) {
        let present: BTreeSet<ShardId> = led.iter().map(|led| led.shard).collect();
        self.loads.retain(|shard, _| present.contains(shard));
        let mut before = std::mem::take(&mut self.coming);
        for Led { shard, assignment, .. } in led.iter().filter(|led| !led.is_served) {
            let known = before.remove(shard).filter(|known| known.epoch == assignment.epoch);
            let new = Coming { epoch: assignment.epoch, since: Instant::now(), from: None };
            self.coming.insert(*shard, known.unwrap_or(new));
        }
    }

    /// Whether anything should move, and what of it may begin.
    async fn plan(
        &self,
        nodes: &RoleNodes,
        record: &BalanceRecord,
        led: &[Led],
        occasion: Occasion,
    ) -> (bool, Vec<(ShardId, Move)>) {
        let mut planner = self.planner(nodes, record, led);
        let shards: Vec<ShardId> = led.iter().map(|led| led.shard).collect();
        let now = self.shared.environment.clock.now();
        blocking(move || {
            let plan = planner.plan(occasion, now);
            let planned: Vec<_> = plan.moves.into_iter().filter(|one| one.from.is_some()).collect();
            let shard =
                |one: &Move| usize::try_from(one.copy.segment.0).ok().and_then(|name| shards.get(name));
            let startable = planner.startable(&planned).into_iter();
            let moves = startable.filter_map(|one| Some((*shard(one)?, one.clone()))).collect();
            (!planned.is_empty(), moves)
        })
        .await
    }

    /// Who leads what, for a planner that knows shards by their number.
    fn planner(&self, nodes: &RoleNodes, record: &BalanceRecord, led: &[Led]) -> Planner {
        let settings = self.shared.settings.borrow().clone();
        let mut planning = settings.planning.clone();
        planning.overloaded_memory_threshold_percentage = NEVER_OVERLOADED;
        let mut planner = Planner::new(planning);
        let mut used = BTreeSet::new();
        for (id, live) in nodes.alive() {
            let Some((said, _)) = self.said.get(&id) else { continue };
            used.insert(id);
            planner.set_node(Node {
                id,
                state: state(live.stopping),
                joined: !record.leaders.contains(&id),
                memory: Bytes(said.memory),
                fixed: FixedBytes::default(),
                cpu: cpus(said),
                fixed_cpu: Cpu(0),
                limits: settings.limits(),
            });
        }
        planner.set_replica(ALL.1, ALL.0, &used);
        for (Led { shard, assignment, .. }, name) in led.iter().zip(0..) {
            let load = self.loads.get(shard).copied().unwrap_or_default();
            let coming = self.coming.get(shard);
            let waited_for = coming.filter(|coming| coming.is_waited_for());
            planner.set_copy(&Copy {
                id: CopyId { replica: ALL.1, segment: SegmentId(name) },
                bytes: EVERY + Bytes(load.memory),
                cpu: load.cpu,
                node: waited_for.map_or(Some(assignment.node), |coming| coming.from),
                moving_to: waited_for.map(|_| assignment.node),
                moved_at: assignment.moved.unwrap_or(Timestamp::ZERO),
                // What does not come up where it is would not elsewhere.
                pinned: coming.is_some() && waited_for.is_none(),
            });
        }
        planner
    }

    fn statuses(&self, nodes: &RoleNodes, led: &[Led]) -> Vec<LeaderStatus> {
        let status = |(node, stopping): (NodeId, bool)| {
            let (said, _) = self.said.get(&node)?;
            let (memory, cpus) = (Bytes(said.memory), cpus(said));
            let (bytes, cpu) = (Bytes(0), Cpu(0));
            let state = state(stopping);
            Some((node, LeaderStatus { node, state, memory, shards: 0, bytes, cpus, cpu, coming: 0 }))
        };
        let alive = nodes.alive().map(|(node, live)| (node, live.stopping));
        let mut statuses: BTreeMap<_, _> = alive.filter_map(status).collect();
        for led in led {
            let Some(status) = statuses.get_mut(&led.assignment.node) else { continue };
            if led.is_served {
                let load = self.loads.get(&led.shard).copied().unwrap_or_default();
                status.shards += 1;
                status.bytes += Bytes(load.memory);
                status.cpu += load.cpu;
            } else {
                status.coming += 1;
            }
        }
        statuses.into_values().collect()
    }

    /// Gives a shard to another node, unless balancing has been suspended meanwhile.
    async fn give(
        &mut self,
        balance: Option<&Entry<BalanceRecord>>,
        shard: ShardId,
        one: &Move,
    ) -> Result<(), WriteError> {
        let environment = self.shared.environment.clone();
        let now = environment.clock.tick();
        let step = environment.view.read(|metadata| {
            let collection = metadata.collections.get(&shard.collection)?;
            let present = metadata.assignments.get(&shard)?;
            let epoch = Epoch(present.epoch.0 + 1);
            (Some(present.node) == one.from).then(|| {
                let next = ShardAssignment { node: one.to, epoch, moved: Some(now) };
                let mut step = Step::new("shard moved");
                step.relies_on(&BalanceRecord::KEY.to_owned(), balance);
                step.relies_on(&shard.collection, Some(collection)).replace(&shard, Some(present), &next);
                (epoch, step)
            })
        });
        let Some((epoch, step)) = step else { return Ok(()) };
        if let Commit::Applied(_) = environment.commit(step.txn).await? {
            let reason = one.reason.name();
            info!(%shard, from = ?one.from, to = %one.to, reason, "shard gets another leader");
            metrics::counter!("redkite_querycoord_leader_moves_total", "reason" => reason).increment(1);
            self.coming.insert(shard, Coming { epoch, since: Instant::now(), from: one.from });
        }
        Ok(())
    }

    /// Writes down that these nodes have had their share.
    async fn settled(
        &self,
        present: Option<&Entry<BalanceRecord>>,
        leaders: BTreeSet<NodeId>,
    ) -> Result<(), WriteError> {
        let record = present.map(|entry| (*entry.record).clone()).unwrap_or_default();
        let mut step = Step::new("balance");
        step.replace(&BalanceRecord::KEY.to_owned(), present, &BalanceRecord { leaders, ..record });
        self.shared.environment.commit(step.txn).await.map(drop)
    }
}

impl Coming {
    /// Whether it may be expected to come up soon.
    fn is_waited_for(&self) -> bool {
        self.since.elapsed() < PATIENT
    }
}

fn state(stopping: bool) -> NodeState {
    // Whatever must leave it is given away elsewhere.
    if stopping { NodeState::Suspended } else { NodeState::Serving }
}

fn cpus(said: &LeaderUsage) -> Cpu {
    Cpu(u64::from(said.threads) * 1_000_000)
}

/// The shards of collections that exist, with their leaders.
fn led(metadata: &Metadata) -> Vec<Led> {
    let of = |(shard, entry): (&ShardId, &Entry<ShardAssignment>)| {
        let status = metadata.shards.get(shard);
        let serves = status.is_some_and(|status| (status.node, status.epoch) == (entry.node, entry.epoch));
        Led { shard: *shard, assignment: entry.record.clone(), is_served: serves }
    };
    let exists = |(shard, _): &(&ShardId, _)| metadata.collections.contains_key(&shard.collection);
    metadata.assignments.iter().filter(exists).map(of).collect()
}
