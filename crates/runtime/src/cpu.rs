//! Where does work run that computes rather than waits?
//!
//! On a fixed pool of threads, one a core, apart from the threads that drive I/O: a long scan never
//! delays a heartbeat. Callers await the result; dropping the future does not stop work that has begun.
//! In a simulation there is one thread for everything.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::simulation;

/// Enough for searches to win a contended core, not so much that builds starve.
const BACKGROUND_NICENESS: i32 = 10;

/// A pool of computing threads. Cheap to clone.
#[derive(Clone)]
pub struct CpuPool(Arc<rayon::ThreadPool>);

/// The pool could not be built.
#[derive(Debug, thiserror::Error)]
#[error("cpu pool {name:?} not started")]
pub struct BuildError {
    name: String,
    source: rayon::ThreadPoolBuildError,
}

/// The work panicked; the panic was reported where it happened.
#[derive(Debug, thiserror::Error)]
#[error("cpu task panicked")]
pub struct Panicked;

impl CpuPool {
    /// A pool of `threads` threads named `<name>-<n>`.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn new(name: &str, threads: usize) -> Result<Self, BuildError> {
        if let Some(pool) = simulation::pool() {
            return Ok(Self(pool));
        }
        let prefix = name.to_owned();
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(move |index| format!("{prefix}-{index}"))
            .build()
            .map(|pool| Self(Arc::new(pool)))
            .map_err(|source| BuildError { name: name.to_owned(), source })
    }

    /// A pool as by [`CpuPool::new`] whose threads yield to all others: for work that nobody waits for.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn background(name: &str, threads: usize) -> Result<Self, BuildError> {
        if let Some(pool) = simulation::pool() {
            return Ok(Self(pool));
        }
        let prefix = name.to_owned();
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(move |index| format!("{prefix}-{index}"))
            .start_handler(|_| {
                // On Linux this concerns the calling thread only. Refused, the thread works on as others do.
                let _ = rustix::process::setpriority_process(None, BACKGROUND_NICENESS);
            })
            .build()
            .map(|pool| Self(Arc::new(pool)))
            .map_err(|source| BuildError { name: name.to_owned(), source })
    }

    /// Runs `work` on the pool.
    ///
    /// # Errors
    /// If the work panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        if simulation::is_running() {
            return std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|_| Panicked);
        }
        let (sender, receiver) = oneshot::channel();
        self.0.spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // The receiver is gone when the caller gave up; then nobody wants the result.
            let _ = sender.send(result);
        });
        match receiver.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) | Err(_) => Err(Panicked),
        }
    }

    /// The underlying pool, for parallel iterators inside already running work.
    #[must_use]
    pub fn rayon(&self) -> &rayon::ThreadPool {
        &self.0
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.0.current_num_threads()
    }
}

impl fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPool").field("threads", &self.threads()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_values_and_survives_panics() {
        let pool = CpuPool::new("test", 2).unwrap();
        assert_eq!(pool.run(|| 6 * 7).await.unwrap(), 42);
        assert!(pool.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(pool.run(|| 1).await.unwrap(), 1);
    }
}
