//! What time is it on the wall of a simulated machine? The simulation's, and a little off.

use redkite_runtime::Clock;
use tokio::time::Instant;

/// When simulations begin, in milliseconds since the Unix epoch: 14 November 2023.
const BEGIN: u64 = 1_700_000_000_000;

/// A wall clock.
#[derive(Debug)]
pub struct WallClock {
    began: Instant,
    ahead: u64,
}

impl WallClock {
    /// A clock that is so many milliseconds ahead.
    #[must_use]
    pub fn new(began: Instant, ahead: u64) -> Self {
        Self { began, ahead }
    }
}

impl Clock for WallClock {
    fn now_millis(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.began).as_millis();
        BEGIN + self.ahead + u64::try_from(elapsed).unwrap_or(u64::MAX)
    }
}
