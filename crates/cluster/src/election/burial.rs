//! How does a role change hands when its active process is dead, without waiting for the lease?

use std::time::Duration;

use super::record::{Note, Reason};
use crate::kv::{Compare, Kv, KvError, Txn};
use crate::session::active_key;
use crate::sessions::{Peer, Sessions};

/// Who saw a death, and what it saw.
#[derive(Clone, Debug)]
pub struct Witness {
    /// What happened: [`Reason::Died`] or [`Reason::Restarted`].
    pub reason: Reason,
    /// Who says so.
    pub by: String,
    /// How long ago the first sign was.
    pub noticed: Duration,
}

/// Ends the reign of a dead process, if it was active, in one transaction that compares it. Its lease is for
/// the caller to revoke. A wrong verdict costs an election, no correctness: every write of the buried one
/// is fenced.
///
/// # Errors
/// If the metastore fails.
pub async fn bury(kv: &dyn Kv, sessions: &Sessions, dead: &Peer, witness: &Witness) -> Result<(), KvError> {
    let role = &dead.info.server_name;
    let Some(active) = sessions.active(role).filter(|active| active.lease == dead.lease) else {
        return Ok(());
    };
    let note = Note {
        reign: active.revision.0,
        reason: witness.reason,
        by: witness.by.clone(),
        from: dead.info.server_id,
        to: None,
        noticed: u64::try_from(witness.noticed.as_millis()).unwrap_or(u64::MAX),
    };
    let active_key = active_key(role);
    let txn = Txn::new()
        .when(Compare::create_revision(&active_key, active.revision))
        .delete(active_key)
        .put(Note::key(role), note.to_value());
    kv.txn(txn).await.map(drop)
}
