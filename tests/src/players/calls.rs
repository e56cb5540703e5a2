//! When did calls begin, and how long did they take?

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Calls of one kind, none of which failed.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Vec<Call>>>);

#[derive(Clone, Copy, Debug)]
struct Call {
    begun: Instant,
    took: Duration,
}

impl Calls {
    fn all(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that has just been answered.
    pub fn answered(&self, begun: Instant) {
        self.all().push(Call { begun, took: begun.elapsed() });
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// Whether one that began since then was answered.
    #[must_use]
    pub fn answered_since(&self, moment: Instant) -> bool {
        self.all().iter().rev().any(|call| call.begun >= moment)
    }

    /// How long those took that were on their way at any time of this stretch.
    #[must_use]
    pub fn during(&self, from: Instant, until: Instant) -> Vec<Duration> {
        let met = |call: &&Call| call.begun <= until && call.begun + call.took >= from;
        self.all().iter().filter(met).map(|call| call.took).collect()
    }

    /// Prints how many there were and how long they took.
    pub fn tell(&self, what: &str) {
        let took = self.all().iter().map(|call| call.took).collect();
        eprintln!("{what}: {}, none failed", summary(took));
    }
}

/// Number, median, 99th percentile and longest.
#[must_use]
pub fn summary(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |share: usize| took.get((took.len() * share / 1000).min(took.len().saturating_sub(1)));
    match (at(500), at(990), took.last()) {
        (Some(half), Some(most), Some(last)) => {
            format!("{} calls, median {half:.1?}, p99 {most:.1?}, longest {last:.1?}", took.len())
        }
        _ => "no calls".to_owned(),
    }
}
