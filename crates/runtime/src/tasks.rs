//! Who owns the background tasks, and how do they stop?
//!
//! A component keeps a [`Tasks`]; everything it spawns is named, traced, and joined by
//! [`Tasks::stop`]. Tasks learn of the stop through [`Stopping`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span, warn};

use crate::simulation;

/// The signal that a component is stopping. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stopping(CancellationToken);

impl Stopping {
    /// Waits for the stop.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the stop has been asked for.
    #[must_use]
    pub fn now(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Runs `work` unless the stop comes first.
    pub async fn race<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            value = work => Some(value),
        }
    }
}

/// A component's background tasks. Cheap to clone; clones share the tasks.
#[derive(Clone, Debug)]
pub struct Tasks {
    component: Arc<str>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new(component: &str) -> Self {
        Self { component: component.into(), stop: CancellationToken::new(), tracker: TaskTracker::new() }
    }

    /// The stop signal for work that is not spawned here.
    #[must_use]
    pub fn stopping(&self) -> Stopping {
        Stopping(self.stop.clone())
    }

    /// Tasks of a part of this component: stopping the parent stops them too.
    #[must_use]
    pub fn child(&self, part: &str) -> Self {
        Self {
            component: format!("{}.{part}", self.component).into(),
            stop: self.stop.child_token(),
            tracker: self.tracker.clone(),
        }
    }

    /// Starts a task. It should end soon after [`Stopping`] fires. A panic is logged, not hidden.
    pub fn spawn<F>(&self, name: &'static str, work: impl FnOnce(Stopping) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let component = self.component.clone();
        let future = std::panic::AssertUnwindSafe(work(self.stopping())).catch_unwind();
        let supervised = async move {
            if future.await.is_err() {
                error!(component = &*component, task = name, "background task panicked");
            }
        };
        let tracked = self.tracker.track_future(supervised.instrument(info_span!("task", name)));
        match simulation::is_running() {
            true => simulation::spawn(tracked),
            false => {
                #[expect(clippy::disallowed_methods, reason = "this is the one door")]
                tokio::spawn(tracked);
            }
        }
    }

    /// Asks every task to end, and does not wait.
    pub fn cancel(&self) {
        self.stop.cancel();
    }

    /// Asks every task to end and waits for them, at most `patience`.
    pub async fn stop(&self, patience: Duration) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            warn!(component = &*self.component, left = self.tracker.len(), "tasks did not stop in time");
        }
    }
}

/// Runs blocking I/O off the threads that drive futures.
///
/// # Panics
/// If the work itself panics, or the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if simulation::is_running() {
        return work();
    }
    #[expect(clippy::disallowed_methods, reason = "this is the one door")]
    let handle = tokio::task::spawn_blocking(work);
    match handle.await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("blocking work was cancelled: {error}"),
    }
}

/// Starts a named thread that lives as long as its work.
///
/// # Errors
/// If the system refuses a thread.
pub fn thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_reaches_children_and_waits() {
        let tasks = Tasks::new("test");
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tasks.child("part").spawn("waiter", |stopping| async move {
            stopping.wait().await;
            sender.send(()).unwrap();
        });
        tasks.stop(Duration::from_secs(1)).await;
        receiver.await.unwrap();
    }
}
