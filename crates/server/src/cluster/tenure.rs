//! What a coordinator of this process is doing at the moment, for itself and for whoever asks.

use std::sync::Arc;
use std::time::Duration;

use redkite_cluster::Leadership;
use redkite_runtime::Clock;
use redkite_service::{Error, Lag, Result, SeatState, SeatStatus};
use redkite_types::NodeId;
use tokio::sync::watch;

use super::Role;

/// How long a call waits for a coordinator that was elected and is taking over.
const TAKING_OVER: Duration = Duration::from_secs(5);

/// The turns of a coordinator: it stands by, takes over, is active, and so on until it stops.
#[derive(Debug)]
pub(super) struct Tenure {
    role: Role,
    node: NodeId,
    clock: Arc<dyn Clock>,
    turn: watch::Sender<Turn>,
}

#[derive(Clone, Debug)]
struct Turn {
    state: SeatState,
    /// In milliseconds since the Unix epoch.
    since: u64,
    /// While it takes over or is active.
    leadership: Option<Leadership>,
    hindrance: Option<String>,
}

impl Tenure {
    pub(super) fn new(role: Role, node: NodeId, clock: Arc<dyn Clock>) -> Self {
        let since = clock.now_millis();
        let turn = Turn { state: SeatState::StandBy, since, leadership: None, hindrance: None };
        let tenure = Self { role, node, clock, turn: watch::Sender::new(turn) };
        tenure.measure();
        tenure
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// What it does now. Who has lost its lease is no longer active, be it that it does not know yet.
    pub(super) fn state(&self) -> SeatState {
        let turn = self.turn.borrow();
        match &turn.leadership {
            Some(leadership) if turn.state == SeatState::Active && leadership.is_lost() => SeatState::StandBy,
            _ => turn.state,
        }
    }

    pub(super) fn stand_by(&self) {
        self.turns_to(SeatState::StandBy, None);
    }

    pub(super) fn take_over(&self, leadership: &Leadership) {
        self.turns_to(SeatState::Starting, Some(leadership.clone()));
    }

    pub(super) fn lead(&self, leadership: &Leadership) {
        metrics::histogram!("redkite_coordinator_failover_seconds", "role" => self.role.name())
            .record(leadership.since_vacant().as_secs_f64());
        self.turns_to(SeatState::Active, Some(leadership.clone()));
    }

    pub(super) fn stop(&self) {
        self.turns_to(SeatState::Stopping, None);
    }

    /// Says why it would not take over, or that nothing is in the way.
    pub(super) fn hinder(&self, why: Option<String>) {
        self.turn.send_modify(|turn| turn.hindrance = why);
    }

    /// Why it would not take over.
    pub(super) fn hindrance(&self) -> Option<String> {
        self.turn.borrow().hindrance.clone()
    }

    fn turns_to(&self, state: SeatState, leadership: Option<Leadership>) {
        let since = self.clock.now_millis();
        self.turn.send_modify(|turn| {
            let hindrance = turn.hindrance.take();
            *turn = Turn { state, since, leadership, hindrance };
        });
        self.measure();
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    fn measure(&self) {
        let turn = self.turn.borrow();
        let active = if turn.state == SeatState::Active { 1.0 } else { 0.0 };
        metrics::gauge!("redkite_coordinator_active", "role" => self.role.name()).set(active);
        if let Some(leadership) = &turn.leadership {
            metrics::gauge!("redkite_coordinator_epoch", "role" => self.role.name())
                .set(leadership.epoch() as f64);
        }
    }

    /// The leadership of an active coordinator, asked before every call into it. A call that comes while it
    /// takes over waits. Who was paused past its lease refuses, before its timers have run.
    ///
    /// # Errors
    /// If it is not active.
    pub(super) async fn active(&self) -> Result<Leadership> {
        let mut turn = self.turn.subscribe();
        let taken_over = turn.wait_for(|turn| turn.state != SeatState::Starting);
        let _ = tokio::time::timeout(TAKING_OVER, taken_over).await;
        self.leadership().ok_or_else(|| self.not_ready())
    }

    /// The leadership of an active coordinator.
    pub(super) fn leadership(&self) -> Option<Leadership> {
        let turn = self.turn.borrow();
        let leadership = turn.leadership.as_ref().filter(|_| turn.state == SeatState::Active)?;
        (!leadership.is_lost()).then(|| leadership.clone())
    }

    pub(super) fn not_ready(&self) -> Error {
        let state = self.state().as_str().to_owned();
        Error::NotReady { role: self.role.name().to_owned(), node: self.node.0, state }
    }

    pub(super) fn status(&self, lag: Lag) -> SeatStatus {
        let (state, turn) = (self.state(), self.turn.borrow().clone());
        let leadership = turn.leadership.filter(|_| state == SeatState::Active);
        let left = leadership.as_ref().map_or(Duration::ZERO, Leadership::left);
        SeatStatus {
            role: self.role.name().to_owned(),
            node: self.node,
            state,
            since: turn.since,
            epoch: leadership.as_ref().map_or(0, Leadership::epoch),
            lease_left: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            lag,
            hindrance: turn.hindrance,
        }
    }
}
