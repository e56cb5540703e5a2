//! The loop that keeps query nodes even: when does it plan, and how fast does it move?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redkite_balance::{Move, Occasion, Plan, Reason, Share};
use redkite_catalog::{
    BalanceRecord, Change, Changes, DrainRecord, Entry, LoadRecord, Metadata, MoveRecord, MovedRecord,
    ReplicasRecord,
};
use redkite_runtime::{Backoff, Stopping, blocking};
use redkite_types::{CollectionId, NodeId, Timestamp};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::ledger::Around;
use super::usage::Usages;
use super::{Shared, State, key};
use crate::drive::{all, concerned};
use crate::environment::Commit;
use crate::nodes::RoleNodes;
use crate::step::{Step, Steps};
use crate::writer::WriteError;

/// Changes that arrive within this time are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// Collections looked at before others get their turn.
const AT_ONCE: usize = 64;
/// Nodes have had their share when there is nothing left to do, and nothing has changed for so long: replicas take their
/// time to make use of a node that has come.
const SETTLING: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 2000 });
/// Ended moves that are remembered.
const HISTORY: usize = 1000;

/// What has happened since the last round.
#[derive(Debug, Default)]
struct Due {
    everything: bool,
    collections: BTreeSet<CollectionId>,
    /// There is reason to plan at once.
    plan: bool,
    /// The interval has passed.
    interval: bool,
}

/// Balances until stopped or deposed.
pub(crate) async fn run(shared: Arc<Shared>, stopping: Stopping) {
    let environment = &shared.environment;
    let (mut changes, mut nodes) = (environment.view.changes(), environment.nodes.watch());
    let (mut usages, mut settings) = (shared.usages.clone(), shared.settings.clone());
    let mut due = Due { everything: true, plan: true, ..Due::default() };
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut last_interval = Instant::now();
    loop {
        let Some(outcome) = stopping.race(round(&shared, &mut due)).await else { return };
        match outcome {
            Ok(()) => backoff.reset(),
            Err(WriteError::Fenced { role }) => {
                info!(role, "deposed, balancing ends");
                return;
            }
            Err(WriteError::Kv(error)) => {
                warn!(%error, "balancing waits for the metastore");
                due = Due { everything: true, plan: true, ..due };
                if stopping.race(backoff.wait()).await.is_none() {
                    return;
                }
            }
        }
        let interval = Duration::from_secs(settings.borrow().planning.balance_interval_seconds.max(1));
        let wake = shared.next_wake(last_interval + interval);
        let woken = async {
            tokio::select! {
                // Records change all the time: what is rare comes first.
                biased;
                Ok(()) = nodes.changed() => due.everything = true,
                Ok(()) = settings.changed() => due.plan = true,
                () = shared.nudge.notified() => due.plan = true,
                some = changes.next() => due.note(&shared, some),
                Ok(()) = usages.changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        };
        if stopping.race(woken).await.is_none() {
            return;
        }
        if last_interval.elapsed() >= interval {
            (due.interval, last_interval) = (true, Instant::now());
        }
        due.gather(&shared, &mut changes).await;
    }
}

impl Due {
    fn note(&mut self, shared: &Shared, changes: Option<Arc<[Change]>>) {
        match changes {
            None => self.everything = true,
            Some(changes) => shared.environment.view.read(|metadata| {
                for change in &*changes {
                    match change {
                        Change::Drain(_) | Change::Balance(_) => self.plan = true,
                        Change::Moved(id) => {
                            if let Some(moved) = metadata.moved.get(id) {
                                count(moved);
                                self.plan |= moved.dropped.is_some();
                                if moved.refused {
                                    shared.penalise(moved.moved.to);
                                }
                            }
                        }
                        _ => self.collections.extend(concerned(metadata, change)),
                    }
                }
            }),
        }
    }

    async fn gather(&mut self, shared: &Shared, changes: &mut Changes) {
        let deadline = Instant::now() + DEBOUNCE;
        while let Ok(more) = timeout_at(deadline, changes.next()).await {
            self.note(shared, more);
            // However many there are, others get their turn.
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}

async fn round(shared: &Arc<Shared>, due: &mut Due) -> Result<(), WriteError> {
    let environment = &shared.environment;
    let nodes = environment.query_nodes();
    tidy(shared, &nodes).await?;
    let entry = environment.view.read(|metadata| metadata.balance().cloned());
    let record = entry.as_ref().map(|entry| (*entry.record).clone()).unwrap_or_default();
    if !learn(shared, due, &nodes, &record).await {
        return Ok(());
    }
    let exhausted = shared.is_exhausted();
    let automatic = !record.suspended && shared.settings.borrow().planning.auto_balance;
    let unfinished = record.evening || !nodes.open().is_subset(&record.settled);
    if due.plan {
        shared.state.lock().changed = Some(Instant::now());
    }
    let goes_on = automatic && unfinished && shared.is_settling_over();
    if due.plan || due.interval || (exhausted && goes_on) {
        let occasion = match (record.evening, std::mem::take(&mut due.interval)) {
            (true, _) => Occasion::Demand,
            (false, true) => Occasion::Interval,
            (false, false) => Occasion::Change,
        };
        due.plan = false;
        let plan = shared.plan(occasion, automatic).await;
        let finished = goes_on && exhausted && plan.moves.is_empty();
        settle(shared, &nodes, entry.as_ref(), &plan, finished).await?;
        if !plan.moves.is_empty() {
            info!(
                moves = plan.moves.len(),
                bytes = plan.bytes().0,
                before = %plan.before.memory.difference(),
                after = %plan.after.memory.difference(),
                expected = ?plan.duration,
                "plan to move segments"
            );
        }
        shared.adopt(plan);
    }
    begin(shared).await?;
    shared.measure();
    Ok(())
}

/// Tells the planner what has changed; whether it knows enough to plan.
async fn learn(shared: &Shared, due: &mut Due, nodes: &RoleNodes, record: &BalanceRecord) -> bool {
    let usages = shared.usages.borrow().clone();
    due.plan |= shared.learn_nodes(nodes, &usages, record);
    if std::mem::take(&mut due.everything) {
        due.collections = shared.environment.view.read(all);
    }
    while !due.collections.is_empty() {
        for _ in 0..AT_ONCE {
            let Some(collection) = due.collections.pop_first() else { break };
            due.plan |= shared.learn_collection(collection, nodes, &usages);
        }
        tokio::task::yield_now().await;
    }
    // Soon all of them will have told what they use; what nobody knows of cannot be weighed.
    nodes.alive().all(|(node, _)| usages.contains_key(&node))
}

/// Writes down what must outlive a failover: that nodes are being evened out, and who has had its share once that is
/// finished.
async fn settle(
    shared: &Shared,
    nodes: &RoleNodes,
    present: Option<&Entry<BalanceRecord>>,
    plan: &Plan,
    finished: bool,
) -> Result<(), WriteError> {
    let evens =
        |one: &Move| matches!(one.reason, Reason::Overloaded | Reason::UnevenMemory | Reason::UnevenHeat);
    let record = present.map(|entry| (*entry.record).clone()).unwrap_or_default();
    let mut next = record.clone();
    // Who has been emptied gets a share again if it is used again.
    next.settled.retain(|node| nodes.is_open(*node));
    if finished {
        next.evening = false;
        next.settled.extend(nodes.open());
    } else if plan.moves.iter().any(evens) {
        next.evening = true;
    }
    if next == record {
        return Ok(());
    }
    // Whoever suspends or resumes it meanwhile wins.
    let mut step = Step::new("balance");
    step.replace(&BalanceRecord::KEY.to_owned(), present, &next);
    shared.environment.commit(step.txn).await.map(drop)
}

/// Forgets history that is too old, and drains of nodes that are gone.
async fn tidy(shared: &Shared, nodes: &RoleNodes) -> Result<(), WriteError> {
    let steps = shared.environment.view.read(|metadata| {
        let mut steps = Steps::new("history forgotten");
        let surplus = metadata.moved.len().saturating_sub(HISTORY);
        metadata.moved.keys().take(surplus).for_each(|key| {
            steps.next().delete::<MovedRecord>(key);
        });
        for (node, drain) in metadata.drains.iter().filter(|(node, _)| !nodes.is_alive(**node)) {
            steps.next().relies_on(node, Some(drain)).delete::<DrainRecord>(node);
        }
        steps.finish()
    });
    shared.environment.commit_all(steps).await.map(drop)
}

/// Begins planned moves, as many as may go on at a time.
async fn begin(shared: &Shared) -> Result<(), WriteError> {
    let environment = &shared.environment;
    for one in shared.startable() {
        let now = environment.clock.tick();
        let Some(step) = environment.view.read(|metadata| step(metadata, &one, now)) else {
            shared.forget(&one);
            continue;
        };
        match environment.commit(step.txn).await? {
            Commit::Applied(_) => shared.begun(&one),
            Commit::Conflict => shared.forget(&one),
        }
    }
    Ok(())
}

/// The record that begins a move; `None` if it has lost its point.
fn step(metadata: &Metadata, one: &Move, now: Timestamp) -> Option<Step> {
    let collection = one.collection;
    let load = metadata.loads.get(&collection)?;
    let replicas = metadata.replicas.get(&collection)?;
    let replica = replicas.replicas.get(&one.copy.replica)?;
    let key = key(one);
    let from = one.from?;
    if metadata.answers_for(&key) != Some(from)
        || !replica.nodes.contains(&one.to)
        || metadata.moves.contains_key(&key)
    {
        return None;
    }
    let record =
        MoveRecord { from, to: one.to, bytes: one.bytes.0, reason: one.reason.name().to_owned(), begun: now };
    let mut step = Step::new("move begun");
    step.relies_on::<LoadRecord>(&collection, Some(load));
    step.relies_on::<ReplicasRecord>(&collection, Some(replicas));
    step.replace(&key, None, &record);
    Some(step)
}

impl Shared {
    /// A node that has refused a segment is left alone for a while.
    fn penalise(&self, node: NodeId) {
        let penalty = self.settings.borrow().resource_exhaustion_penalty_duration;
        self.state.lock().refused.insert(node, Instant::now() + Duration::from_secs(penalty));
    }

    fn learn_nodes(&self, nodes: &RoleNodes, usages: &Usages, record: &BalanceRecord) -> bool {
        let limits = self.settings.borrow().limits();
        let mut state = self.state.lock();
        let now = Instant::now();
        let before = state.refused.len();
        state.refused.retain(|_, until| *until > now);
        let over = state.refused.len() < before;
        let penalised = state.refused.keys().copied().collect();
        let around = Around { nodes, usages, settled: &record.settled, penalised: &penalised, limits };
        state.ledger.set_nodes(&around) || over
    }

    fn learn_collection(&self, collection: CollectionId, nodes: &RoleNodes, usages: &Usages) -> bool {
        let mut guard = self.state.lock();
        let State { ledger, open, .. } = &mut *guard;
        let view = &self.environment.view;
        let changed = view.read(|metadata| ledger.set_collection(metadata, collection, nodes, usages));
        // What is gone, or elsewhere by now, needs not move.
        open.retain(|one| {
            let copy = ledger.copy(collection, one.copy);
            one.collection != collection || copy.is_some_and(|copy| copy.node == one.from)
        });
        changed
    }

    /// Nothing is planned any more, and nothing is on its way.
    fn is_exhausted(&self) -> bool {
        self.state.lock().open.is_empty() && self.environment.view.read(|metadata| metadata.moves.is_empty())
    }

    fn is_settling_over(&self) -> bool {
        self.state.lock().changed.is_none_or(|changed| changed.elapsed() >= SETTLING)
    }

    /// What should move. Not on the threads that drive everything else: it may take seconds.
    async fn plan(self: &Arc<Self>, occasion: Occasion, automatic: bool) -> Plan {
        let shared = self.clone();
        let now = self.environment.clock.now();
        blocking(move || {
            let mut settings = shared.settings.borrow().planning.clone();
            settings.auto_balance &= automatic;
            let usages = shared.usages.borrow().clone();
            let mut state = shared.state.lock();
            state.ledger.set_heat(&usages);
            state.ledger.planner.set_settings(settings);
            state.ledger.planner.plan(occasion, now)
        })
        .await
    }

    /// Takes a plan in place of the one before. What somebody asked for stays.
    fn adopt(&self, plan: Plan) {
        let mut state = self.state.lock();
        state.open.retain(|one| one.reason == Reason::ByHand);
        let asked: BTreeSet<_> = state.open.iter().map(|one| one.copy).collect();
        // Whoever lost its node is placed without a plan.
        let planned = plan.moves.into_iter().filter(|one| one.from.is_some() && !asked.contains(&one.copy));
        state.open.extend(planned);
        state.unplaced = plan.unplaced;
    }

    /// The moves that may begin now, and whose targets have bandwidth left.
    fn startable(&self) -> Vec<Move> {
        let state = self.state.lock();
        let now = Instant::now();
        let free = |node: NodeId| state.free_at.get(&node).is_none_or(|at| *at <= now);
        let open: Vec<Move> = state.open.iter().filter(|one| free(one.to)).cloned().collect();
        state.ledger.planner.startable(&open).into_iter().cloned().collect()
    }

    fn begun(&self, one: &Move) {
        let bandwidth = self.settings.borrow().move_bandwidth_per_node;
        let mut state = self.state.lock();
        state.ledger.planner.begin([one]);
        state.open.retain(|open| open != one);
        let free_at = state.free_at.entry(one.to).or_insert_with(Instant::now);
        *free_at = (*free_at).max(Instant::now()) + time_for(one.bytes.0, bandwidth.0);
    }

    fn forget(&self, one: &Move) {
        self.state.lock().open.retain(|open| open != one);
    }

    /// When there is something to do although nothing happens.
    fn next_wake(&self, interval: Instant) -> Instant {
        let state = self.state.lock();
        let waiting = state.open.iter().filter_map(|one| state.free_at.get(&one.to));
        let settling = state.changed.map(|changed| changed + SETTLING);
        let times = waiting.chain(state.refused.values()).copied().chain(settling);
        let times = times.filter(|at| *at > Instant::now());
        times.chain([interval]).min().unwrap_or(interval)
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn measure(&self) {
        let mut guard = self.state.lock();
        let State { ledger, open, .. } = &mut *guard;
        let imbalance = ledger.planner.imbalance();
        for (resource, spread) in [("memory", imbalance.memory), ("cpu", imbalance.cpu)] {
            let apart = spread.difference().0 as f64 / Share::WHOLE.0 as f64;
            metrics::gauge!("redkite_querycoord_imbalance", "resource" => resource).set(apart);
        }
        metrics::gauge!("redkite_querycoord_moves_waiting").set(open.len() as f64);
        for node in ledger.nodes() {
            let (other, id) = (node.fixed.total(), node.id.to_string());
            let segments = ledger.planner.used(node.id) - other;
            for (kind, bytes) in [("segments", segments), ("other", other), ("limit", node.memory)] {
                metrics::gauge!("redkite_querycoord_node_memory_bytes", "node" => id.clone(), "kind" => kind)
                    .set(bytes.0 as f64);
            }
        }
    }
}

fn count(moved: &MovedRecord) {
    let result = match (&moved.dropped, moved.refused) {
        (None, _) => "done",
        (Some(_), true) => "refused",
        (Some(_), false) => "dropped",
    };
    let reason = moved.moved.reason.clone();
    metrics::counter!("redkite_querycoord_moves_total", "reason" => reason.clone(), "result" => result)
        .increment(1);
    if moved.dropped.is_none() {
        metrics::counter!("redkite_querycoord_moved_bytes_total", "reason" => reason)
            .increment(moved.moved.bytes);
        let millis = moved.ended.physical().saturating_sub(moved.moved.begun.physical());
        let took = Duration::from_millis(millis).as_secs_f64();
        metrics::histogram!("redkite_querycoord_move_seconds").record(took);
    }
}

/// How long it takes to load so many bytes with so many per second.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn time_for(bytes: u64, bandwidth: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / bandwidth.max(1) as f64)
}
