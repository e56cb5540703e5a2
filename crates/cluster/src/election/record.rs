//! What is remembered of elections?
//!
//! `election/<role>/<epoch>` is written by the transaction that creates the active key, once an epoch:
//! epochs count 1, 2, 3 and on, so the records are a proof that no two were active at once.
//! `handover/<role>` is a note that whoever ends a reign leaves for the next election: why it ended, and
//! who should follow. It is written by the transaction that deletes the active key.

use redkite_types::{NodeId, Revision};
use serde::{Deserialize, Serialize};

use crate::kv::{KeyValue, KvError};
use crate::session::SessionInfo;

/// Records kept of each role.
pub(super) const KEPT: u64 = 64;

/// Why there was an election. Text as stored and as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Nobody was active before.
    FirstStart,
    /// Somebody asked the active one to hand over.
    HandedOver,
    /// The active process was told to stop.
    Stopped,
    /// The active process died: its address refused connections.
    Died,
    /// Another process has the address of the active one: it was restarted.
    Restarted,
    /// The active one's lease ended, or was about to: it hung, or was cut off.
    #[default]
    #[serde(other)]
    LeaseEnded,
}

impl Reason {
    /// As in logs, metrics and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstStart => "first_start",
            Self::HandedOver => "handed_over",
            Self::Stopped => "stopped",
            Self::Died => "died",
            Self::Restarted => "restarted",
            Self::LeaseEnded => "lease_ended",
        }
    }
}

/// One election.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ElectionRecord {
    /// Counts the elections of a role from 1.
    pub epoch: u64,
    /// Who became active.
    pub server_id: i64,
    /// Where it listens.
    pub address: String,
    /// Its machine.
    pub host: String,
    /// When, in milliseconds since the Unix epoch, by its own clock.
    pub at: u64,
    /// Who was active before.
    pub previous: Option<i64>,
    /// Why.
    pub reason: Reason,
    /// Who asked for it, or who saw it; empty if nobody in particular.
    pub by: String,
    /// Milliseconds during which nobody was active, as far as the elected one could see.
    pub waited: u64,
}

impl ElectionRecord {
    /// Who became active.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.server_id)
    }

    pub(super) fn key(role: &str, epoch: u64) -> String {
        format!("{}{epoch:010}", history(role))
    }

    /// As it is stored.
    ///
    /// # Panics
    /// Never: all fields have a JSON form.
    #[must_use]
    pub fn to_value(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers have a JSON form")
    }

    /// Reads what is stored under `key`.
    ///
    /// # Errors
    /// [`KvError::BadValue`] if it is not a record's JSON.
    pub fn from_value(key: &str, value: &[u8]) -> Result<Self, KvError> {
        serde_json::from_slice(value)
            .map_err(|error| KvError::BadValue { key: key.to_owned(), detail: error.to_string() })
    }
}

/// Where the records of a role are.
#[must_use]
pub fn history(role: &str) -> String {
    format!("election/{role}/")
}

/// Why a reign ended, and who should follow.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Note {
    /// The reign: the revision that created the active key.
    pub(super) reign: i64,
    pub(super) reason: Reason,
    /// Who asked for it, or who saw it.
    pub(super) by: String,
    /// Who was active.
    pub(super) from: i64,
    /// Who should be active next.
    pub(super) to: Option<i64>,
    /// Milliseconds between the first sign and this note.
    pub(super) noticed: u64,
}

impl Note {
    pub(super) fn key(role: &str) -> String {
        format!("handover/{role}")
    }

    pub(super) fn to_value(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers have a JSON form")
    }

    pub(super) fn read(entry: &KeyValue) -> Option<Self> {
        // What another version wrote is no reason to hold up an election.
        serde_json::from_slice(&entry.value).ok()
    }

    /// Whether it is about the reign that began at this revision.
    pub(super) fn is_about(&self, reign: Revision) -> bool {
        self.reign == reign.0
    }
}

/// The newest version that was ever active, so that an older one does not read what it does not know.
pub(super) const VERSION_KEY: &str = "version";

/// `major.minor` of a version: what differs only behind that understands each other's records.
pub(super) type Release = (u64, u64);

/// The release of a version such as `0.1.0`; `None` if it is something else.
pub(super) fn release(version: &str) -> Option<Release> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The release of a session's program. A session without version is of none.
pub(super) fn release_of(info: &SessionInfo) -> Option<Release> {
    release(&info.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_releases_are_read_as_written() {
        let record = ElectionRecord {
            epoch: 7,
            server_id: 3,
            address: "a:1".to_owned(),
            reason: Reason::HandedOver,
            previous: Some(2),
            ..ElectionRecord::default()
        };
        let value = record.to_value();
        assert!(String::from_utf8_lossy(&value).contains("\"reason\":\"handed_over\""));
        assert_eq!(ElectionRecord::from_value("k", &value).unwrap(), record);
        let newer = br#"{"epoch":8,"reason":"struck by lightning","surprise":1}"#;
        assert_eq!(ElectionRecord::from_value("k", newer).unwrap().reason, Reason::LeaseEnded);
        assert_eq!(ElectionRecord::key("rootcoord", 7), "election/rootcoord/0000000007");
        assert!(release("0.10.3") > release("0.9.9"));
        assert_eq!((release("0.1.0"), release(""), release("next")), (Some((0, 1)), None, None));
    }
}
