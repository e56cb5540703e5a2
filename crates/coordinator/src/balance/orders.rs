//! What others ask of balancing.

use std::collections::BTreeMap;
use std::time::Duration;

use redkite_balance::{Bytes, DrainRefused, Move, Occasion, Plan, Share, Transfer, TransferRefused};
use redkite_catalog::{BalanceRecord, DrainRecord, Metadata, load_progress};
use redkite_runtime::blocking;
use redkite_service::{
    BalanceAnswer, BalanceCommand, BalanceStatus, Error, NodeStatus, Result, TransferRequest,
};
use redkite_types::{NodeId, Timestamp};

use super::{Shared, State, key};
use crate::command::millis;
use crate::environment::Commit;
use crate::step::Step;

/// Conflicts come from the loop, so few tries suffice.
const ATTEMPTS: usize = 32;

impl Shared {
    pub(crate) async fn carry_out(&self, command: BalanceCommand) -> Result<BalanceAnswer> {
        match command {
            BalanceCommand::Plan => Ok(BalanceAnswer::Plan(self.dry_run().await)),
            BalanceCommand::Status => Ok(BalanceAnswer::Status(Box::new(self.status()))),
            BalanceCommand::History(limit) => {
                let latest = |metadata: &Metadata| {
                    let moved = metadata.moved.values().rev().take(limit);
                    moved.map(|entry| (*entry.record).clone()).collect()
                };
                Ok(BalanceAnswer::History(self.environment.view.read(latest)))
            }
            BalanceCommand::Suspend => self.suspend(true).await,
            BalanceCommand::Resume => self.suspend(false).await,
            BalanceCommand::Drain { node, deadline } => self.drain(node, deadline).await,
            BalanceCommand::Undrain(node) => self.undrain(node).await,
            BalanceCommand::Transfer(request) => self.transfer(request).await,
        }
    }

    /// What would make nodes even now. Not on the threads that drive everything else: it may take seconds.
    async fn dry_run(&self) -> Plan {
        let now = self.environment.clock.now();
        let mut settings = self.settings.borrow().planning.clone();
        settings.auto_balance = true;
        let mut planner = self.state.lock().ledger.planner.clone();
        blocking(move || {
            planner.set_settings(settings);
            planner.plan(Occasion::Demand, now)
        })
        .await
    }

    /// Commits what follows from the records, until nothing has changed meanwhile.
    async fn change(&self, plan: impl Fn(&Metadata) -> Step + Send) -> Result<()> {
        self.environment.catch_up().await?;
        for _ in 0..ATTEMPTS {
            let step = self.environment.view.read(&plan);
            if step.is_empty() {
                return Ok(());
            }
            if let Commit::Applied(_) = self.environment.commit(step.txn).await? {
                return Ok(());
            }
        }
        Err(Error::Unavailable { reason: "too many concurrent changes of the same records".to_owned() })
    }

    async fn suspend(&self, suspended: bool) -> Result<BalanceAnswer> {
        self.change(|metadata| {
            let present = metadata.balance();
            let record = present.map(|entry| (*entry.record).clone()).unwrap_or_default();
            let mut step = Step::new("balance suspended or resumed");
            if record.suspended != suspended {
                let next = BalanceRecord { suspended, ..record };
                step.replace(&BalanceRecord::KEY.to_owned(), present, &next);
            }
            step
        })
        .await?;
        Ok(nothing())
    }

    async fn drain(&self, node: NodeId, deadline: Option<u64>) -> Result<BalanceAnswer> {
        let now = self.environment.clock.tick();
        let plan = self.state.lock().ledger.planner.drain(node, now);
        let plan = plan.map_err(|refused| match refused {
            DrainRefused::Unknown(node) => Error::NodeNotFound { node: node.0 },
            refused @ DrainRefused::NoPlace { .. } => Error::Unexpected { reason: refused.to_string() },
        })?;
        let mine: Vec<_> = plan.moves.iter().filter(|one| one.from == Some(node)).collect();
        let bytes: Bytes = mine.iter().map(|one| one.bytes).sum();
        let deadline = deadline.map(|seconds| Timestamp::from_physical(now.physical() + seconds * 1000));
        self.change(|metadata| {
            let mut step = Step::new("drain");
            if !metadata.drains.contains_key(&node) {
                step.replace(&node, None, &DrainRecord { begun: now, bytes: bytes.0, deadline });
            }
            step
        })
        .await?;
        let milliseconds = millis(plan.duration);
        Ok(BalanceAnswer::Done { segments: mine.len(), bytes, milliseconds })
    }

    async fn undrain(&self, node: NodeId) -> Result<BalanceAnswer> {
        self.change(|metadata| {
            let mut step = Step::new("drain ended");
            if let Some(present) = metadata.drains.get(&node) {
                step.relies_on(&node, Some(present)).delete::<DrainRecord>(&node);
            }
            step
        })
        .await?;
        Ok(nothing())
    }

    async fn transfer(&self, request: TransferRequest) -> Result<BalanceAnswer> {
        self.environment.catch_up().await?;
        self.environment.view.read(|metadata| check(metadata, &request))?;
        let TransferRequest { collection, segments, from, to } = request;
        let wish = Transfer { collection, segments, from, to };
        let now = self.environment.clock.now();
        let plan = self.state.lock().ledger.planner.transfer(&wish, now).map_err(refused)?;
        let moves = plan.moves;
        {
            let mut state = self.state.lock();
            let mut open = moves.clone();
            open.append(&mut state.open);
            state.open = open;
        }
        self.nudge.notify_one();
        self.moved(&moves).await?;
        let bytes = moves.iter().map(|one| one.bytes).sum();
        Ok(BalanceAnswer::Done { segments: moves.len(), bytes, milliseconds: millis(plan.duration) })
    }

    /// Waits until these moves have ended; an error if one of them was given up.
    async fn moved(&self, moves: &[Move]) -> Result<()> {
        let mut changes = self.environment.view.changes();
        loop {
            let waits = self.state.lock().open.iter().any(|open| moves.contains(open));
            let (goes_on, lost) = self.environment.view.read(|metadata| {
                let goes_on = moves.iter().any(|one| metadata.moves.contains_key(&key(one)));
                let lost =
                    moves.iter().find(|one| metadata.answers_for(&key(one)) != Some(one.to)).map(|one| {
                        let ended = metadata
                            .moved
                            .values()
                            .rev()
                            .find(|ended| (ended.collection, (ended.replica, ended.segment)) == key(one));
                        let why = ended.and_then(|ended| ended.dropped.clone()).unwrap_or_default();
                        format!("segment {} not moved to node {}: {why}", one.copy.segment, one.to)
                    });
                (goes_on, lost)
            });
            if !waits && !goes_on {
                return lost.map_or(Ok(()), |reason| Err(Error::Unexpected { reason }));
            }
            // A move that is given up before it begins changes no record.
            let _ = tokio::time::timeout(Duration::from_secs(1), changes.any()).await;
        }
    }

    fn status(&self) -> BalanceStatus {
        let settings = self.settings.borrow().clone();
        let view = &self.environment.view;
        let (record, moving, drains) = view.read(|metadata| {
            let record = metadata.balance().map(|entry| (*entry.record).clone()).unwrap_or_default();
            let moving: Vec<_> =
                metadata.moves.iter().map(|(key, entry)| (*key, (*entry.record).clone())).collect();
            let drains: BTreeMap<_, _> =
                metadata.drains.iter().map(|(node, entry)| (*node, (*entry.record).clone())).collect();
            (record, moving, drains)
        });
        let usages = self.usages.borrow().clone();
        let mut guard = self.state.lock();
        let State { ledger, open, unplaced, .. } = &mut *guard;
        let imbalance = ledger.planner.imbalance();
        let mut held: BTreeMap<NodeId, (usize, Bytes)> = BTreeMap::new();
        for copy in ledger.copies() {
            if let Some(node) = copy.node {
                let (segments, bytes) = held.entry(node).or_default();
                *segments += 1;
                *bytes += copy.bytes;
            }
        }
        let nodes = ledger.nodes().map(|node| {
            let (segments, bytes) = held.get(&node.id).copied().unwrap_or_default();
            let used = bytes + node.fixed.total();
            NodeStatus {
                node: node.id,
                state: node.state,
                memory: node.memory,
                used: Share::of(used.0, node.memory.0),
                segments,
                bytes,
                other: node.fixed.total(),
                cpus: node.cpu,
                cpu: usages.get(&node.id).map(super::usage::Usage::cpu).unwrap_or_default(),
                coming: moving.iter().filter(|(_, one)| one.to == node.id).count(),
                going: moving.iter().filter(|(_, one)| one.from == node.id).count(),
                drain: drains.get(&node.id).cloned(),
            }
        });
        BalanceStatus {
            at: self.environment.clock.now(),
            automatic: settings.planning.auto_balance && !record.suspended,
            suspended: record.suspended,
            evening: record.evening,
            imbalance,
            nodes: nodes.collect(),
            leaders: self.leaders.lock().clone(),
            moving,
            waiting: open.clone(),
            unplaced: unplaced.clone(),
        }
    }
}

fn nothing() -> BalanceAnswer {
    BalanceAnswer::Done { segments: 0, bytes: Bytes(0), milliseconds: 0 }
}

/// Milvus's conditions.
fn check(metadata: &Metadata, request: &TransferRequest) -> Result<()> {
    let Some(collection) = request.collection else { return Ok(()) };
    let name =
        metadata.collections.get(&collection).map_or_else(|| collection.to_string(), |it| it.name.clone());
    if load_progress(metadata, collection, &[]).is_none_or(|progress| progress.percent < 100) {
        return Err(Error::CollectionNotFullyLoaded { collection: name });
    }
    let in_views = metadata.nodes_in_views(collection);
    let replicas = metadata.replicas.get(&collection);
    let replica = replicas.and_then(|replicas| {
        let uses = |id, nodes: &std::collections::BTreeSet<NodeId>| {
            nodes.contains(&request.from)
                || in_views.get(id).is_some_and(|nodes| nodes.contains(&request.from))
        };
        replicas.replicas.iter().find(|(id, replica)| uses(*id, &replica.nodes))
    });
    let Some((_, replica)) = replica else {
        let reason = format!("source node not found in any replica of collection {collection}");
        return Err(Error::NodeUnfit { node: request.from.0, reason });
    };
    match request.to.iter().find(|node| !replica.nodes.contains(node)) {
        Some(outside) => {
            let reason = "destination node not found in the same replica".to_owned();
            Err(Error::NodeUnfit { node: outside.0, reason })
        }
        None => Ok(()),
    }
}

fn refused(refused: TransferRefused) -> Error {
    match refused {
        TransferRefused::Unknown(node) => Error::NodeNotFound { node: node.0 },
        TransferRefused::NotThere { segment, .. } => Error::SegmentNotFound {
            segment: segment.0,
            reason: "segment not found in source node".to_owned(),
        },
        other @ (TransferRefused::UnderWay(_) | TransferRefused::NoPlace { .. }) => {
            Error::Unexpected { reason: other.to_string() }
        }
    }
}
