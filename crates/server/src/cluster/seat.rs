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
    CompactionProgress, DataCoord, Ddl, DdlAck, Error, NewIndex, NewLoad, PlacementCommand, QueryCoord,
    RequestId, Result, RootCoord,
};
use redkite_types::{CollectionId, IndexId, NodeId, PartitionId, TaskId};
use tracing::{info, warn};

use super::Role;

/// How often a standby says that it is one.
const REMINDER: Duration = Duration::from_secs(10);
/// How long the tasks of a deposed coordinator may take to end; what they write is refused anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the coordinator of a role is found, while it is active.
pub(super) struct Seat<C: ?Sized> {
    role: Role,
    node: NodeId,
    active: RwLock<Option<Arc<C>>>,
}

impl<C: ?Sized> Seat<C> {
    pub(super) fn new(role: Role, node: NodeId) -> Arc<Self> {
        Arc::new(Self { role, node, active: RwLock::new(None) })
    }

    /// The coordinator.
    ///
    /// # Errors
    /// If it stands by.
    pub(super) fn get(&self) -> Result<Arc<C>> {
        self.active.read().clone().ok_or_else(|| Error::NotReady {
            role: self.role.name().to_owned(),
            node: self.node.0,
            state: "StandBy".to_owned(),
        })
    }
}

#[async_trait]
impl RootCoord for Seat<dyn RootCoord> {
    async fn execute(&self, id: RequestId, command: Ddl) -> Result<DdlAck> {
        self.get()?.execute(id, command).await
    }
}

#[async_trait]
impl DataCoord for Seat<dyn DataCoord> {
    async fn create_index(&self, id: RequestId, index: NewIndex) -> Result<DdlAck> {
        self.get()?.create_index(id, index).await
    }

    async fn alter_index(
        &self,
        id: RequestId,
        collection: CollectionId,
        name: String,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<DdlAck> {
        self.get()?.alter_index(id, collection, name, set, delete).await
    }

    async fn drop_index(&self, id: RequestId, collection: CollectionId, index: IndexId) -> Result<DdlAck> {
        self.get()?.drop_index(id, collection, index).await
    }

    async fn compact(&self, id: RequestId, collection: CollectionId) -> Result<(TaskId, usize)> {
        self.get()?.compact(id, collection).await
    }

    async fn compaction(&self, compaction: TaskId) -> Result<CompactionProgress> {
        self.get()?.compaction(compaction).await
    }
}

#[async_trait]
impl QueryCoord for Seat<dyn QueryCoord> {
    async fn load(&self, id: RequestId, load: NewLoad) -> Result<DdlAck> {
        self.get()?.load(id, load).await
    }

    async fn place(&self, id: RequestId, command: PlacementCommand) -> Result<DdlAck> {
        self.get()?.place(id, command).await
    }

    async fn release(
        &self,
        id: RequestId,
        collection: CollectionId,
        partitions: Vec<PartitionId>,
    ) -> Result<DdlAck> {
        self.get()?.release(id, collection, partitions).await
    }
}

/// What becomes a coordinator when it is elected.
pub(super) type Start<C> = Arc<dyn Fn(Leadership, Tasks) -> BoxFuture<'static, Result<Arc<C>>> + Send + Sync>;

/// What a standby does meanwhile: looks whether the active one still lives.
pub(super) type Watch = Arc<dyn Fn(&Tasks) + Send + Sync>;

/// Stands by and leads in turns until stopped.
pub(super) async fn occupy<C: ?Sized + Send + Sync + 'static>(
    seat: Arc<Seat<C>>,
    candidate: Candidate,
    watch: Watch,
    start: Start<C>,
    stopping: Stopping,
) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let Some(elected) = stopping.race(stand_by(seat.role, &candidate, &watch)).await else { return };
        let leadership = match elected {
            Ok(leadership) => leadership,
            Err(error) => {
                warn!(role = seat.role.name(), %error, "election failed");
                if stopping.race(backoff.wait()).await.is_none() {
                    return;
                }
                continue;
            }
        };
        let tasks = Tasks::new(seat.role.name());
        let led = lead(&seat, &leadership, &start, &tasks, &stopping).await;
        *seat.active.write() = None;
        tasks.stop(PATIENCE).await;
        if let Err(error) = leadership.resign().await {
            warn!(role = seat.role.name(), %error, "the role was not given up; it ends with the lease");
        }
        match led {
            Ok(()) if stopping.now() => return,
            Ok(()) => backoff.reset(),
            Err(error) => {
                warn!(role = seat.role.name(), %error, "coordinator did not start");
                if stopping.race(backoff.wait()).await.is_none() {
                    return;
                }
            }
        }
    }
}

async fn stand_by(
    role: Role,
    candidate: &Candidate,
    watch: &Watch,
) -> std::result::Result<Leadership, KvError> {
    let tasks = Tasks::new("standby");
    watch(&tasks);
    let campaign = candidate.campaign();
    tokio::pin!(campaign);
    let elected = loop {
        match tokio::time::timeout(REMINDER, &mut campaign).await {
            Ok(elected) => break elected,
            Err(_) => info!(role = role.name(), "in STANDBY"),
        }
    };
    // What it watched is over, one way or another; nobody waits for it.
    tasks.stop(Duration::ZERO).await;
    elected
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
        started = starting => started?,
        () = leadership.lost() => return Ok(()),
        () = stopping.wait() => return Ok(()),
    };
    *seat.active.write() = Some(coordinator);
    info!(role = seat.role.name(), revision = %leadership.revision(), "ACTIVE");
    tokio::select! {
        () = leadership.lost() => warn!(role = seat.role.name(), "deposed, standing by"),
        () = stopping.wait() => {}
    }
    Ok(())
}
