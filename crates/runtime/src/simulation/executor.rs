//! In which order do tasks run? In one that the seed draws.
//!
//! Of the tasks that are ready any may run next, as on many threads. What wakes several at once does so in an
//! order that Tokio draws by itself: they are sorted first, so that the order comes from the seed alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

use super::process::Process;

/// A future that nobody waits for.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    static TASKS: RefCell<Option<Table>> = const { RefCell::new(None) };
}

/// The tasks of a thread.
struct Table {
    tasks: BTreeMap<TaskId, Task>,
    next: u64,
    woken: Arc<Woken>,
}

/// Tasks are numbered as they are spawned. The first is the one that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(u64);

const MAIN: TaskId = TaskId(0);

/// So many steps while no time passes: tasks wake each other without end.
const ENDLESS: u32 = 20_000_000;

struct Task {
    /// Taken while it runs.
    work: Option<Work>,
    process: Option<Process>,
    waker: Arc<TaskWaker>,
}

/// Who is to run.
#[derive(Default)]
struct Woken {
    tasks: Mutex<Vec<TaskId>>,
    /// Wakes the executor itself.
    executor: Mutex<Option<Waker>>,
}

struct TaskWaker {
    id: TaskId,
    woken: Arc<Woken>,
    /// Whether it is among them already.
    ready: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.ready.swap(true, Ordering::Relaxed) {
            self.woken.add([self.id]);
        }
    }
}

impl Woken {
    fn add(&self, tasks: impl IntoIterator<Item = TaskId>) {
        self.tasks.lock().extend(tasks);
        let executor = self.executor.lock().take();
        if let Some(executor) = executor {
            executor.wake();
        }
    }
}

/// Runs a future and every task that is spawned on this thread meanwhile; those are gone afterwards.
pub(super) async fn run<T>(main: impl Future<Output = T>, mut chance: StdRng) -> T {
    let woken = Arc::new(Woken::default());
    TASKS.set(Some(Table { tasks: BTreeMap::new(), next: MAIN.0 + 1, woken: woken.clone() }));
    let _gone = Gone;
    let main_waker = Arc::new(TaskWaker { id: MAIN, woken: woken.clone(), ready: AtomicBool::new(false) });
    main_waker.clone().wake();
    let waker = Waker::from(main_waker.clone());
    let mut main = pin!(main);
    let mut ready: Vec<TaskId> = Vec::new();
    poll_fn(move |cx| {
        // First: whoever is woken from here on wakes the executor.
        *woken.executor.lock() = Some(cx.waker().clone());
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < ENDLESS, "the simulated time stands still");
            let mut fresh = mem::take(&mut *woken.tasks.lock());
            fresh.sort_unstable();
            ready.append(&mut fresh);
            if ready.is_empty() {
                return Poll::Pending;
            }
            let chosen = chance.random_range(0..ready.len());
            match ready.swap_remove(chosen) {
                MAIN => {
                    main_waker.ready.store(false, Ordering::Relaxed);
                    if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return Poll::Ready(value);
                    }
                }
                id => step(id),
            }
        }
    })
    .await
}

/// Lets a task run until it waits.
fn step(id: TaskId) {
    let Some((mut work, process, waker)) = take(id) else { return };
    if process.as_ref().is_some_and(|process| process.holds(id)) {
        return put_back(id, work);
    }
    waker.ready.store(false, Ordering::Relaxed);
    let waker = Waker::from(waker);
    let mut poll = || work.as_mut().poll(&mut Context::from_waker(&waker));
    let ended = match &process {
        Some(process) => process.enter(&mut poll).is_ready() || process.is_dead(),
        None => poll().is_ready(),
    };
    match ended {
        true => {
            with(|table| table.tasks.remove(&id));
            end(work, process.as_ref());
        }
        false => put_back(id, work),
    }
}

fn take(id: TaskId) -> Option<(Work, Option<Process>, Arc<TaskWaker>)> {
    with(|table| {
        let task = table.tasks.get_mut(&id)?;
        Some((task.work.take()?, task.process.clone(), task.waker.clone()))
    })
    .flatten()
}

fn put_back(id: TaskId, work: Work) {
    with(|table| {
        if let Some(task) = table.tasks.get_mut(&id) {
            task.work = Some(work);
        }
    });
}

/// What ends with a task may try to start another: in the same process, where it does not.
fn end(work: Work, process: Option<&Process>) {
    match process {
        Some(process) => process.enter(|| drop(work)),
        None => drop(work),
    }
}

fn with<T>(look: impl FnOnce(&mut Table) -> T) -> Option<T> {
    TASKS.with_borrow_mut(|table| table.as_mut().map(look))
}

/// Starts a task, of a process or of nobody.
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static, process: Option<Process>) {
    let work: Work = Box::pin(work);
    let waker = with(|table| {
        let id = TaskId(table.next);
        table.next += 1;
        let waker = Arc::new(TaskWaker { id, woken: table.woken.clone(), ready: AtomicBool::new(false) });
        table.tasks.insert(id, Task { work: Some(work), process, waker: waker.clone() });
        waker
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Ends all tasks of a process, but the one that runs: that one ends when it waits.
pub(super) fn end_all(dead: &Process) {
    let ended = with(|table| {
        let of_it = |task: &Task| task.process.as_ref().is_some_and(|process| process.is(dead));
        table.tasks.extract_if(.., |_, task| task.work.is_some() && of_it(task)).collect::<Vec<_>>()
    });
    for (_, task) in ended.unwrap_or_default() {
        if let Some(work) = task.work {
            end(work, Some(dead));
        }
    }
}

/// Lets tasks run that were held back.
pub(super) fn release(held: Vec<TaskId>) {
    if let Some(woken) = with(|table| table.woken.clone()) {
        woken.add(held);
    }
}

/// Takes the tasks away when the run ends, however it does.
struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        // What they spawn while they end is not started any more.
        drop(TASKS.take());
    }
}
