//! How are the files of a flush recorded, once and by nobody but the leader?
//!
//! Segment records and the moved checkpoint go into one transaction, which holds only while the shard's
//! assignment is the one the leader acts on, the collection is as it was read (no record for a dropped
//! partition) and the checkpoint too (the data coordinator takes folded deltas out of it). A flush of
//! more segments than a transaction takes is committed in parts: partitions whose rows are recorded
//! are marked as *ahead* of the checkpoint, and the last part moves it.

use std::time::Duration;

use redkite_catalog::{CollectionRecord, Record, SegmentRecord, ShardAssignment, ShardCheckpoint};
use redkite_cluster::kv::{Compare, KeyValue, Txn};
use redkite_runtime::Backoff;
use redkite_runtime::failpoint::reach;
use redkite_types::Revision;

use super::ShardLeader;
use super::flush::Files;
use super::state::Generation;
use crate::Error;
use crate::failpoint::AFTER_COMMIT;

/// Segments recorded by one transaction; it takes 128 operations.
const PART: usize = 100;
/// Tries against others who change the same records.
const TRIES: usize = 50;

/// A record as it was read.
pub(super) struct Stored<R> {
    pub(super) record: R,
    pub(super) entry: Option<KeyValue>,
}

impl ShardLeader {
    /// Records a generation; returns the revision that did.
    pub(super) async fn commit(&self, generation: &Generation, files: &Files) -> Result<Revision, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(100));
        let mut conflicts = 0;
        while conflicts < TRIES {
            let collection = self.stored_collection().await?;
            let checkpoint = self.stored_checkpoint().await?;
            if checkpoint.record.lsn >= generation.lsn {
                // An earlier try was applied though its answer was lost.
                return Ok(checkpoint.entry.map_or(Revision(0), |entry| entry.mod_revision));
            }
            let part = next_part(generation, files, &collection.record, &checkpoint.record);
            let txn = self.transaction(generation, files, &part, &collection, &checkpoint);
            match self.node.kv.txn(txn).await {
                Ok(outcome) if outcome.committed => {
                    reach(AFTER_COMMIT)?;
                    if part.last {
                        return Ok(outcome.revision);
                    }
                }
                Ok(_) => {
                    self.check_leadership().await?;
                    conflicts += 1;
                    backoff.wait().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Conflict { shard: self.id })
    }

    fn transaction(
        &self,
        generation: &Generation,
        files: &Files,
        part: &Part<'_>,
        collection: &Stored<CollectionRecord>,
        checkpoint: &Stored<ShardCheckpoint>,
    ) -> Txn {
        let checkpoint_key = ShardCheckpoint::key(&self.id);
        let collection_key = CollectionRecord::key(&self.id.collection);
        let mut txn = Txn::new()
            .when(Compare::mod_revision(ShardAssignment::key(&self.id), self.leadership.revision))
            .when(Compare::unchanged(collection_key, collection.entry.as_ref()))
            .when(Compare::unchanged(checkpoint_key.clone(), checkpoint.entry.as_ref()));
        for segment in &part.segments {
            txn = txn.put(SegmentRecord::key(&(segment.collection, segment.id)), segment.encode());
        }
        let mut moved = checkpoint.record.clone();
        if part.last {
            moved.lsn = generation.lsn;
            moved.timestamp = generation.timestamp;
            moved.ahead.retain(|_, lsn| *lsn > generation.lsn);
            moved.deltas.extend(files.delta().cloned());
            moved.writes.clone_from(&generation.writes);
        } else {
            moved.ahead.extend(part.segments.iter().map(|segment| (segment.partition, generation.lsn)));
        }
        txn.put(checkpoint_key, moved.encode())
    }

    async fn check_leadership(&self) -> Result<(), Error> {
        let assignment = self.node.kv.get(&ShardAssignment::key(&self.id)).await?;
        if assignment.is_some_and(|entry| entry.mod_revision == self.leadership.revision) {
            Ok(())
        } else {
            Err(Error::Deposed { shard: self.id })
        }
    }

    async fn stored_collection(&self) -> Result<Stored<CollectionRecord>, Error> {
        let key = CollectionRecord::key(&self.id.collection);
        let Some(entry) = self.node.kv.get(&key).await? else {
            return Err(Error::Deposed { shard: self.id });
        };
        let record = decode(&key, &entry)?;
        Ok(Stored { record, entry: Some(entry) })
    }

    async fn stored_checkpoint(&self) -> Result<Stored<ShardCheckpoint>, Error> {
        let stored = read_checkpoint(&*self.node.kv, self.id).await?;
        let known = self.state.lock().checkpoint.0;
        let flushed = self.state.lock().generations.front().map(|generation| generation.lsn);
        if stored.record.lsn != known && Some(stored.record.lsn) != flushed {
            // Somebody else moved it: what is in memory may be in files already.
            return Err(Error::Deposed { shard: self.id });
        }
        Ok(stored)
    }
}

/// Reads a shard's checkpoint.
pub(super) async fn read_checkpoint(
    kv: &dyn redkite_cluster::Kv,
    shard: redkite_types::ShardId,
) -> Result<Stored<ShardCheckpoint>, Error> {
    let key = ShardCheckpoint::key(&shard);
    let entry = kv.get(&key).await?;
    let record = entry.as_ref().map(|entry| decode(&key, entry)).transpose()?.unwrap_or_default();
    Ok(Stored { record, entry })
}

fn decode<R: Record>(key: &str, entry: &KeyValue) -> Result<R, Error> {
    R::decode(&entry.value).map_err(|source| Error::MetastoreRecord { key: key.to_owned(), source })
}

/// What one transaction records.
struct Part<'a> {
    segments: Vec<&'a SegmentRecord>,
    last: bool,
}

fn next_part<'a>(
    generation: &Generation,
    files: &'a Files,
    collection: &CollectionRecord,
    checkpoint: &ShardCheckpoint,
) -> Part<'a> {
    let mut left = files.segments.values().flatten().filter(|segment| {
        let recorded = checkpoint.ahead.get(&segment.partition).is_some_and(|lsn| *lsn >= generation.lsn);
        // Rows of a dropped partition are nobody's.
        !recorded && collection.partition_by_id(segment.partition).is_some()
    });
    let segments: Vec<_> = left.by_ref().take(PART).collect();
    Part { last: left.next().is_none(), segments }
}
