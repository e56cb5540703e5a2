//! The turns of coordinators of two processes on one metastore.

use redkite_cluster::election::{self, Reason};
use redkite_cluster::kv::{EmbeddedKv, EmbeddedSettings};
use redkite_cluster::{Kv, SessionInfo, SessionSettings};
use redkite_runtime::ManualClock;
use redkite_service::{Error, SeatState};
use redkite_types::{NodeId, Revision, Timestamp};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::cluster::Role;

/// Says at which revision it was elected.
struct Elected(Revision);

#[async_trait]
impl RootCoord for Elected {
    async fn execute(&self, _: RequestId, _: Ddl) -> Result<DdlAck> {
        Ok(DdlAck { revision: self.0, timestamp: Timestamp::ZERO })
    }
}

struct World {
    kv: Arc<dyn Kv>,
    tasks: Tasks,
    _directory: TempDir,
}

struct Process {
    seat: Arc<Seat<dyn RootCoord>>,
    elections: Tasks,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tasks = Tasks::new("test");
        let path = directory.path().join("metadata.redb");
        let kv = EmbeddedKv::open(&path, &EmbeddedSettings::default(), &tasks).await.unwrap();
        Self { kv, tasks, _directory: directory }
    }

    /// A process whose coordinator starts when `gate` says so, and whose tasks end late.
    async fn process(&self, id: i64, gate: Arc<Notify>) -> Process {
        let clock = Arc::new(ManualClock::new(1));
        let info =
            SessionInfo { server_id: id, server_name: "rootcoord".to_owned(), ..SessionInfo::default() };
        let settings = SessionSettings::default();
        let candidate =
            Candidate::start(self.kv.clone(), info, &settings, clock.clone(), &self.tasks).await.unwrap();
        let start: Start<dyn RootCoord> = Arc::new(move |leadership, tasks: Tasks| {
            let gate = gate.clone();
            tasks.spawn("slow", |_| std::future::pending());
            Box::pin(async move {
                gate.notified().await;
                Ok(Arc::new(Elected(leadership.revision())) as _)
            })
        });
        let seat = Seat::new(Tenure::new(Role::RootCoord, NodeId(id), clock));
        let elections = Tasks::new("elections");
        let occupied = seat.clone();
        elections.spawn("election", |stopping| occupy(occupied, candidate, start, stopping));
        Process { seat, elections }
    }
}

fn open() -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    gate.notify_one();
    gate
}

impl Process {
    async fn becomes(&self, state: SeatState) {
        let reached = async {
            while self.seat.tenure.state() != state {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("it takes its turn");
    }

    async fn ask(&self) -> Result<DdlAck> {
        let command = Ddl::DropDatabase { name: "d".to_owned() };
        self.seat.execute(RequestId(1), command).await
    }
}

#[tokio::test]
async fn a_stop_hands_over_before_its_tasks_have_ended() {
    let world = World::start().await;
    let first = world.process(1, open()).await;
    first.becomes(SeatState::Active).await;
    let second = world.process(2, open()).await;
    let refused = second.ask().await.unwrap_err();
    assert!(matches!(&refused, Error::NotReady { state, .. } if state == "StandBy"), "{refused}");
    let elected = first.ask().await.unwrap().revision;

    let stopping = tokio::time::Instant::now();
    let (elections, seat) = (first.elections.clone(), first.seat.clone());
    let (took, ()) = tokio::join!(
        async {
            second.becomes(SeatState::Active).await;
            stopping.elapsed()
        },
        async {
            elections.stop(PATIENCE * 2).await;
            assert_eq!(seat.tenure.state(), SeatState::Stopping);
        }
    );
    assert!(took < PATIENCE, "{took:?}");
    assert!(second.ask().await.unwrap().revision > elected);
    assert!(first.ask().await.is_err());
}

#[tokio::test]
async fn a_call_waits_for_a_coordinator_that_is_taking_over() {
    let world = World::start().await;
    let gate = Arc::new(Notify::new());
    let process = world.process(1, gate.clone()).await;
    process.becomes(SeatState::Starting).await;
    let (answer, ()) = tokio::join!(process.ask(), async {
        tokio::task::yield_now().await;
        gate.notify_one();
    });
    answer.unwrap();
}

#[tokio::test]
async fn whoever_is_asked_to_hand_over_stands_by_again() {
    let world = World::start().await;
    let first = world.process(1, open()).await;
    first.becomes(SeatState::Active).await;
    let second = world.process(2, open()).await;
    let leadership = first.seat.tenure.leadership().unwrap();
    leadership.hand_over("test", Some(NodeId(2))).await.unwrap();
    second.becomes(SeatState::Active).await;
    first.becomes(SeatState::StandBy).await;
    let last = election::elections(&*world.kv, "rootcoord").await.unwrap().pop().unwrap();
    assert_eq!((last.epoch, last.server_id, last.reason), (2, 2, Reason::HandedOver));
    assert_eq!(last.by, "test");
    let status = second.seat.tenure.status(redkite_service::Lag::default());
    assert_eq!((status.epoch, status.state), (2, SeatState::Active));
    assert!(status.lease_left > 5000, "{status:?}");
}
