//! What whoever starts the tests has chosen: longer runs, or one that is repeated.

/// A number from the environment.
#[must_use]
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The seed of this run, told so that it can be repeated: `REDKITE_MODEL_SEED`.
#[must_use]
pub fn seed() -> u64 {
    let seed = number("REDKITE_MODEL_SEED", u64::from(std::process::id()));
    eprintln!("REDKITE_MODEL_SEED={seed}");
    seed
}
