//! Who writes, when there are hundreds of logs and a handful of threads?
//!
//! A log that has something to write stands in line once; a thread that is free writes one group of
//! it and puts it back at the end if more has come.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::handle::Inner;

/// The threads; they end when this is dropped and the line is empty.
pub(super) struct Threads(Arc<Line>);

#[derive(Default)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Inner>>,
    ending: bool,
}

impl Threads {
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let threads = Self(Arc::default());
        for number in 0..count.max(1) {
            let line = threads.0.clone();
            redkite_runtime::tasks::thread(&format!("wal-{number}"), move || line.serve())?;
        }
        Ok(threads)
    }

    /// Puts a log in line.
    pub(super) fn submit(&self, log: Arc<Inner>) {
        self.0.state.lock().waiting.push_back(log);
        self.0.changed.notify_one();
    }
}

impl Line {
    fn serve(&self) {
        while let Some(log) = self.next() {
            log.flush();
            log.stand_in_line_again();
        }
    }

    fn next(&self) -> Option<Arc<Inner>> {
        let mut state = self.state.lock();
        loop {
            if let Some(log) = state.waiting.pop_front() {
                return Some(log);
            }
            if state.ending {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.state.lock().ending = true;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("waiting", &self.0.state.lock().waiting.len()).finish()
    }
}
