//! What time is it? Wall-clock time as data, and the hybrid logical clock built on it.
//!
//! For waiting, use Tokio's timers (tests pause them); this seam is for time that is stored.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use redkite_types::Timestamp;

/// A source of wall-clock time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May step backwards, as wall clocks do.
    fn now_millis(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_millis(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this is the one door")]
        let now = std::time::SystemTime::now();
        let elapsed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that tests move by hand.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock showing `millis`.
    #[must_use]
    pub fn new(millis: u64) -> Self {
        Self(AtomicU64::new(millis))
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A hybrid logical clock: timestamps that never repeat or go back, and stay close to wall-clock time.
///
/// Source: Kulkarni et al., "Logical Physical Clocks" (OPODIS 2014), in Milvus's TSO layout.
#[derive(Debug)]
pub struct HybridClock {
    wall: Arc<dyn Clock>,
    last: AtomicU64,
}

impl HybridClock {
    /// A clock over a wall clock, starting after nothing.
    #[must_use]
    pub fn new(wall: Arc<dyn Clock>) -> Self {
        Self { wall, last: AtomicU64::new(0) }
    }

    /// A timestamp greater than every one given out or observed before.
    pub fn tick(&self) -> Timestamp {
        self.tick_many(1)
    }

    /// The first of `count` consecutive timestamps, all reserved for the caller.
    pub fn tick_many(&self, count: u64) -> Timestamp {
        let wall = Timestamp::from_physical(self.wall.now_millis()).0;
        let mut first = 0;
        let _ = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| {
            first = wall.max(last + 1);
            Some(first + count.max(1) - 1)
        });
        Timestamp(first)
    }

    /// Milliseconds since the Unix epoch by the wall clock alone: what the times of files compare with.
    #[must_use]
    pub fn wall_millis(&self) -> u64 {
        self.wall.now_millis()
    }

    /// Makes every later timestamp greater than `seen`.
    pub fn observe(&self, seen: Timestamp) {
        self.last.fetch_max(seen.0, Ordering::SeqCst);
    }

    /// The present, without reserving it: not smaller than any timestamp given out.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = Timestamp::from_physical(self.wall.now_millis()).0;
        Timestamp(wall.max(self.last.load(Ordering::SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_rise_though_the_wall_clock_steps_back() {
        let wall = Arc::new(ManualClock::new(1_000));
        let clock = HybridClock::new(wall.clone());
        let first = clock.tick();
        assert_eq!(first, Timestamp::from_physical(1_000));
        wall.set(500);
        let second = clock.tick();
        assert_eq!(second, first.next());
        clock.observe(Timestamp::from_physical(2_000));
        assert!(clock.tick() > Timestamp::from_physical(2_000));
    }

    #[test]
    fn many_ticks_are_reserved_together() {
        let clock = HybridClock::new(Arc::new(ManualClock::new(7)));
        let first = clock.tick_many(10);
        assert_eq!(clock.tick().0, first.0 + 10);
    }
}
