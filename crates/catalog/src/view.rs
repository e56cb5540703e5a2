//! A process's own, always current copy of the metastore's records.

use std::sync::Arc;

use parking_lot::RwLock;
use redkite_cluster::kv::{Event, KeyValue, Kv, KvError};
use redkite_cluster::view::{Progress, Target, follow};
use redkite_runtime::Tasks;
use redkite_types::Revision;
use tokio::sync::broadcast;

use crate::{Change, Metadata};

/// How many batches of changes a slow subscriber may be behind before it is told to look at everything.
const CHANGES_KEPT: usize = 1024;

/// A watched copy of all records. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MetadataView {
    copy: Arc<Copy>,
    progress: Progress,
}

#[derive(Debug)]
struct Copy {
    metadata: RwLock<Metadata>,
    changes: broadcast::Sender<Arc<[Change]>>,
}

impl MetadataView {
    /// Reads everything, then follows changes until `tasks` stop.
    ///
    /// # Errors
    /// If the first reading fails.
    pub async fn start(kv: Arc<dyn Kv>, tasks: &Tasks) -> Result<Self, KvError> {
        let copy = Arc::new(Copy {
            metadata: RwLock::new(Metadata::default()),
            changes: broadcast::channel(CHANGES_KEPT).0,
        });
        let progress = follow(kv, "", copy.clone(), tasks).await?;
        Ok(Self { copy, progress })
    }

    /// Looks at the records. Keep it short: updates wait for it.
    pub fn read<T>(&self, look: impl FnOnce(&Metadata) -> T) -> T {
        look(&self.copy.metadata.read())
    }

    /// The revision shown.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.progress.revision()
    }

    /// Waits until the view shows at least `revision`.
    pub async fn wait_for(&self, revision: Revision) {
        self.progress.wait_for(revision).await;
    }

    /// Subscribes to changes from now on. To miss nothing: subscribe first, then read.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.copy.changes.subscribe())
    }
}

impl Target for Copy {
    fn reset(&self, entries: Vec<KeyValue>) {
        let mut fresh = Metadata::default();
        for entry in entries {
            fresh.put(&entry.key, &entry.value, entry.mod_revision);
        }
        *self.metadata.write() = fresh;
        // An empty list of changes stands for "anything may have changed"; nobody listening is fine.
        let _ = self.changes.send(Arc::from([]));
    }

    fn apply(&self, events: Vec<Event>) {
        let changes: Vec<Change> = {
            let mut metadata = self.metadata.write();
            let change = |event| match event {
                Event::Put(entry) => metadata.put(&entry.key, &entry.value, entry.mod_revision),
                Event::Delete { key } => metadata.delete(&key),
            };
            events.into_iter().filter_map(change).collect()
        };
        if !changes.is_empty() {
            let _ = self.changes.send(changes.into());
        }
    }
}

/// A subscription to changes of a [`MetadataView`].
#[derive(Debug)]
pub struct Changes(broadcast::Receiver<Arc<[Change]>>);

impl Changes {
    /// Waits for the next changes; `None` means that anything may have changed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<[Change]>> {
        match self.0.recv().await {
            Ok(changes) if !changes.is_empty() => Some(changes),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
            // The view is gone, so nothing will ever change again.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Waits for changes, then takes all that have gathered meanwhile; for loops that replan as a whole.
    pub async fn any(&mut self) {
        self.next().await;
        while self.0.try_recv().is_ok() {}
    }
}
