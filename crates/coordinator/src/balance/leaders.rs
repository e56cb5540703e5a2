//! Shard leaders are spread over streaming nodes: by the memory of rows that are not in files yet, and by the CPU that
//! writes, and reads of those rows, take.
//!
//! The planner of copies decides, too: to it, every shard is a copy of one replica that uses all streaming nodes. A move is the
//! next assignment. It fences the leader before, and the new one reads the log while writes and reads wait for it; so
//! shards move a few at a time, and only to a node that has come, or when settings find nodes too far apart. Shards whose
//! leader is dead or stopping are given away by the data coordinator, at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use redkite_balance::{Bytes, Copy, CopyId, Cpu, FixedBytes, Move, Node, NodeState, Occasion, Planner};
use redkite_catalog::{BalanceRecord, Entry, Metadata, ShardAssignment};
use redkite_runtime::{Backoff, Stopping};
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
/// How long a shard may take to come up before it is not waited for any more.
const PATIENT: Duration = Duration::from_secs(10);
/// What a shard takes that nobody writes to: so that shards without load are spread, too.
const IDLE: Bytes = Bytes(64 << 10);
/// All shards, as the planner sees them.
const ALL: (CollectionId, ReplicaId) = (CollectionId(0), ReplicaId(0));

/// Spreads leaders until stopped or deposed.
pub(crate) async fn run(shared: Arc<Shared>, directory: Arc<dyn ShardDirectory>, stopping: Stopping) {
    let mut nodes = shared.environment.nodes.watch();
    let mut leaders =
        Leaders { directory, said: BTreeMap::new(), loads: BTreeMap::new(), given: None, shared };
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
    /// What each node said last, and when.
    said: BTreeMap<NodeId, (LeaderUsage, Instant)>,
    loads: BTreeMap<ShardId, Load>,
    /// When a shard was given away last.
    given: Option<Instant>,
}

/// What a shard takes, on average over half a minute; it takes that along.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    memory: u64,
    cpu: Cpu,
}

impl Leaders {
    /// Looks at all nodes and gives some of what should move to others; whether there is more to do.
    async fn round(&mut self, nodes: &RoleNodes, due: bool) -> Result<bool, WriteError> {
        self.ask(nodes).await;
        let environment = self.shared.environment.clone();
        let (entry, statuses) = environment.view.read(|metadata| {
            self.loads.retain(|shard, _| metadata.collections.contains_key(&shard.collection));
            (metadata.balance().cloned(), self.statuses(metadata, nodes))
        });
        *self.shared.leaders.lock() = statuses;
        let record = entry.as_ref().map(|entry| (*entry.record).clone()).unwrap_or_default();
        let settings = self.shared.settings.borrow().clone();
        if record.suspended || !settings.planning.auto_balance {
            return Ok(false);
        }
        let open = nodes.open();
        // Soon all of them will have told what they take.
        let known = open.iter().all(|node| self.said.contains_key(node));
        let unfinished = record.leaders != open;
        if !known || !(unfinished || due) {
            return Ok(!known);
        }
        let now = environment.clock.now();
        let waits = self.given.is_some_and(|given| given.elapsed() < PATIENT);
        let (moves, moving) = environment.view.read(|metadata| {
            let (mut planner, shards) = self.planner(metadata, nodes, &record);
            let occasion = if due { Occasion::Interval } else { Occasion::Change };
            let plan = planner.plan(occasion, now);
            let planned: Vec<_> = plan.moves.into_iter().filter(|one| one.from.is_some()).collect();
            let startable = planner.startable(&planned).into_iter();
            let moves: Vec<_> = startable.map(|one| (shards[&one.copy.segment], one.clone())).collect();
            (moves, !planned.is_empty() || (waits && is_moving(metadata, nodes)))
        });
        for (shard, one) in &moves {
            self.give(*shard, one).await?;
            self.given = Some(Instant::now());
        }
        if unfinished && !moving {
            self.settled(entry.as_ref(), open).await?;
        }
        Ok(moving)
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
            let Some((then, when)) = before else {
                // How fast it spends is not known yet, and may be known from another node.
                self.loads.entry(*shard).or_insert(Load { memory: usage.memory, cpu: Cpu(0) });
                continue;
            };
            // One that was not there before has come meanwhile; one that has begun anew, too.
            let then = then.shards.get(shard).map_or(0, |then| then.cpu);
            let spent = usage.cpu.checked_sub(then).unwrap_or(usage.cpu);
            let load = self.loads.entry(*shard).or_insert(Load { memory: usage.memory, cpu: Cpu(0) });
            #[expect(clippy::cast_precision_loss, reason = "an average")]
            let memory = usage.memory as f64;
            load.memory = average(load.memory, memory, at - *when);
            load.cpu = smooth(load.cpu, spent, at - *when);
        }
        self.said.insert(node, (said, at));
    }

    /// Who leads what, for a planner; and the shards by the names it knows them under.
    fn planner(
        &self,
        metadata: &Metadata,
        nodes: &RoleNodes,
        record: &BalanceRecord,
    ) -> (Planner, BTreeMap<SegmentId, ShardId>) {
        let settings = self.shared.settings.borrow().clone();
        let mut planner = Planner::new(settings.planning.clone());
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
        let mut shards = BTreeMap::new();
        for ((shard, assignment), name) in led(metadata).zip(0..) {
            let load = self.loads.get(&shard).copied().unwrap_or_default();
            let serves = is_served(metadata, shard, assignment);
            planner.set_copy(&Copy {
                id: CopyId { replica: ALL.1, segment: SegmentId(name) },
                bytes: IDLE + Bytes(load.memory),
                cpu: load.cpu,
                node: serves.then_some(assignment.node),
                moving_to: (!serves).then_some(assignment.node),
                moved_at: assignment.moved.unwrap_or(Timestamp::ZERO),
                pinned: false,
            });
            shards.insert(SegmentId(name), shard);
        }
        (planner, shards)
    }

    fn statuses(&self, metadata: &Metadata, nodes: &RoleNodes) -> Vec<LeaderStatus> {
        let status = |(node, stopping): (NodeId, bool)| {
            let (said, _) = self.said.get(&node)?;
            let (memory, cpus) = (Bytes(said.memory), cpus(said));
            let (bytes, cpu) = (Bytes(0), Cpu(0));
            let state = state(stopping);
            Some((node, LeaderStatus { node, state, memory, shards: 0, bytes, cpus, cpu, coming: 0 }))
        };
        let alive = nodes.alive().map(|(node, live)| (node, live.stopping));
        let mut statuses: BTreeMap<_, _> = alive.filter_map(status).collect();
        for (shard, assignment) in led(metadata) {
            let Some(status) = statuses.get_mut(&assignment.node) else { continue };
            if is_served(metadata, shard, assignment) {
                let load = self.loads.get(&shard).copied().unwrap_or_default();
                status.shards += 1;
                status.bytes += Bytes(load.memory);
                status.cpu += load.cpu;
            } else {
                status.coming += 1;
            }
        }
        statuses.into_values().collect()
    }

    /// Gives a shard to another node.
    async fn give(&self, shard: ShardId, one: &Move) -> Result<(), WriteError> {
        let environment = &self.shared.environment;
        let now = environment.clock.tick();
        let step = environment.view.read(|metadata| {
            let collection = metadata.collections.get(&shard.collection)?;
            let present = metadata.assignments.get(&shard)?;
            (Some(present.node) == one.from).then(|| {
                let next =
                    ShardAssignment { node: one.to, epoch: Epoch(present.epoch.0 + 1), moved: Some(now) };
                let mut step = Step::new("shard moved");
                step.relies_on(&shard.collection, Some(collection)).replace(&shard, Some(present), &next);
                step
            })
        });
        let Some(step) = step else { return Ok(()) };
        if let Commit::Applied(_) = environment.commit(step.txn).await? {
            let reason = one.reason.name();
            info!(%shard, from = ?one.from, to = %one.to, reason, "shard gets another leader");
            metrics::counter!("redkite_querycoord_leader_moves_total", "reason" => reason).increment(1);
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

fn state(stopping: bool) -> NodeState {
    // Whatever must leave it is given away elsewhere.
    if stopping { NodeState::Suspended } else { NodeState::Serving }
}

fn cpus(said: &LeaderUsage) -> Cpu {
    Cpu(u64::from(said.threads) * 1_000_000)
}

/// The shards of collections that exist, with their leaders.
fn led(metadata: &Metadata) -> impl Iterator<Item = (ShardId, &ShardAssignment)> {
    let exists = |(shard, _): &(&ShardId, &Entry<ShardAssignment>)| {
        metadata.collections.contains_key(&shard.collection)
    };
    metadata.assignments.iter().filter(exists).map(|(shard, entry)| (*shard, &*entry.record))
}

/// Whether the leader says that it serves.
fn is_served(metadata: &Metadata, shard: ShardId, assignment: &ShardAssignment) -> bool {
    let status = metadata.shards.get(&shard);
    status.is_some_and(|status| (status.node, status.epoch) == (assignment.node, assignment.epoch))
}

/// Whether a shard is on its way to a node.
fn is_moving(metadata: &Metadata, nodes: &RoleNodes) -> bool {
    let mut led = led(metadata);
    led.any(|(shard, assignment)| nodes.is_open(assignment.node) && !is_served(metadata, shard, assignment))
}
