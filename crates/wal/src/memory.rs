//! A log for tests of what is built on logs: every append is durable at once, and lost with the provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream;
use parking_lot::Mutex;
use redkite_types::{Epoch, Lsn, ShardId};
use tokio::sync::oneshot;

use crate::log::check;
use crate::{Append, Entry, Log, LogProvider, Reader, Record, WalError};

/// Logs in memory. Cheap to clone; clones share the logs, so that one can play a restart.
#[derive(Clone, Debug, Default)]
pub struct MemoryLogs {
    shards: Arc<Mutex<BTreeMap<ShardId, Arc<Mutex<Records>>>>>,
}

#[derive(Debug, Default)]
struct Records {
    epoch: Epoch,
    /// Which opening may append.
    opening: u64,
    removed: bool,
    truncated: u64,
    kept: Vec<Bytes>,
}

impl Records {
    fn last(&self) -> u64 {
        self.truncated + self.kept.len() as u64
    }
}

#[derive(Debug)]
struct MemoryLog {
    shard: ShardId,
    epoch: Epoch,
    opening: u64,
    closed: Mutex<bool>,
    records: Arc<Mutex<Records>>,
}

#[async_trait]
impl LogProvider for MemoryLogs {
    async fn open(&self, shard: ShardId, epoch: Epoch) -> Result<Arc<dyn Log>, WalError> {
        let records = self.shards.lock().entry(shard).or_default().clone();
        let opening = {
            let mut records = records.lock();
            if epoch < records.epoch {
                return Err(WalError::Fenced { shard, epoch, current: records.epoch });
            }
            records.epoch = epoch;
            records.opening += 1;
            records.opening
        };
        Ok(Arc::new(MemoryLog { shard, epoch, opening, closed: Mutex::new(false), records }))
    }

    async fn remove(&self, shard: ShardId) -> Result<(), WalError> {
        if let Some(records) = self.shards.lock().remove(&shard) {
            records.lock().removed = true;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<ShardId>, WalError> {
        Ok(self.shards.lock().keys().copied().collect())
    }
}

impl MemoryLog {
    fn check_holder(&self, records: &Records) -> Result<(), WalError> {
        if records.removed || *self.closed.lock() {
            return Err(WalError::Closed { shard: self.shard });
        }
        if records.opening != self.opening {
            return Err(WalError::Fenced { shard: self.shard, epoch: self.epoch, current: records.epoch });
        }
        Ok(())
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn append(&self, appended: Vec<Record>) -> Result<Append, WalError> {
        check(&appended)?;
        let mut records = self.records.lock();
        self.check_holder(&records)?;
        let first = Lsn(records.last() + 1);
        for record in appended {
            let mut payload = BytesMut::with_capacity(record.len());
            record.parts.iter().for_each(|part| payload.extend_from_slice(part));
            records.kept.push(payload.freeze());
        }
        let (done, durable) = oneshot::channel();
        let append = Append::new(self.shard, first, Lsn(records.last()), durable);
        // The receiver is alive: it is in the value returned.
        let _ = done.send(Ok(()));
        Ok(append)
    }

    fn read(&self, from: Lsn) -> Reader {
        let from = Lsn(from.0.max(1));
        let records = self.records.lock();
        let first = Lsn(records.truncated + 1);
        if from < first {
            let error = WalError::Truncated { shard: self.shard, requested: from, first };
            return Reader::new(stream::iter([Err(error)]));
        }
        let skip = usize::try_from(from.0 - first.0).unwrap_or(usize::MAX);
        let entries: Vec<_> = (from.0..)
            .zip(records.kept.iter().skip(skip))
            .map(|(lsn, payload)| Ok(Entry { lsn: Lsn(lsn), payload: payload.clone() }))
            .collect();
        Reader::new(stream::iter(entries))
    }

    fn first_lsn(&self) -> Lsn {
        Lsn(self.records.lock().truncated + 1)
    }

    fn last_lsn(&self) -> Lsn {
        Lsn(self.records.lock().last())
    }

    async fn truncate(&self, through: Lsn) -> Result<(), WalError> {
        let mut records = self.records.lock();
        self.check_holder(&records)?;
        let through = through.0.min(records.last());
        let count = usize::try_from(through.saturating_sub(records.truncated)).unwrap_or(usize::MAX);
        records.kept.drain(..count);
        records.truncated = records.truncated.max(through);
        Ok(())
    }

    async fn close(&self) -> Result<(), WalError> {
        *self.closed.lock() = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Harness, assert_log_contract};

    struct Memory(MemoryLogs);

    #[async_trait]
    impl Harness for Memory {
        async fn provider(&self) -> Arc<dyn LogProvider> {
            Arc::new(self.0.clone())
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        assert_log_contract(&Memory(MemoryLogs::default())).await;
    }
}
