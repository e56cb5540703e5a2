//! Which settings act without a restart?
//!
//! Those of balancing: the file is read again when it has changed, and what stands above it (environment and command
//! line) still does. A file that cannot be used changes nothing.

use std::time::{Duration, SystemTime};

use redkite_coordinator::BalancingSettings;
use redkite_runtime::{Stopping, Tasks, blocking};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Overrides, Settings, load};

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Settings that follow their file.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    overrides: Overrides,
}

impl Live {
    pub(crate) fn new(overrides: Overrides) -> Self {
        Self { overrides }
    }

    /// The settings of balancing, as they are and as they change until `tasks` stop.
    pub(crate) fn balancing(&self, now: &Settings, tasks: &Tasks) -> watch::Receiver<BalancingSettings> {
        let (told, heard) = watch::channel(now.query_coord.balancing.clone());
        let overrides = self.overrides.clone();
        tasks.spawn("settings", |stopping| follow(overrides, told, stopping));
        heard
    }
}

async fn follow(overrides: Overrides, told: watch::Sender<BalancingSettings>, stopping: Stopping) {
    let Some(path) = overrides.file.clone() else {
        // Whoever listens must not take the end of this for a change.
        return stopping.race(told.closed()).await.unwrap_or_default();
    };
    let changed_at = || std::fs::metadata(&path).and_then(|file| file.modified()).ok();
    let mut seen: Option<SystemTime> = changed_at();
    loop {
        if stopping.race(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
        let now = changed_at();
        if now == seen {
            continue;
        }
        seen = now;
        let again = overrides.clone();
        match blocking(move || load(&again)).await {
            Ok(effective) => {
                let next = effective.settings.query_coord.balancing;
                let is_new =
                    told.send_if_modified(|present| std::mem::replace(present, next.clone()) != next);
                if is_new {
                    info!(file = %path.display(), settings = ?*told.borrow(), "settings of balancing have changed");
                }
            }
            Err(error) => warn!(%error, "settings file has changed, but cannot be used"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_file_acts_and_a_broken_one_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str, age: u64| {
            std::fs::write(file.path(), text).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
            std::fs::File::options().write(true).open(file.path()).unwrap().set_modified(time).unwrap();
        };
        write("queryCoord:\n  autoBalance: true\n", 1);
        let command_line = vec![("queryCoord.movesPerNode".to_owned(), "7".to_owned())];
        let overrides =
            Overrides { file: Some(file.path().to_owned()), command_line, ..Overrides::default() };
        let settings = load(&overrides).unwrap().settings;
        let tasks = Tasks::new("test");
        let mut balancing = Live::new(overrides).balancing(&settings, &tasks);
        write("queryCoord:\n  balanceIntervalSeconds: 0\n", 2);
        assert!(tokio::time::timeout(2 * PAUSE, balancing.changed()).await.is_err());
        write("queryCoord:\n  autoBalance: false\n  movesPerNode: 9\n", 3);
        tokio::time::timeout(10 * PAUSE, balancing.changed()).await.unwrap().unwrap();
        let now = balancing.borrow().clone();
        assert_eq!((now.planning.auto_balance, now.moves_per_node), (false, 7));
    }
}
