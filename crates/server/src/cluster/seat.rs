//! A coordinator of this process: stands by until it is elected, leads until it is deposed, and so on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use redkite_cluster::{Candidate, KvError, Leadership};
use redkite_runtime::{Backoff, Stopping, Tasks};
use redkite_service::{
    BalanceAnswer, BalanceCommand, CompactionProgress, DataCoord, Ddl, DdlAck, NewIndex, NewLoad,
    PlacementCommand, QueryCoord, RequestId, Result, RootCoord,
};
use redkite_types::{CollectionId, IndexId, PartitionId, TaskId};
use tokio::time::Instant;
use tracing::{info, warn};

use super::tenure::Tenure;

/// How often a standby says that it is one.
const REMINDER: Duration = Duration::from_secs(10);
/// How long the tasks of a deposed coordinator may take to end; what they write is refused anyway.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long giving a role up may take; then it ends with the lease.
const GIVING_UP: Duration = Duration::from_secs(3);

/// Where the coordinator of a role is found, while it is active.
pub(super) struct Seat<C: ?Sized> {
    tenure: Arc<Tenure>,
    coordinator: RwLock<Option<Arc<C>>>,
}

impl<C: ?Sized> Seat<C> {
    pub(super) fn new(tenure: Tenure) -> Arc<Self> {
        Arc::new(Self { tenure: Arc::new(tenure), coordinator: RwLock::new(None) })
    }

    pub(super) fn tenure(&self) -> &Arc<Tenure> {
        &self.tenure
    }

    /// The coordinator.
    ///
    /// # Errors
    /// If it stands by.
    async fn get(&self) -> Result<Arc<C>> {
        self.tenure.active().await?;
        self.coordinator.read().clone().ok_or_else(|| self.tenure.not_ready())
    }
}

#[async_trait]
impl RootCoord for Seat<dyn RootCoord> {
    async fn execute(&self, id: RequestId, command: Ddl) -> Result<DdlAck> {
        self.get().await?.execute(id, command).await
    }
}

#[async_trait]
impl DataCoord for Seat<dyn DataCoord> {
    async fn create_index(&self, id: RequestId, index: NewIndex) -> Result<DdlAck> {
        self.get().await?.create_index(id, index).await
    }

    async fn alter_index(
        &self,
        id: RequestId,
        collection: CollectionId,
        name: String,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<DdlAck> {
        self.get().await?.alter_index(id, collection, name, set, delete).await
    }

    async fn drop_index(&self, id: RequestId, collection: CollectionId, index: IndexId) -> Result<DdlAck> {
        self.get().await?.drop_index(id, collection, index).await
    }

    async fn compact(&self, id: RequestId, collection: CollectionId) -> Result<(TaskId, usize)> {
        self.get().await?.compact(id, collection).await
    }

    async fn compaction(&self, compaction: TaskId) -> Result<CompactionProgress> {
        self.get().await?.compaction(compaction).await
    }
}

#[async_trait]
impl QueryCoord for Seat<dyn QueryCoord> {
    async fn load(&self, id: RequestId, load: NewLoad) -> Result<DdlAck> {
        self.get().await?.load(id, load).await
    }

    async fn place(&self, id: RequestId, command: PlacementCommand) -> Result<DdlAck> {
        self.get().await?.place(id, command).await
    }

    async fn balance(&self, command: BalanceCommand) -> Result<BalanceAnswer> {
        self.get().await?.balance(command).await
    }

    async fn release(
        &self,
        id: RequestId,
        collection: CollectionId,
        partitions: Vec<PartitionId>,
    ) -> Result<DdlAck> {
        self.get().await?.release(id, collection, partitions).await
    }
}

/// What becomes a coordinator when it is elected.
pub(super) type Start<C> = Arc<dyn Fn(Leadership, Tasks) -> BoxFuture<'static, Result<Arc<C>>> + Send + Sync>;

/// Stands by and leads in turns until stopped.
pub(super) async fn occupy<C: ?Sized + Send + Sync + 'static>(
    seat: Arc<Seat<C>>,
    candidate: Candidate,
    start: Start<C>,
    stopping: Stopping,
) {
    let role = seat.tenure.role().name();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let led = match stopping.race(stand_by(&seat.tenure, &candidate)).await {
            None => break,
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(leadership)) => reign(&seat, &leadership, &start, &stopping).await,
        };
        if stopping.now() {
            break;
        }
        seat.tenure.stand_by();
        match led {
            Ok(()) => backoff.reset(),
            Err(error) => {
                warn!(role, error, "coordinator did not start");
                if stopping.race(backoff.wait()).await.is_none() {
                    break;
                }
            }
        }
    }
    seat.tenure.stop();
}

async fn stand_by(tenure: &Tenure, candidate: &Candidate) -> std::result::Result<Leadership, KvError> {
    let role = tenure.role().name();
    info!(role, "stands by until it is elected");
    let campaign = candidate.campaign();
    tokio::pin!(campaign);
    let mut hindrance = candidate.hindrance();
    hindrance.mark_changed();
    let mut reminder = tokio::time::interval_at(Instant::now() + REMINDER, REMINDER);
    loop {
        tokio::select! {
            biased;
            elected = &mut campaign => return elected,
            // Never an error: the candidate lives.
            _ = hindrance.changed() => tenure.hinder(hindrance.borrow_and_update().clone()),
            _ = reminder.tick() => info!(role, "in STANDBY"),
        }
    }
}

/// Takes over, leads, and gives the role up: first for others, then in this process, so that nobody waits
/// for what is left to do here.
async fn reign<C: ?Sized + Send + Sync + 'static>(
    seat: &Seat<C>,
    leadership: &Leadership,
    start: &Start<C>,
    stopping: &Stopping,
) -> std::result::Result<(), String> {
    let role = seat.tenure.role().name();
    seat.tenure.take_over(leadership);
    info!(role, epoch = leadership.epoch(), "switches from standby to active");
    let tasks = Tasks::new(role);
    let led = lead(seat, leadership, start, &tasks, stopping).await;
    let given_up = async {
        let ended = match leadership.is_lost() {
            true => tokio::time::timeout(GIVING_UP, leadership.withdraw()).await,
            false => tokio::time::timeout(GIVING_UP, leadership.resign()).await,
        };
        match ended {
            Ok(Ok(())) => info!(role, epoch = leadership.epoch(), "role given up"),
            Ok(Err(error)) => warn!(role, %error, "role not given up; it ends with the lease"),
            Err(_) => warn!(role, "role not given up, the metastore does not answer; it ends with the lease"),
        }
    };
    // Calls that come now go elsewhere; those on their way are fenced, and repeated by who sent them.
    match stopping.now() {
        true => seat.tenure.stop(),
        false => seat.tenure.stand_by(),
    }
    *seat.coordinator.write() = None;
    tokio::join!(given_up, tasks.stop(PATIENCE));
    led.map_err(|error| error.to_string())
}

/// Leads until deposed or stopped.
async fn lead<C: ?Sized>(
    seat: &Seat<C>,
    leadership: &Leadership,
    start: &Start<C>,
    tasks: &Tasks,
    stopping: &Stopping,
) -> Result<()> {
    let starting = start(leadership.clone(), tasks.clone());
    let coordinator = tokio::select! {
        biased;
        started = starting => started?,
        () = leadership.lost() => return Ok(()),
        () = stopping.wait() => return Ok(()),
    };
    *seat.coordinator.write() = Some(coordinator);
    seat.tenure.lead(leadership);
    let took = leadership.since_vacant().as_secs_f64();
    let (role, epoch) = (seat.tenure.role().name(), leadership.epoch());
    info!(role, epoch, revision = %leadership.revision(), took, "ACTIVE");
    tokio::select! {
        biased;
        () = leadership.lost() => warn!(role, epoch, "deposed, standing by"),
        () = stopping.wait() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
