//! Which tasks are this node's, and are they being done?

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redkite_catalog::{Record, TaskKind, TaskOutcome, TaskRecord, TaskResult};
use redkite_cluster::kv::{Compare, Txn};
use redkite_runtime::failpoint::reach;
use redkite_runtime::{Backoff, Stopping};
use redkite_types::TaskId;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::error::{Error, Result};
use crate::failpoint::{AFTER_RESULT, BEFORE_RESULT, BEFORE_WORK};
use crate::{Environment, build_index, compact, fold_deletes};

/// A data node at work.
#[derive(Debug)]
pub struct DataNode {
    environment: Environment,
}

impl DataNode {
    /// Starts doing the tasks recorded for this node, until the environment's tasks stop.
    pub fn start(environment: Environment) -> Self {
        let tasks = environment.tasks.clone();
        let worker = Worker {
            slots: Arc::new(Semaphore::new(environment.settings.concurrent_tasks.max(1))),
            environment: environment.clone(),
            started: HashMap::new(),
        };
        tasks.spawn("task-watcher", |stopping| worker.run(stopping));
        Self { environment }
    }

    /// Tasks recorded for this node that have no result yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        pending(&self.environment).len()
    }
}

/// Tries of a task that keeps failing for a reason that may pass.
const MOST_TRIES: u32 = 5;

/// A task that was started, and the flag that makes it stop.
type Started = HashMap<TaskId, Arc<AtomicBool>>;

struct Worker {
    environment: Environment,
    slots: Arc<Semaphore>,
    started: Started,
}

fn pending(environment: &Environment) -> Vec<Arc<TaskRecord>> {
    environment.view.read(|metadata| {
        let mine = metadata.tasks.values().filter(|task| task.node == environment.node);
        mine.filter(|task| !metadata.results.contains_key(&task.id)).map(|task| task.record.clone()).collect()
    })
}

impl Worker {
    async fn run(mut self, stopping: Stopping) {
        let mut changes = self.environment.view.changes();
        loop {
            let wanted = pending(&self.environment);
            metrics::gauge!("redkite_datanode_tasks_pending")
                .set(u32::try_from(wanted.len()).unwrap_or(u32::MAX));
            self.cancel_others(&wanted);
            for task in wanted {
                self.start(task);
            }
            if stopping.race(changes.any()).await.is_none() {
                // Builds look at their flags; a merge that was begun ends by itself.
                self.cancel_others(&[]);
                return;
            }
        }
    }

    fn cancel_others(&mut self, wanted: &[Arc<TaskRecord>]) {
        self.started.retain(|id, cancel| {
            let keep = wanted.iter().any(|task| task.id == *id);
            if !keep {
                cancel.store(true, Ordering::Relaxed);
            }
            keep
        });
    }

    fn start(&mut self, task: Arc<TaskRecord>) {
        if self.started.contains_key(&task.id) {
            return;
        }
        let cancel = Arc::new(AtomicBool::new(false));
        self.started.insert(task.id, cancel.clone());
        let attempt = Attempt { environment: self.environment.clone(), task, cancel };
        let slots = self.slots.clone();
        self.environment.tasks.spawn("data-task", |stopping| async move {
            attempt.until_done(&slots, &stopping).await;
        });
    }
}

/// One task being done.
struct Attempt {
    environment: Environment,
    task: Arc<TaskRecord>,
    cancel: Arc<AtomicBool>,
}

impl Attempt {
    async fn until_done(&self, slots: &Semaphore, stopping: &Stopping) {
        let Some(outcome) = self.outcome(slots, stopping).await else { return };
        // Not done again if only the record fails: the files are there, and may be recorded already.
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        while !self.cancel.load(Ordering::Relaxed) {
            match self.report(outcome.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    warn!(task = %self.task.id, error = error.chain(), "result not recorded, trying again");
                }
            }
            if stopping.race(backoff.wait()).await.is_none() {
                return;
            }
        }
    }

    /// Works until there is a result; `None` if nobody wants one any more.
    async fn outcome(&self, slots: &Semaphore, stopping: &Stopping) -> Option<TaskOutcome> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        for attempt in 1.. {
            // Given back before the pause: a task that cannot be done must not keep others from it.
            let slot = stopping.race(slots.acquire()).await?.ok()?;
            if self.cancel.load(Ordering::Relaxed) {
                return None;
            }
            let worked = self.work().await;
            drop(slot);
            match worked {
                Ok(outcome) => return Some(outcome),
                Err(Error::Cancelled) => return None,
                Err(error) if error.is_final() || self.gives_up(attempt, &error) => {
                    warn!(task = %self.task.id, attempt, error = error.chain(), "task failed");
                    return Some(TaskOutcome::Failed { reason: error.chain() });
                }
                Err(error) => {
                    warn!(task = %self.task.id, attempt, error = error.chain(), "task failed, trying again");
                }
            }
            stopping.race(backoff.wait()).await?;
        }
        None
    }

    /// Whether others should have their turn. Merging and folding are planned again after a while; a failed
    /// index stays failed, so that only a panic, which comes again, ends its tries.
    fn gives_up(&self, attempt: u32, error: &Error) -> bool {
        let planned_again = !matches!(self.task.kind, TaskKind::BuildIndex { .. });
        attempt >= MOST_TRIES && (planned_again || matches!(error, Error::Panicked(_)))
    }

    async fn work(&self) -> Result<TaskOutcome> {
        reach(BEFORE_WORK)?;
        let environment = &self.environment;
        match self.task.kind.clone() {
            TaskKind::BuildIndex { collection, segment, index, spec, path } => {
                let job = build_index::Job { collection, segment, index, spec, path };
                build_index::run(environment, job, self.cancel.clone()).await.map(TaskOutcome::IndexBuilt)
            }
            TaskKind::Compact { collection, partition, shard, sources, target } => {
                let job = compact::Job { collection, partition, shard, sources, target };
                compact::run(environment, job).await.map(TaskOutcome::Compacted)
            }
            TaskKind::FoldDeletes { shard, segments, deltas } => {
                fold_deletes::run(environment, shard, &segments, &deltas).await
            }
        }
    }

    /// Records the result, unless the task has been withdrawn meanwhile.
    async fn report(&self, outcome: TaskOutcome) -> Result<()> {
        reach(BEFORE_RESULT)?;
        let kind = match &outcome {
            TaskOutcome::IndexBuilt(_) => "index_built",
            TaskOutcome::Compacted(_) => "compacted",
            TaskOutcome::DeletesFolded { .. } => "deletes_folded",
            TaskOutcome::Failed { .. } => "failed",
        };
        let result = TaskResult { id: self.task.id, node: self.environment.node, outcome };
        let txn = Txn::new()
            .when(Compare::exists(TaskRecord::key(&self.task.id)))
            .put(TaskResult::key(&self.task.id), result.encode());
        self.environment.kv.txn(txn).await?;
        metrics::counter!("redkite_datanode_tasks_total", "result" => kind).increment(1);
        info!(task = %self.task.id, result = kind, "task done");
        Ok(reach(AFTER_RESULT)?)
    }
}
