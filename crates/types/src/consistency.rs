//! How fresh a read must be.

use serde::{Deserialize, Serialize};

/// Milvus's consistency levels; the discriminants are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(i32)]
pub enum ConsistencyLevel {
    /// Sees everything acknowledged before the read was sent.
    Strong = 0,
    /// Sees at least the session's own writes.
    Session = 1,
    /// Sees everything older than a bounded staleness.
    Bounded = 2,
    /// Sees what is there.
    Eventually = 3,
    /// Sees everything up to a timestamp the caller gives.
    Customized = 4,
}

impl ConsistencyLevel {
    /// The level with this wire number.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Strong,
            1 => Self::Session,
            2 => Self::Bounded,
            3 => Self::Eventually,
            4 => Self::Customized,
            _ => return None,
        })
    }
}
