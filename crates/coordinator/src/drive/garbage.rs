//! Removes files and records that nobody is going to ask for again.
//!
//! Files first, records after them: a crash in between leaves a record whose files are gone already,
//! and the next pass removes it. What was written but never recorded, and single files that records no longer
//! name, are found by listing all objects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_catalog::{DroppedRecord, Metadata, SegmentRecord};
use redkite_runtime::Stopping;
use redkite_storage::layout::{self, ObjectPath};
use redkite_storage::{ObjectEntry, ObjectStore};
use redkite_types::{CollectionId, SegmentId, ShardId, Timestamp};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::command::millis;
use crate::data::GarbageSettings;
use crate::environment::Environment;
use crate::plan::garbage;
use crate::step::Steps;
use crate::writer::WriteError;

/// Prefixes under which the layout puts objects.
const ROOMS: [&str; 3] = ["segments/", "indexes/", "deltas/"];

/// Starts the loop.
pub(crate) fn spawn(environment: &Environment, store: Arc<dyn ObjectStore>, settings: &GarbageSettings) {
    let collector = Collector::new(environment, store, settings);
    environment.tasks.spawn("garbage", |stopping| collector.run(stopping));
}

/// A pass that was not finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GarbageError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Storage(#[from] redkite_storage::Error),
}

/// An object that nothing accounts for.
struct Garbage {
    /// Nobody can record it any more.
    given_up: bool,
}

/// What collects.
pub(crate) struct Collector {
    environment: Environment,
    store: Arc<dyn ObjectStore>,
    settings: GarbageSettings,
    /// By the clock of the files, in milliseconds.
    started: u64,
    /// Objects that were given up, and when that was first seen: readers may still have them in mind.
    given_up: Mutex<HashMap<String, u64>>,
}

impl Collector {
    pub(crate) fn new(
        environment: &Environment,
        store: Arc<dyn ObjectStore>,
        settings: &GarbageSettings,
    ) -> Self {
        let started = environment.clock.wall_millis();
        Self {
            environment: environment.clone(),
            store,
            settings: settings.clone(),
            started,
            given_up: Mutex::default(),
        }
    }

    async fn run(self, stopping: Stopping) {
        let mut swept = None;
        // Who has just taken over has better things to do.
        if !self.settings.sole_writer
            && stopping.race(tokio::time::sleep(self.settings.check_interval)).await.is_none()
        {
            return;
        }
        loop {
            if stopping.race(self.pass(&mut swept)).await.is_none_or(|go_on| !go_on) {
                return;
            }
            if stopping.race(tokio::time::sleep(self.settings.check_interval)).await.is_none() {
                return;
            }
        }
    }

    /// One pass; `false` ends the loop.
    async fn pass(&self, swept: &mut Option<Instant>) -> bool {
        let outcome = self.collect(swept).await;
        metrics::counter!("redkite_garbage_passes_total").increment(1);
        match outcome {
            Ok(()) => true,
            Err(GarbageError::Write(WriteError::Fenced { role })) => {
                info!(role, "deposed, garbage collection ends");
                false
            }
            Err(error) => {
                warn!(%error, "garbage collection interrupted");
                true
            }
        }
    }

    /// One pass: what records give up; at times, what no record tells of.
    pub(crate) async fn collect(&self, swept: &mut Option<Instant>) -> Result<(), GarbageError> {
        // Records and files are removed by what the view shows: it must not be that of a deposed one.
        self.environment.catch_up().await?;
        let unreadable = self.environment.view.read(|metadata| metadata.unreadable.first().cloned());
        if let Some(key) = unreadable {
            warn!(key, "nothing is removed while a record does not parse");
            return Ok(());
        }
        self.remove_segments().await?;
        self.remove_collections().await?;
        if swept.is_none_or(|last| last.elapsed() >= self.settings.interval) {
            self.sweep(swept.is_none()).await?;
            *swept = Some(Instant::now());
        }
        Ok(())
    }

    async fn remove_segments(&self) -> Result<(), GarbageError> {
        let before = self.ago(self.settings.drop_tolerance);
        // Some at a time: whoever changes records waits for who reads them.
        let collections: Vec<_> =
            self.environment.view.read(|metadata| metadata.collections.keys().copied().collect());
        let mut due = Vec::new();
        for collection in collections {
            let of = |metadata: &Metadata| garbage::segments(metadata, collection, before);
            let segments = self.environment.view.read(of).into_iter();
            due.extend(segments.map(|segment| (collection, segment)));
            tokio::task::yield_now().await;
        }
        for chunk in due.chunks(64) {
            for (collection, segment) in chunk {
                self.delete_all(&format!("{}{segment}/", layout::segments_of(*collection))).await?;
                self.delete_all(&format!("{}{segment}/", layout::indexes_of(*collection))).await?;
            }
            self.forget_segments(chunk).await?;
        }
        Ok(())
    }

    async fn forget_segments(&self, ids: &[(CollectionId, SegmentId)]) -> Result<(), GarbageError> {
        let steps = self.environment.view.read(|metadata| {
            let mut steps = Steps::new("segments forgotten");
            for id in ids {
                if let Some(segment) = metadata.segments.get(id) {
                    steps.next().relies_on(id, Some(segment)).delete::<SegmentRecord>(id);
                }
            }
            steps.finish()
        });
        self.environment.commit_all(steps).await?;
        Ok(())
    }

    async fn remove_collections(&self) -> Result<(), GarbageError> {
        for collection in self.environment.view.read(garbage::collections) {
            let shards = self
                .environment
                .view
                .read(|metadata| metadata.dropped.get(&collection).map_or(0, |dropped| dropped.shards));
            self.delete_all(&layout::segments_of(collection)).await?;
            self.delete_all(&layout::indexes_of(collection)).await?;
            for ordinal in 0..shards {
                self.delete_all(&layout::deltas_of(ShardId { collection, ordinal })).await?;
            }
            let ids = |metadata: &Metadata| -> Vec<_> {
                metadata.segments_of(collection).map(|segment| (collection, segment.id)).collect()
            };
            let ids = self.environment.view.read(ids);
            self.forget_segments(&ids).await?;
            self.forget_collection(collection).await?;
        }
        Ok(())
    }

    /// Last of all, so that whatever interrupts is made up for.
    async fn forget_collection(&self, collection: CollectionId) -> Result<(), GarbageError> {
        let steps = self.environment.view.read(|metadata| {
            let mut steps = Steps::new("collection forgotten");
            if metadata.segments_of(collection).next().is_none() {
                steps.next().delete::<DroppedRecord>(&collection);
            }
            steps.finish()
        });
        self.environment.commit_all(steps).await?;
        Ok(())
    }

    /// Removes objects that no record and no task accounts for. Young ones may be about to be recorded, unless it is
    /// known that nobody can.
    async fn sweep(&self, first: bool) -> Result<(), GarbageError> {
        let now = self.environment.clock.wall_millis();
        let old = now.saturating_sub(millis(self.settings.missing_tolerance));
        let old = if first && self.settings.sole_writer { self.before_start() } else { old };
        let given_up_before = now.saturating_sub(millis(self.settings.drop_tolerance));
        let seen = std::mem::take(&mut *self.given_up.lock());
        let mut removed = 0_u64;
        for room in ROOMS {
            for entry in self.store.list(room).await? {
                let Some(garbage) = self.garbage(&entry) else { continue };
                let since = seen.get(&entry.path).copied().unwrap_or(now);
                let due = entry.modified_millis < old || garbage.given_up && since <= given_up_before;
                if garbage.given_up && !due {
                    self.given_up.lock().insert(entry.path.clone(), since);
                }
                if due && self.is_unchanged(&entry).await? {
                    self.still_active()?;
                    self.store.delete(&entry.path).await?;
                    debug!(path = entry.path, "object without record removed");
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            info!(removed, "objects without record removed");
            metrics::counter!("redkite_garbage_objects_removed_total").increment(removed);
        }
        Ok(())
    }

    /// `None` if a record or a task accounts for the object, or if it is none of ours.
    fn garbage(&self, entry: &ObjectEntry) -> Option<Garbage> {
        let object = entry.path.parse::<ObjectPath>().ok()?;
        self.environment.view.read(|metadata| {
            let referenced = garbage::is_referenced(metadata, &entry.path, &object);
            (!referenced).then(|| Garbage { given_up: garbage::is_given_up(metadata, &object) })
        })
    }

    /// Whether the object is still the one that was listed: a flush that is repeated after a crash
    /// writes the same name again.
    async fn is_unchanged(&self, entry: &ObjectEntry) -> Result<bool, GarbageError> {
        Ok(self.store.list(&entry.path).await?.contains(entry))
    }

    async fn delete_all(&self, prefix: &str) -> Result<(), GarbageError> {
        for entry in self.store.list(prefix).await? {
            self.still_active()?;
            self.store.delete(&entry.path).await?;
            metrics::counter!("redkite_garbage_objects_removed_total").increment(1);
        }
        Ok(())
    }

    /// Objects are not fenced as records are: who may have been deposed removes nothing any more.
    fn still_active(&self) -> Result<(), WriteError> {
        self.environment.writer.still_active()
    }

    /// Files that are certainly of an earlier life: file systems keep time coarsely.
    fn before_start(&self) -> u64 {
        self.started.saturating_sub(2000)
    }

    fn ago(&self, span: Duration) -> Timestamp {
        let now = self.environment.clock.now().physical();
        Timestamp::from_physical(now.saturating_sub(millis(span)))
    }
}
