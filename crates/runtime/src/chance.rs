//! Where does chance come from? From the system, or from the seed of a simulation.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::simulation;

/// A generator that no other one repeats.
#[must_use]
pub fn generator() -> StdRng {
    #[expect(clippy::disallowed_methods, reason = "this is the one door")]
    simulation::generator().unwrap_or_else(StdRng::from_os_rng)
}
