//! The coordinators of one process as whoever steers the cluster sees them.

use async_trait::async_trait;
use redkite_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::Result;

/// What a coordinator is doing. Milvus: `StateCode`, whose numbers these have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeatState {
    /// It was elected and takes over. Milvus: `Initializing`.
    Starting = 0,
    /// It serves. Milvus: `Healthy`.
    Active = 1,
    /// It would take over. Milvus: `StandBy`.
    StandBy = 3,
    /// It is leaving, and takes nothing over. Milvus: `Stopping`.
    Stopping = 4,
}

impl SeatState {
    /// Milvus's number.
    #[must_use]
    pub fn code(self) -> i32 {
        self as i32
    }

    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "Initializing",
            Self::Active => "Active",
            Self::StandBy => "StandBy",
            Self::Stopping => "Stopping",
        }
    }
}

/// How far a process's copy of the records is behind the metastore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lag {
    /// Revisions of the metastore that the copy did not show when it was asked.
    pub revisions: u64,
    /// Milliseconds that it took to show them.
    pub millis: u64,
}

/// A coordinator in a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatStatus {
    /// Its role, such as `rootcoord`.
    pub role: String,
    /// Its process.
    pub node: NodeId,
    /// What it does.
    pub state: SeatState,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
    /// The epoch in which it is active; 0 if it is not.
    pub epoch: u64,
    /// Milliseconds until it demotes itself if the lease is not renewed; 0 if it is not active.
    pub lease_left: u64,
    /// How far its copy of the records is behind.
    pub lag: Lag,
    /// Why it would not take over, if there is a reason.
    pub hindrance: Option<String>,
}

/// Steers the coordinators of one process. Every process answers, also one that stands by.
#[async_trait]
pub trait Seats: Send + Sync {
    /// How the coordinators of this process are; none if it has none.
    async fn seats(&self) -> Result<Vec<SeatStatus>>;

    /// Hands a role over, to a process that is named or to the standby that is least behind; who that is.
    ///
    /// # Errors
    /// If this process is not active in the role, or nobody could follow: then nothing has happened.
    async fn hand_over(&self, role: String, to: Option<NodeId>, by: String) -> Result<NodeId>;
}
