//! How do logs survive in local files?
//!
//! Each shard has a directory of files named by their first position (`format`). Appends queue up in
//! `handle`; a few threads (`threads`) shared by all logs take what waits, write it with one gathered
//! write and one `fdatasync` (`files`), and answer. Opening finds the end of the last file and decides
//! whether damage there is a torn write or corruption (`scan`); reading checks every byte (`frames`, `read`).

mod files;
mod format;
mod frames;
mod handle;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod threads;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_runtime::blocking;
use redkite_runtime::failpoint::reach;
use redkite_types::{Epoch, ShardId};
use serde::{Deserialize, Serialize};

use crate::failpoint::REMOVING;
use crate::{Log, LogProvider, WalError};
use files::{Files, sync_directory};
use handle::{Inner, LocalLog};
use threads::Threads;

/// How local logs are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct WalSettings {
    /// Bytes after which a file is ended and the next one begun. Smaller: space is freed sooner; larger:
    /// fewer files.
    pub rotate_bytes: u64,
    /// Bytes written at most before a sync. Bounds how long a small append waits behind large ones.
    pub group_bytes: usize,
    /// Threads that write and sync; so many logs sync at the same time.
    pub threads: usize,
}

impl Default for WalSettings {
    fn default() -> Self {
        Self { rotate_bytes: 64 << 20, group_bytes: 16 << 20, threads: 4 }
    }
}

/// Logs in a local directory, one subdirectory each.
#[derive(Debug)]
pub struct LocalLogs {
    root: PathBuf,
    settings: WalSettings,
    threads: Arc<Threads>,
    /// The handle that may append, of each shard that was opened. The async lock serialises openings.
    slots: Mutex<HashMap<ShardId, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Weak<Inner>>>;

/// Ends the name of a directory that is being deleted.
const REMOVED: &str = ".removed";

impl LocalLogs {
    /// Logs under `root`, which is created if needed.
    ///
    /// # Errors
    /// [`WalError::Io`] if the directory cannot be used or the system refuses a thread.
    pub async fn open(root: &Path, settings: WalSettings) -> Result<Arc<Self>, WalError> {
        let directory = root.to_owned();
        blocking(move || prepare(&directory)).await?;
        let threads = Threads::start(settings.threads)
            .map_err(|error| WalError::io("start a thread for logs in", root, error))?;
        let slots = Mutex::new(HashMap::new());
        Ok(Arc::new(Self { root: root.to_owned(), settings, threads: Arc::new(threads), slots }))
    }

    fn directory(&self, shard: ShardId) -> PathBuf {
        self.root.join(shard.to_string())
    }

    fn slot(&self, shard: ShardId) -> Slot {
        self.slots.lock().entry(shard).or_default().clone()
    }
}

#[async_trait]
impl LogProvider for LocalLogs {
    async fn open(&self, shard: ShardId, epoch: Epoch) -> Result<Arc<dyn Log>, WalError> {
        let slot = self.slot(shard);
        let mut holder = slot.lock().await;
        if let Some(earlier) = holder.upgrade() {
            earlier.hand_over(epoch).await?;
        }
        let (directory, settings) = (self.directory(shard), self.settings.clone());
        let files = blocking(move || Files::open(directory, shard, epoch, settings.rotate_bytes)).await?;
        let inner = Inner::new(files, self.settings.group_bytes, self.threads.clone());
        *holder = Arc::downgrade(&inner);
        Ok(Arc::new(LocalLog(inner)))
    }

    async fn remove(&self, shard: ShardId) -> Result<(), WalError> {
        let slot = self.slot(shard);
        let holder = slot.lock().await;
        if let Some(open) = holder.upgrade() {
            open.abandon(WalError::Closed { shard }).await;
        }
        let (root, directory) = (self.root.clone(), self.directory(shard));
        let removed = blocking(move || remove(&root, &directory)).await;
        self.slots.lock().remove(&shard);
        removed
    }

    async fn list(&self) -> Result<Vec<ShardId>, WalError> {
        let root = self.root.clone();
        blocking(move || {
            let mut shards: Vec<ShardId> =
                names(&root)?.iter().filter_map(|name| name.parse().ok()).collect();
            shards.sort();
            Ok(shards)
        })
        .await
    }
}

/// Makes the directory and finishes interrupted removals.
fn prepare(root: &Path) -> Result<(), WalError> {
    std::fs::create_dir_all(root).map_err(|error| WalError::io("create", root, error))?;
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_directory(parent)?;
    }
    for name in names(root)?.iter().filter(|name| name.ends_with(REMOVED)) {
        let leftover = root.join(name);
        std::fs::remove_dir_all(&leftover).map_err(|error| WalError::io("remove", &leftover, error))?;
    }
    Ok(())
}

/// Makes a log vanish at once, and then frees its space.
fn remove(root: &Path, directory: &Path) -> Result<(), WalError> {
    let mut doomed = directory.as_os_str().to_owned();
    doomed.push(REMOVED);
    let doomed = PathBuf::from(doomed);
    match std::fs::rename(directory, &doomed) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(|error| WalError::io("remove", directory, error))?,
    }
    sync_directory(root)?;
    reach(REMOVING).map_err(|triggered| WalError::io("remove", &doomed, triggered.into()))?;
    std::fs::remove_dir_all(&doomed).map_err(|error| WalError::io("remove", &doomed, error))
}

fn names(directory: &Path) -> Result<Vec<String>, WalError> {
    let error = |error| WalError::io("list", directory, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        if let Ok(name) = entry.map_err(error)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
