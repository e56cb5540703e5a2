//! A simulated process: its tasks are held back while it is paused, and gone when it is killed.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;

use super::executor::{self, TaskId};

thread_local! {
    static PRESENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// A simulated process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Process(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    life: Life,
    /// Tasks that were to run while it was paused.
    held: Vec<TaskId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Paused,
    Dead,
}

impl Process {
    /// A process without tasks.
    #[must_use]
    pub fn start(name: &str) -> Self {
        let state = Mutex::new(State { life: Life::Running, held: Vec::new() });
        Self(Arc::new(Shared { name: name.to_owned(), state }))
    }

    /// The process whose task is running.
    #[must_use]
    pub fn present() -> Option<Self> {
        PRESENT.with_borrow(Clone::clone)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Starts a task of this process. What it spawns belongs to the process, too. In a dead one nothing happens.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if !self.is_dead() {
            executor::spawn(work, Some(self.clone()));
        }
    }

    /// Runs none of its tasks until it is resumed. Time goes on.
    pub fn pause(&self) {
        let mut state = self.0.state.lock();
        if state.life == Life::Running {
            state.life = Life::Paused;
        }
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        let held = {
            let mut state = self.0.state.lock();
            if state.life != Life::Paused {
                return;
            }
            state.life = Life::Running;
            std::mem::take(&mut state.held)
        };
        executor::release(held);
    }

    /// Ends it: none of its tasks runs again.
    pub fn kill(&self) {
        {
            let mut state = self.0.state.lock();
            state.life = Life::Dead;
            state.held.clear();
        }
        executor::end_all(self);
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.state.lock().life == Life::Paused
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.state.lock().life == Life::Dead
    }

    /// Does something as if a task of this process did it.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = Inside(PRESENT.replace(Some(self.clone())));
        work()
    }

    /// Whether a task must not run now; then it does when the process goes on.
    pub(super) fn holds(&self, task: TaskId) -> bool {
        let mut state = self.0.state.lock();
        let paused = state.life == Life::Paused;
        if paused {
            state.held.push(task);
        }
        paused
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Who was present before.
struct Inside(Option<Process>);

impl Drop for Inside {
    fn drop(&mut self) {
        PRESENT.set(self.0.take());
    }
}
