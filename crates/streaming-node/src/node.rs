//! Which shards does this node lead? It makes true what the assignments say.
//!
//! One loop watches the records. A new assignment starts a shard (many at the same time, a few of them
//! recovering at once), a changed one restarts it under the new epoch, one that is gone stops it; when
//! the collection is gone too, the log is removed. Every other change that concerns a shard plans its
//! route anew. A shard whose log is damaged is refused, with the reason, and the others serve. One whose
//! log failed is opened anew; one whose log has gone to another leader is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::join_all;
use parking_lot::RwLock;
use redkite_catalog::{Change, Changes};
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_runtime::{Backoff, Stopping, machine};
use redkite_service::{
    DeleteBatch, Error as ServiceError, Flushed, LeaderUsage, ReadAck, Result, RetrieveRequest,
    SearchRequest, Shard, WriteAck, WriteRequest,
};
use redkite_types::{CollectionId, NodeId, ShardId, Timestamp};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{error, info, warn};

use crate::report::Reports;
use crate::shard::{Leadership, ShardLeader};
use crate::{Environment, Error};

/// Shards of one node that write files at the same time.
const FLUSHES: usize = 2;
/// How long a stop waits for shards that are being opened or closed.
const SETTLE: Duration = Duration::from_secs(5);
/// Longest pause between tries to open a log.
const RECOVERY_CEILING: Duration = Duration::from_secs(1);
/// How often idle shards are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// A node that leads shards.
pub struct StreamingNode {
    environment: Arc<Environment>,
    shards: RwLock<BTreeMap<ShardId, Slot>>,
    recoveries: Arc<Semaphore>,
    flushes: Arc<Semaphore>,
    reports: Arc<Reports>,
    /// Number of shards that are led, started or being stopped.
    busy: Arc<watch::Sender<usize>>,
    /// Set by `stop`: nothing is started any more.
    stopped: AtomicBool,
}

/// A shard that is assigned to this node.
struct Slot {
    leadership: Leadership,
    post: Arc<Post>,
}

/// What is done under one assignment. Whoever works for it holds it; it counts as long as it lives.
struct Post {
    stage: watch::Sender<Stage>,
    busy: Arc<watch::Sender<usize>>,
}

impl Post {
    fn new(busy: &Arc<watch::Sender<usize>>) -> Arc<Self> {
        busy.send_modify(|count| *count += 1);
        let stage = watch::Sender::new(Stage::Starting { problem: None });
        Arc::new(Self { stage, busy: busy.clone() })
    }

    /// Replaces the stage if it is as expected; whether it was.
    fn change(&self, expected: impl FnOnce(&Stage) -> bool, next: Stage) -> bool {
        self.stage.send_if_modified(|stage| {
            let as_expected = expected(stage);
            if as_expected {
                *stage = next;
            }
            as_expected
        })
    }

    fn is_starting(&self) -> bool {
        self.stage.borrow().is_starting()
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.busy.send_modify(|count| *count -= 1);
    }
}

#[derive(Clone, Debug)]
enum Stage {
    Starting { problem: Option<String> },
    Serving(Arc<ShardLeader>),
    Refused(ServiceError),
    Stopped,
}

impl Stage {
    fn is_starting(&self) -> bool {
        matches!(self, Self::Starting { .. })
    }

    fn is_served_by(&self, leader: &Arc<ShardLeader>) -> bool {
        matches!(self, Self::Serving(serving) if Arc::ptr_eq(serving, leader))
    }
}

/// How a shard of this node does.
#[derive(Clone, Debug)]
pub struct ShardHealth {
    /// The shard.
    pub shard: ShardId,
    /// Whether it answers reads.
    pub serving: bool,
    /// What is wrong with it: it cannot be recovered, its log takes no writes, or its flush fails.
    pub problem: Option<String>,
}

impl StreamingNode {
    /// A node that leads nothing yet.
    #[must_use]
    pub fn new(environment: Environment) -> Arc<Self> {
        let recoveries = Arc::new(Semaphore::new(environment.settings.parallel_recoveries.max(1)));
        Arc::new(Self {
            environment: Arc::new(environment),
            shards: RwLock::default(),
            recoveries,
            flushes: Arc::new(Semaphore::new(FLUSHES)),
            reports: Arc::default(),
            busy: Arc::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Begins to lead what it is assigned, now and later.
    pub fn start(self: &Arc<Self>) {
        let tasks = &self.environment.tasks;
        let (node, changes) = (self.clone(), self.environment.view.changes());
        tasks.spawn("shard-reconciler", move |stopping| node.reconcile(changes, stopping));
        if let Some(query_nodes) = self.environment.query_nodes.clone() {
            let node = self.clone();
            tasks.spawn("query-node-watch", move |stopping| node.follow_query_nodes(query_nodes, stopping));
        }
        let node = self.clone();
        tasks.spawn("shard-housekeeping", move |stopping| node.keep_house(stopping));
        let (reports, environment) = (self.reports.clone(), self.environment.clone());
        tasks.spawn("shard-reports", move |stopping| reports.run(environment, stopping));
    }

    /// Stops every shard and starts none any more: writes on their way are settled, logs closed.
    pub async fn stop(&self) {
        let slots = {
            let mut shards = self.shards.write();
            // Under the lock that `assign` starts shards under.
            self.stopped.store(true, Ordering::SeqCst);
            std::mem::take(&mut *shards)
        };
        join_all(slots.into_values().map(|slot| async move {
            if let Stage::Serving(leader) = slot.post.stage.send_replace(Stage::Stopped) {
                leader.stop().await;
            }
        }))
        .await;
        // And those that were stopped before, or were still starting.
        let mut busy = self.busy.subscribe();
        if timeout(SETTLE, busy.wait_for(|count| *count == 0)).await.is_err() {
            warn!("shards did not stop in time");
        }
    }

    /// Waits until nothing is assigned to this node and everything it led is settled and closed.
    pub async fn drained(&self) {
        let mut changes = self.environment.view.changes();
        let mut busy = self.busy.subscribe();
        loop {
            let assigned = self.environment.view.read(|metadata| {
                let node = self.environment.node;
                metadata.assignments.iter().any(|(shard, assignment)| {
                    assignment.node == node && metadata.collections.contains_key(&shard.collection)
                })
            });
            if !assigned && *busy.borrow_and_update() == 0 {
                return;
            }
            tokio::select! {
                biased;
                () = changes.any() => {}
                // The sender lives in `self`.
                _ = busy.changed() => {}
            }
        }
    }

    /// How every shard of this node does.
    #[must_use]
    pub fn health(&self) -> Vec<ShardHealth> {
        let health = |(shard, slot): (&ShardId, &Slot)| {
            let (serving, problem) = match &*slot.post.stage.borrow() {
                Stage::Starting { problem } => (false, problem.clone()),
                Stage::Serving(leader) => {
                    let failure = leader.failure().map(|failure| failure.to_string());
                    (true, failure.or_else(|| leader.flush_failure()))
                }
                Stage::Refused(error) => (false, Some(error.to_string())),
                Stage::Stopped => (false, None),
            };
            ShardHealth { shard: *shard, serving, problem }
        };
        self.shards.read().iter().map(health).collect()
    }

    /// The leader of a shard; waits while it comes up.
    async fn leader(&self, shard: ShardId) -> Result<Arc<ShardLeader>> {
        let unavailable = || ServiceError::ShardNotAvailable { shard: shard.to_string() };
        let Some(mut state) = self.shards.read().get(&shard).map(|slot| slot.post.stage.subscribe()) else {
            return Err(unavailable());
        };
        let deadline = Instant::now() + self.environment.settings.read_patience;
        let up = state.wait_for(|stage| !matches!(stage, Stage::Starting { .. }));
        match timeout_at(deadline, up).await {
            Ok(Ok(stage)) => match &*stage {
                Stage::Serving(leader) => Ok(leader.clone()),
                Stage::Refused(error) => Err(error.clone()),
                Stage::Starting { .. } | Stage::Stopped => Err(unavailable()),
            },
            Ok(Err(_)) | Err(_) => Err(unavailable()),
        }
    }

    async fn reconcile(self: Arc<Self>, mut changes: Changes, stopping: Stopping) {
        let mut everything = true;
        let mut seen = BTreeSet::new();
        loop {
            if everything {
                self.assign_all();
                self.refresh_all();
                // After the assignments: of a collection that is dropped from now on, a change tells. Not
                // here: listing logs takes a while, and shards are to be led.
                let node = self.clone();
                self.environment.tasks.spawn("orphaned-logs", move |stopping| async move {
                    stopping.race(node.remove_orphaned_logs()).await;
                });
            } else {
                self.follow(&seen);
            }
            seen.clear();
            let Some(batch) = stopping.race(changes.next()).await else { return };
            everything = batch.is_none();
            seen.extend(batch.iter().flat_map(|batch| batch.iter().cloned()));
            // What has gathered meanwhile is followed at once.
            while let Some(batch) = changes.next().now_or_never() {
                everything |= batch.is_none();
                seen.extend(batch.iter().flat_map(|batch| batch.iter().cloned()));
            }
        }
    }

    /// Plans the routes anew whenever a query node comes or goes.
    async fn follow_query_nodes(
        self: Arc<Self>,
        mut nodes: watch::Receiver<Arc<BTreeSet<NodeId>>>,
        stopping: Stopping,
    ) {
        while let Some(Ok(())) = stopping.race(nodes.changed()).await {
            self.refresh_all();
        }
    }

    fn follow(self: &Arc<Self>, seen: &BTreeSet<Change>) {
        let mut collections = BTreeSet::new();
        for change in seen {
            match change {
                Change::Assignment(shard) => self.assign(*shard),
                Change::Collection(collection) => {
                    self.shards_of(*collection).into_iter().for_each(|shard| self.assign(shard));
                    collections.insert(*collection);
                }
                Change::Load(collection)
                | Change::Replicas(collection)
                | Change::Segment((collection, _))
                | Change::Hold((_, collection))
                | Change::Held((_, collection)) => {
                    collections.insert(*collection);
                }
                Change::View((shard, _)) => {
                    collections.insert(shard.collection);
                }
                _ => {}
            }
        }
        for shard in collections.into_iter().flat_map(|collection| self.shards_of(collection)) {
            self.refresh(shard);
        }
    }

    fn shards_of(&self, collection: CollectionId) -> Vec<ShardId> {
        let of = |ordinal| ShardId { collection, ordinal };
        self.shards.read().range(of(0)..=of(u16::MAX)).map(|(shard, _)| *shard).collect()
    }

    fn refresh(&self, shard: ShardId) {
        let leader = self.shards.read().get(&shard).and_then(|slot| match &*slot.post.stage.borrow() {
            Stage::Serving(leader) => Some(leader.clone()),
            _ => None,
        });
        if let Some(leader) = leader {
            leader.refresh();
        }
    }

    fn refresh_all(&self) {
        let shards: Vec<ShardId> = self.shards.read().keys().copied().collect();
        shards.into_iter().for_each(|shard| self.refresh(shard));
    }

    fn assign_all(self: &Arc<Self>) {
        let node = self.environment.node;
        let mut shards: BTreeSet<ShardId> = self.environment.view.read(|metadata| {
            let mine = metadata.assignments.iter().filter(|(_, assignment)| assignment.node == node);
            mine.map(|(shard, _)| *shard).collect()
        });
        shards.extend(self.shards.read().keys());
        shards.into_iter().for_each(|shard| self.assign(shard));
    }

    /// Starts, restarts or stops a shard, as its assignment says.
    fn assign(self: &Arc<Self>, shard: ShardId) {
        let node = self.environment.node;
        let wanted = self.environment.view.read(|metadata| {
            let exists = metadata.collections.contains_key(&shard.collection);
            let assignment = metadata.assignments.get(&shard).filter(|assignment| assignment.node == node);
            let leadership =
                assignment.map(|entry| Leadership { epoch: entry.epoch, revision: entry.revision });
            leadership.filter(|_| exists)
        });
        let mut shards = self.shards.write();
        let stopped = self.stopped.load(Ordering::SeqCst);
        if stopped || shards.get(&shard).map(|slot| slot.leadership) == wanted {
            return;
        }
        let before = shards.remove(&shard);
        let replaced = before.map(|slot| (slot.post.stage.send_replace(Stage::Stopped), slot.post));
        self.reports.stopped(shard);
        let started = wanted.map(|leadership| {
            let post = Post::new(&self.busy);
            shards.insert(shard, Slot { leadership, post: post.clone() });
            (leadership, post)
        });
        drop(shards);
        let node = self.clone();
        self.environment.tasks.spawn("shard-change", move |stopping| async move {
            if let Some((Stage::Serving(leader), _post)) = replaced {
                leader.stop().await;
                info!(%shard, "shard not led any more");
            }
            if let Some((leadership, post)) = started {
                stopping.race(node.bring_up(shard, leadership, &post)).await;
            }
            node.remove_log_if_dropped(shard).await;
        });
    }

    /// Recovers a shard, trying again while that may help and it is still wanted.
    async fn bring_up(self: &Arc<Self>, shard: ShardId, leadership: Leadership, post: &Arc<Post>) {
        let mut backoff = self.recovery_backoff();
        while post.is_starting() {
            match self.recover(shard, leadership).await {
                Ok(leader) => {
                    self.until_left_by_others(shard, post).await;
                    return self.serve(leader, post).await;
                }
                Err(error) if error.transient() => {
                    warn!(%shard, %error, "shard not recovered, trying again");
                    let problem = Some(error.to_string());
                    post.change(Stage::is_starting, Stage::Starting { problem });
                    backoff.wait().await;
                }
                Err(error) => {
                    error!(%shard, %error, "shard refused");
                    metrics::counter!("redkite_shards_refused_total").increment(1);
                    post.change(Stage::is_starting, Stage::Refused(error.into()));
                }
            }
        }
    }

    /// Waits until the leader before says that it has stopped, or is dead. It takes no writes any more, but answers
    /// reads until it learns of the new assignment: they would miss what is written here.
    async fn until_left_by_others(&self, shard: ShardId, post: &Post) {
        let (mut changes, mut stages) = (self.environment.view.changes(), post.stage.subscribe());
        let is_left = || {
            self.environment.view.read(|metadata| {
                // At least as new as the assignment, after which others report nothing any more.
                let status = metadata.shards.get(&shard);
                status.is_none_or(|status| status.node == self.environment.node)
            })
        };
        while post.is_starting() && !is_left() {
            tokio::select! {
                biased;
                () = changes.any() => {}
                // The sender lives in `post`.
                _ = stages.changed() => {}
            }
        }
    }

    async fn recover(
        &self,
        shard: ShardId,
        leadership: Leadership,
    ) -> std::result::Result<Arc<ShardLeader>, Error> {
        let _turn = self.recoveries.acquire().await.expect("the semaphore is never closed");
        ShardLeader::recover(self.environment.clone(), shard, leadership, self.flushes.clone()).await
    }

    /// Writers wait for a recovery, so it is tried often.
    fn recovery_backoff(&self) -> Backoff {
        let ceiling = self.environment.settings.retry_ceiling.min(RECOVERY_CEILING);
        Backoff::new(Duration::from_millis(20), ceiling)
    }

    async fn serve(self: &Arc<Self>, leader: Arc<ShardLeader>, post: &Arc<Post>) {
        if !post.change(Stage::is_starting, Stage::Serving(leader.clone())) {
            return leader.stop().await;
        }
        // Records that changed while it recovered had nobody to tell.
        leader.refresh();
        self.reports.serving(leader.id, self.environment.node, leader.leadership);
        let (node, post) = (self.clone(), post.clone());
        self.environment.tasks.spawn("shard-supervisor", move |stopping| async move {
            stopping.race(node.supervise(leader, &post)).await;
        });
    }

    async fn remove_log(&self, shard: ShardId) {
        match self.environment.logs.remove(shard).await {
            Ok(()) => info!(%shard, "log of a dropped collection removed"),
            Err(error) => warn!(%shard, %error, "log of a dropped collection not removed"),
        }
    }

    /// Removes logs of collections that were dropped while nobody led their shards.
    async fn remove_orphaned_logs(&self) {
        let listed = match self.environment.logs.list().await {
            Ok(listed) => listed,
            Err(error) => return warn!(%error, "logs not listed"),
        };
        // A log is made after its collection: what the view lacks is dropped, if the view is up to date.
        if let Err(error) = self.environment.catch_up().await {
            return warn!(%error, "metastore not reached, orphaned logs stay");
        }
        for shard in listed {
            self.remove_log_if_dropped(shard).await;
        }
    }

    /// Asked whenever a shard has stopped, and again when one has come up: if its collection is dropped
    /// while its log is opened, opening may make the log that has just been removed.
    async fn remove_log_if_dropped(&self, shard: ShardId) {
        let dropped = self.environment.view.read(|metadata| {
            metadata.unreadable.is_empty() && !metadata.collections.contains_key(&shard.collection)
        });
        if dropped {
            self.remove_log(shard).await;
        }
    }

    async fn keep_house(self: Arc<Self>, stopping: Stopping) {
        while stopping.race(tokio::time::sleep(HOUSEKEEPING)).await.is_some() {
            let leaders: Vec<Arc<ShardLeader>> = {
                let shards = self.shards.read();
                let serving = |slot: &Slot| match &*slot.post.stage.borrow() {
                    Stage::Serving(leader) => Some(leader.clone()),
                    _ => None,
                };
                shards.values().filter_map(serving).collect()
            };
            let (mut bytes, mut rows) = (0, 0);
            for leader in &leaders {
                leader.seal_if_idle();
                leader.forget_silent_proxies();
                let (more_bytes, more_rows) = leader.load();
                bytes += more_bytes;
                rows += more_rows;
            }
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            {
                metrics::gauge!("redkite_shards_served").set(leaders.len() as f64);
                metrics::gauge!("redkite_growing_bytes").set(bytes as f64);
                metrics::gauge!("redkite_growing_rows").set(rows as f64);
            }
        }
    }

    /// Looks after a shard that serves, until another takes its place.
    async fn supervise(&self, mut leader: Arc<ShardLeader>, post: &Post) {
        loop {
            let mut stages = post.stage.subscribe();
            let failure = tokio::select! {
                biased;
                // The sender is here.
                _ = stages.wait_for(|stage| !stage.is_served_by(&leader)) => return,
                failure = leader.failed() => failure,
            };
            if matches!(failure, ServiceError::Fenced { .. }) {
                return self.give_up(&leader, post, failure).await;
            }
            match self.heal(&leader, post).await {
                Some(healed) => leader = healed,
                None => return,
            }
        }
    }

    /// Stops to lead a shard whose log another has: neither reads nor writes are answered here.
    async fn give_up(&self, leader: &Arc<ShardLeader>, post: &Post, why: ServiceError) {
        warn!(shard = %leader.id, %why, "shard is led by another");
        if post.change(|stage| stage.is_served_by(leader), Stage::Refused(why)) {
            self.reports.withdrawn(leader.id, leader.leadership);
        }
        leader.stop().await;
    }

    /// Opens a log anew that takes no writes any more. Reads are served from memory meanwhile. `None` if that
    /// is not wanted any more.
    async fn heal(&self, broken: &Arc<ShardLeader>, post: &Post) -> Option<Arc<ShardLeader>> {
        let mut backoff = self.recovery_backoff();
        broken.stop().await;
        while post.stage.borrow().is_served_by(broken) {
            match self.recover(broken.id, broken.leadership).await {
                Ok(healed)
                    if post.change(|stage| stage.is_served_by(broken), Stage::Serving(healed.clone())) =>
                {
                    healed.refresh();
                    info!(shard = %broken.id, "shard takes writes again");
                    return Some(healed);
                }
                Ok(unwanted) => unwanted.stop().await,
                Err(Error::Log(error)) if error.is_fenced() => {
                    self.give_up(broken, post, Error::Log(error).into()).await;
                    return None;
                }
                Err(error) => {
                    warn!(shard = %broken.id, %error, "shard still takes no writes");
                    backoff.wait().await;
                }
            }
        }
        self.remove_log_if_dropped(broken.id).await;
        None
    }
}

#[async_trait]
impl Shard for StreamingNode {
    async fn write(&self, request: WriteRequest) -> Result<WriteAck> {
        self.leader(request.shard).await?.write(request).await
    }

    async fn search(&self, shard: ShardId, request: Arc<SearchRequest>) -> Result<ReadAck<SearchPart>> {
        self.leader(shard).await?.search(request).await
    }

    async fn retrieve(&self, shard: ShardId, request: Arc<RetrieveRequest>) -> Result<ReadAck<RetrievePart>> {
        self.leader(shard).await?.retrieve(request).await
    }

    async fn count(&self, shard: ShardId, request: Arc<RetrieveRequest>) -> Result<ReadAck<u64>> {
        self.leader(shard).await?.count(request).await
    }

    async fn flush(&self, shard: ShardId) -> Result<Flushed> {
        self.leader(shard).await?.flush().await
    }

    async fn deletes_after(&self, shard: ShardId, after: Timestamp) -> Result<DeleteBatch> {
        self.leader(shard).await?.deletes_after(after).await
    }

    async fn usage(&self) -> Result<LeaderUsage> {
        let memory = machine::memory().unwrap_or(u64::MAX);
        let shards = self.shards.read();
        let used = shards.iter().filter_map(|(shard, slot)| match &*slot.post.stage.borrow() {
            Stage::Serving(leader) => Some((*shard, leader.usage())),
            _ => None,
        });
        Ok(LeaderUsage {
            memory,
            threads: u32::try_from(self.environment.cpu.threads()).unwrap_or(u32::MAX),
            shards: used.collect(),
        })
    }
}

impl std::fmt::Debug for StreamingNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamingNode").field("node", &self.environment.node).finish_non_exhaustive()
    }
}
