//! Who holds the doors of time, chance and concurrency? On a thread that runs a simulation, the simulation.
//!
//! There everything runs on one thread in one order, which comes from one seed (`executor`), as does every other
//! chance; blocking and computing work is done where it is asked for. Tokio's paused clock gives the time. A
//! [`Process`] owns the tasks that are spawned in it, so that it can be paused and killed.

mod executor;
mod process;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

pub use process::Process;

/// Microseconds between two questions how much CPU time was used.
const STRETCH: u64 = 50;

thread_local! {
    static CHANCE: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    /// Simulated microseconds of computing.
    static CPU: Cell<u64> = const { Cell::new(0) };
    /// Parallel iterators of this thread run on it alone. Made once: a thread cannot leave its pool.
    static POOL: Option<Arc<rayon::ThreadPool>> = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build()
        .ok()
        .map(Arc::new);
}

/// Runs a future and everything it spawns as a simulation of this seed, on this thread. What is still running
/// when the future has ended is dropped. Wants a runtime of one thread whose clock is paused.
pub async fn run<T>(seed: u64, main: impl Future<Output = T>) -> T {
    CHANCE.set(Some(StdRng::seed_from_u64(seed)));
    CPU.set(0);
    let _held = Held;
    // One poll of the executor is many of its tasks: it must not run out of budget for all of them.
    let order = StdRng::seed_from_u64(!seed);
    tokio::task::unconstrained(executor::run(main, order)).await
}

/// The doors are held.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        CHANCE.set(None);
    }
}

/// Whether this thread runs a simulation.
#[must_use]
pub fn is_running() -> bool {
    CHANCE.with_borrow(Option::is_some)
}

/// Starts a task of the process that is present, or of none. Only for a thread that runs a simulation.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    match Process::present() {
        Some(process) => process.spawn(work),
        None => executor::spawn(work, None),
    }
}

/// A generator from the simulation's seed.
pub(crate) fn generator() -> Option<StdRng> {
    CHANCE.with_borrow_mut(|chance| Some(StdRng::seed_from_u64(chance.as_mut()?.next_u64())))
}

/// CPU time that was used. All processes share it.
pub(crate) fn cpu() -> Option<Duration> {
    is_running().then(|| Duration::from_micros(CPU.get()))
}

/// The same; what lies between two questions costs the same, whatever it is.
pub(crate) fn spend() -> Option<Duration> {
    CPU.set(CPU.get() + STRETCH);
    cpu()
}

/// The pool that is this thread.
pub(crate) fn pool() -> Option<Arc<rayon::ThreadPool>> {
    is_running().then(|| POOL.with(Clone::clone)).flatten()
}
