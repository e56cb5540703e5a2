//! How do rows in memory become files?
//!
//! One generation after the other: a data file per segment, one delta file with the deletes that
//! concern older segments, then the records ([`super::commit`]), then the log is cut. Files already
//! written survive a failed try within the process; after a crash they are written again under new
//! names, and what was left behind is collected. Nothing is let go before it is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::{CollectionRecord, DeltaFile, SegmentRecord, SegmentState};
use redkite_runtime::failpoint::reach;
use redkite_runtime::{Backoff, Stopping, blocking};
use redkite_segment::seal;
use redkite_storage::layout::ObjectPath;
use redkite_types::{SegmentId, Timestamp};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::ShardLeader;
use super::deletes::delta;
use super::state::{Generation, Sealing};
use super::writer::BrokenByPanic;
use crate::Error;
use crate::failpoint::{AFTER_DATA_FILE, AFTER_DELTA_FILE, AFTER_TRUNCATE, BEFORE_COMMIT, BEFORE_TRUNCATE};

/// Files without a record are collected when they are old: before that they are written anew.
const FILES_ARE_FRESH: Duration = Duration::from_secs(600);

/// Files of a generation that are written.
#[derive(Debug)]
pub(super) struct Files {
    /// No file is older.
    begun: Instant,
    /// By segment; `None` if no row was left.
    pub(super) segments: BTreeMap<SegmentId, Option<SegmentRecord>>,
    /// `None` until it is known whether one is needed.
    delta: Option<Option<DeltaFile>>,
}

impl Default for Files {
    fn default() -> Self {
        Self { begun: Instant::now(), segments: BTreeMap::new(), delta: None }
    }
}

impl Files {
    pub(super) fn delta(&self) -> Option<&DeltaFile> {
        self.delta.as_ref().and_then(Option::as_ref)
    }
}

impl ShardLeader {
    /// Makes files of what is sealed, unless that is being done.
    pub(super) fn start_flushing(self: &Arc<Self>) {
        let start = {
            let mut state = self.state.lock();
            let start = !state.flushing && !state.generations.is_empty();
            state.flushing |= start;
            start
        };
        if start {
            let shard = self.clone();
            self.tasks.spawn("flush", move |stopping| shard.run_flushes(stopping));
        }
    }

    async fn run_flushes(self: Arc<Self>, stopping: Stopping) {
        let ceiling = self.node.settings.retry_ceiling;
        let mut backoff = Backoff::new(Duration::from_millis(50), ceiling);
        let mut files = Files::default();
        let _broken = BrokenByPanic { shard: self.clone(), task: "flush" };
        while let Some(generation) = self.next_generation() {
            let Some(Ok(turn)) = stopping.race(self.flushes.acquire()).await else { return };
            let gate = self.flush.lock().await;
            if stopping.now() {
                return;
            }
            let written = stopping.race(self.write_files(&generation, &mut files)).await;
            let outcome = match written {
                // Not cut short by a stop: a transaction that was sent may be applied.
                Some(Ok(())) => self.record(&generation, &files).await,
                Some(Err(error)) => Err(error),
                // What is written has no record, and is collected.
                None => return,
            };
            drop((gate, turn));
            match outcome {
                Ok(()) => {
                    if let Err(error) = self.cut_log(&generation).await {
                        // The next flush cuts further.
                        warn!(shard = %self.id, %error, "log not cut");
                    }
                    files = Files::default();
                    backoff.reset();
                    self.state.lock().flush_failure = None;
                }
                Err(Error::Deposed { .. }) => {
                    warn!(shard = %self.id, "another leads the shard now, or its collection is gone");
                    self.state.lock().failure.get_or_insert(Error::Deposed { shard: self.id }.into());
                    self.changed();
                    return;
                }
                Err(error) => {
                    error!(shard = %self.id, %error, "flush failed, trying again");
                    metrics::counter!("redkite_flush_failures_total").increment(1);
                    self.state.lock().flush_failure = Some(error.to_string());
                    if files.begun.elapsed() >= FILES_ARE_FRESH {
                        files = Files::default();
                    }
                    if stopping.race(backoff.wait()).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// The oldest generation not in files; without one, flushing has ended.
    fn next_generation(&self) -> Option<Arc<Generation>> {
        let mut state = self.state.lock();
        let next = state.generations.front().cloned();
        state.flushing = next.is_some();
        next
    }

    async fn write_files(&self, generation: &Generation, files: &mut Files) -> Result<(), Error> {
        let Some(collection) = self.state.lock().route.collection.clone() else {
            return Err(Error::Deposed { shard: self.id });
        };
        for sealing in &generation.segments {
            if files.segments.contains_key(&sealing.id) {
                continue;
            }
            let record = self.write_data(sealing, &collection.record, generation.timestamp).await?;
            files.segments.insert(sealing.id, record);
            reach(AFTER_DATA_FILE)?;
        }
        if files.delta.is_none() {
            files.delta = Some(self.write_delta(generation, &collection.record).await?);
            reach(AFTER_DELTA_FILE)?;
        }
        Ok(())
    }

    async fn record(&self, generation: &Generation, files: &Files) -> Result<(), Error> {
        reach(BEFORE_COMMIT)?;
        let revision = self.commit(generation, files).await?;
        self.committed(generation, revision).await;
        Ok(())
    }

    /// Writes the rows of one segment that are not deleted; `None` if there are none.
    async fn write_data(
        &self,
        sealing: &Arc<Sealing>,
        collection: &Arc<CollectionRecord>,
        deletes_through: Timestamp,
    ) -> Result<Option<SegmentRecord>, Error> {
        let path =
            ObjectPath::SegmentData { collection: self.id.collection, segment: sealing.id }.to_string();
        let mut writer = self.node.store.writer(&path).await?;
        let (rows, schema) = (sealing.rows.clone(), collection.clone());
        let (written, writer) = blocking(move || {
            let stats = seal(&rows, &schema.schema, deletes_through, &mut writer);
            (stats, writer)
        })
        .await;
        let stats = written?;
        if stats.rows == 0 {
            return Ok(None);
        }
        let bytes = self.node.store.publish(writer).await?;
        info!(shard = %self.id, segment = sealing.id.0, rows = stats.rows, bytes, "segment written");
        metrics::counter!("redkite_sealed_segments_total").increment(1);
        metrics::counter!("redkite_sealed_bytes_total").increment(bytes);
        Ok(Some(SegmentRecord {
            id: sealing.id,
            collection: self.id.collection,
            partition: sealing.partition,
            shard: self.id,
            state: SegmentState::Flushed,
            rows: stats.rows,
            bytes,
            min_timestamp: stats.min_timestamp,
            max_timestamp: stats.max_timestamp,
            schema_version: collection.schema.version,
            data: path,
            deletes_through,
            deletes: None,
            indexes: BTreeMap::new(),
            index_failures: BTreeMap::new(),
            sources: Vec::new(),
            created_at: self.clock.now(),
        }))
    }

    /// Writes the deletes since the checkpoint, if there are segments they may concern: the rows of this
    /// generation are written without what they delete.
    async fn write_delta(
        &self,
        generation: &Generation,
        collection: &CollectionRecord,
    ) -> Result<Option<DeltaFile>, Error> {
        let concerned = self.node.view.read(|metadata| {
            metadata.segments_of(self.id.collection).any(|segment| {
                segment.shard == self.id && !matches!(segment.state, SegmentState::Dropped { .. })
            })
        });
        let key_type = collection.schema.primary_key().data_type;
        let (after, from, deletes) = {
            let state = self.state.lock();
            let after = state.deletes_in_files;
            (after, state.checkpoint.0.next(), state.deletes.between(after, generation.timestamp))
        };
        if !concerned || deletes.is_empty() {
            return Ok(None);
        }
        let id = self.node.ids.take(1).await?;
        let path = ObjectPath::Delta { shard: self.id, from, through: generation.lsn, id }.to_string();
        let (rows, encoded) = blocking(move || {
            let deletes = delta(&deletes, key_type);
            (deletes.len() as u64, deletes.encode())
        })
        .await;
        let bytes = encoded.len() as u64;
        self.node.store.put(&path, encoded.into()).await?;
        Ok(Some(DeltaFile { path, after, through: generation.timestamp, rows, bytes }))
    }

    /// Notes that a generation is recorded.
    async fn committed(&self, generation: &Generation, revision: redkite_types::Revision) {
        {
            let mut state = self.state.lock();
            state.generations.pop_front();
            state.checkpoint = (generation.lsn, generation.timestamp);
            state.deletes_in_files = generation.timestamp;
            state.trim_deletes();
            generation.segments.iter().for_each(|sealing| sealing.set_recorded(revision));
        }
        self.node.view.wait_for(revision).await;
        self.refresh();
        info!(shard = %self.id, lsn = generation.lsn.0, segments = generation.segments.len(), "flushed");
    }

    async fn cut_log(&self, generation: &Generation) -> Result<(), Error> {
        reach(BEFORE_TRUNCATE)?;
        self.log.truncate(generation.lsn).await?;
        Ok(reach(AFTER_TRUNCATE)?)
    }
}
