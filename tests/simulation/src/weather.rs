//! How is the network today? Who reaches whom, how long it takes, and what gets lost on the way.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

/// A place in the network: etcd, the bucket, or a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u32);

impl Place {
    /// Where etcd is.
    pub const ETCD: Self = Self(0);
    /// Where the bucket is.
    pub const BUCKET: Self = Self(1);

    /// Where the process of this number is.
    #[must_use]
    pub fn process(number: u32) -> Self {
        Self(number + 2)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ETCD => f.write_str("etcd"),
            Self::BUCKET => f.write_str("bucket"),
            Self(number) => write!(f, "p{}", number - 2),
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// How long it takes to get there.
    pub there: Duration,
    /// How long the answer takes.
    pub back: Duration,
    /// It never gets there.
    pub request_lost: bool,
    /// The answer does not get back.
    pub answer_lost: bool,
}

/// The network's state.
#[derive(Debug)]
pub struct Weather {
    state: Mutex<State>,
    /// Wakes in the order of waiting, as a `watch` does not.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    chance: SmallRng,
    /// Pairs that do not reach each other, smaller one first.
    cut: BTreeSet<(Place, Place)>,
    /// Places that are reached by nobody, and whether they are silent because they are paused.
    paused: BTreeSet<Place>,
    /// Part of the messages that is lost.
    loss: f64,
    /// Longest way, in milliseconds.
    slowness: u64,
    /// Longest lag of watches, in milliseconds.
    lag: u64,
}

/// Longest way on a fine day.
const FINE: u64 = 3;

impl Weather {
    /// A fine day.
    #[must_use]
    pub fn fine(seed: u64) -> Arc<Self> {
        let state = State {
            chance: SmallRng::seed_from_u64(seed),
            cut: BTreeSet::new(),
            paused: BTreeSet::new(),
            loss: 0.0,
            slowness: FINE,
            lag: 2 * FINE,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// All is well from now on, but for who is paused.
    pub fn clear_up(&self) {
        self.change(|state| {
            state.cut.clear();
            (state.loss, state.slowness, state.lag) = (0.0, FINE, 2 * FINE);
        });
    }

    /// Two places do not reach each other any more.
    pub fn cut(&self, a: Place, b: Place) {
        self.change(|state| state.cut.insert(pair(a, b)));
    }

    /// They do again.
    pub fn mend(&self, a: Place, b: Place) {
        self.change(|state| state.cut.remove(&pair(a, b)));
    }

    /// A place says nothing, as a process that is paused.
    pub fn silence(&self, place: Place, silent: bool) {
        self.change(|state| match silent {
            true => state.paused.insert(place),
            false => state.paused.remove(&place),
        });
    }

    /// So large a part of all messages is lost.
    pub fn lose(&self, part: f64) {
        self.change(|state| state.loss = part);
    }

    /// Messages take up to so many milliseconds, watches lag up to so many.
    pub fn slow_down(&self, slowness: u64, lag: u64) {
        self.change(|state| (state.slowness, state.lag) = (slowness.max(1), lag.max(1)));
    }

    fn change<T>(&self, work: impl FnOnce(&mut State) -> T) {
        work(&mut self.state.lock());
        self.changed.notify_waiters();
    }

    /// What becomes of the next request.
    pub fn fate(&self) -> Fate {
        let mut state = self.state.lock();
        let State { loss, slowness, .. } = *state;
        let chance = &mut state.chance;
        let mut way = || Duration::from_millis(chance.random_range(0..=slowness));
        let (there, back) = (way(), way());
        let lost = loss > 0.0 && chance.random_bool(loss);
        let request_lost = lost && chance.random_bool(0.5);
        Fate { there, back, request_lost, answer_lost: lost && !request_lost }
    }

    /// How long one way takes.
    pub fn way(&self) -> Duration {
        let mut state = self.state.lock();
        let slowness = state.slowness;
        Duration::from_millis(state.chance.random_range(0..=slowness))
    }

    /// How far a watch is behind.
    pub fn lag(&self) -> Duration {
        let mut state = self.state.lock();
        let lag = state.lag;
        // Mostly little.
        let most = if state.chance.random_bool(0.9) { lag.min(FINE) } else { lag };
        Duration::from_millis(state.chance.random_range(0..=most))
    }

    /// Whether two places reach each other.
    #[must_use]
    pub fn is_open(&self, a: Place, b: Place) -> bool {
        !self.state.lock().cut.contains(&pair(a, b))
    }

    /// Waits until they do.
    pub async fn until_open(&self, a: Place, b: Place) {
        self.until(|| self.is_open(a, b)).await;
    }

    /// Whether one hears nothing of the other, because nothing comes through or one of them is paused.
    fn is_silent(&self, a: Place, b: Place) -> bool {
        let state = self.state.lock();
        state.cut.contains(&pair(a, b)) || state.paused.contains(&a) || state.paused.contains(&b)
    }

    /// Waits until one has heard nothing of the other for so long.
    pub async fn until_silent_for(&self, a: Place, b: Place, patience: Duration) {
        loop {
            self.until(|| self.is_silent(a, b)).await;
            let speaks = self.until(|| !self.is_silent(a, b));
            if tokio::time::timeout(patience, speaks).await.is_err() {
                return;
            }
        }
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        while !holds() {
            // Nothing comes between: one thread.
            self.changed.notified().await;
        }
    }
}

fn pair(a: Place, b: Place) -> (Place, Place) {
    (a.min(b), a.max(b))
}
