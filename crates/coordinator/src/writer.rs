//! How does a coordinator write, so that a deposed one cannot?

use async_trait::async_trait;
use redkite_cluster::election::{Leadership, LeadershipError};
use redkite_cluster::kv::{KvError, Txn, TxnOutcome};

/// The only door through which coordinators write.
///
/// An implementation MUST apply the transaction only while its holder is the active coordinator, in
/// the same atomic step; a loss of that role is [`WriteError::Fenced`], not an uncommitted outcome.
#[async_trait]
pub trait MetaWriter: Send + Sync + 'static {
    /// Applies `txn` if its compares hold and this coordinator is still the active one.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, WriteError>;

    /// Whether this coordinator may still be the active one, as far as it can tell by itself; asked before
    /// what no compare protects.
    ///
    /// # Errors
    /// [`WriteError::Fenced`] if not.
    fn still_active(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

#[async_trait]
impl MetaWriter for Leadership {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, WriteError> {
        Ok(Self::txn(self, txn).await?)
    }

    fn still_active(&self) -> Result<(), WriteError> {
        match self.is_lost() {
            true => Err(WriteError::Fenced { role: self.role().to_owned() }),
            false => Ok(()),
        }
    }
}

/// A write that was not carried out, or perhaps was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another coordinator is the active one now.
    #[error("another {role} is active")]
    Fenced {
        /// The role that was lost.
        role: String,
    },
    /// The metastore failed.
    #[error(transparent)]
    Kv(#[from] KvError),
}

impl From<LeadershipError> for WriteError {
    fn from(error: LeadershipError) -> Self {
        match error {
            LeadershipError::Fenced { role } => Self::Fenced { role },
            LeadershipError::Kv(error) => Self::Kv(error),
        }
    }
}

impl From<WriteError> for redkite_service::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Fenced { role } => Self::Fenced { what: role },
            // The command carries an id: repeating it settles whether it was applied. A lost answer is a
            // reason to do so at once; a store that has failed on its disk is none.
            WriteError::Kv(error @ KvError::Unknown { .. }) => {
                Self::ConnectionLost { what: error.to_string() }
            }
            WriteError::Kv(error) if error.maybe_applied() => Self::Timeout { what: error.to_string() },
            WriteError::Kv(error) if error.disk_full() => Self::DiskFull { reason: error.to_string() },
            WriteError::Kv(error) if error.retryable() => Self::Unavailable { reason: error.to_string() },
            WriteError::Kv(error) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use redkite_service::Error;

    use super::*;

    #[test]
    fn a_lost_answer_is_one_that_proxies_ask_for_again() {
        let lost = WriteError::Kv(KvError::Unknown { source: "cut".into() });
        assert!(matches!(Error::from(lost), Error::ConnectionLost { .. }));
        let away = WriteError::Kv(KvError::Unavailable { source: "away".into() });
        assert!(matches!(Error::from(away), Error::Unavailable { .. }));
        let other = WriteError::Fenced { role: "rootcoord".to_owned() };
        assert!(matches!(Error::from(other), Error::Fenced { .. }));
    }
}
