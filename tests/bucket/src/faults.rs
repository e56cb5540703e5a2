//! What goes wrong, how often, and what was asked and broken so far?

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// What goes wrong. Probabilities are of each request that the filters let through, between 0 and 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Faults {
    /// Seed of the choices: the same requests in the same order meet the same faults.
    pub seed: u64,
    /// Methods that are affected; none: all.
    pub methods: Vec<String>,
    /// Only requests whose path contains this are affected.
    pub path: String,
    /// Time that every answer takes longer.
    pub latency_millis: u64,
    /// Time that an answer takes longer at most, at random.
    pub jitter_millis: u64,
    /// Answers 503 and does nothing.
    pub refuse: f64,
    /// Answers 409 to a conditional request and does nothing.
    pub conflict: f64,
    /// Closes the connection and does nothing.
    pub reset_before: f64,
    /// Does what was asked, then answers 500.
    pub fail_after: f64,
    /// Does what was asked, then closes the connection.
    pub reset_after: f64,
    /// Does what was asked and never answers.
    pub hang: f64,
    /// Ends the body of the answer to a GET in the middle.
    pub truncate: f64,
    /// Sends the body of the answer to a GET slowly.
    pub slow: f64,
    /// How slowly.
    pub slow_bytes_per_second: u64,
    /// How the service breaks its word.
    pub lie: Option<Lie>,
}

/// A way to break the word that S3 gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lie {
    /// Takes no notice of If-None-Match.
    IgnoresCondition,
    /// Refuses a creation and yet carries it out.
    ReplacesWhatItRefuses,
    /// Looks whether there is an object, waits, and writes.
    ChecksThenActs,
    /// Lists show nothing.
    HidesFromLists,
    /// A delete succeeds and does nothing.
    KeepsDeleted,
}

impl Faults {
    /// Loses answers, refuses and breaks connections, each with this probability.
    #[must_use]
    pub fn everything(seed: u64, probability: f64) -> Self {
        Self {
            seed,
            jitter_millis: 3,
            refuse: probability,
            conflict: probability,
            reset_before: probability,
            fail_after: probability,
            reset_after: probability,
            truncate: probability,
            slow: probability,
            slow_bytes_per_second: 1 << 20,
            ..Self::default()
        }
    }

    /// Carries out a part of the writes without saying so.
    #[must_use]
    pub fn lost_answers(seed: u64, probability: f64) -> Self {
        Self { seed, fail_after: probability / 2.0, reset_after: probability / 2.0, ..Self::default() }
    }
}

/// What was asked and broken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// PUT requests.
    pub puts: u64,
    /// GET requests.
    pub gets: u64,
    /// HEAD requests.
    pub heads: u64,
    /// POST requests.
    pub posts: u64,
    /// DELETE requests.
    pub deletes: u64,
    /// Requests that met a fault other than latency.
    pub faults: u64,
    /// Objects there are.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Uploads begun and neither completed nor aborted.
    pub uploads: u64,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fate {
    pub(crate) latency: Duration,
    pub(crate) before: Option<Before>,
    pub(crate) after: Option<After>,
}

/// Instead of doing what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Refuse,
    Conflict,
    Reset,
}

/// Instead of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Fail,
    Reset,
    Hang,
    Truncate,
    Slow { bytes_per_second: u64 },
}

/// The faults in force, and the dice.
#[derive(Debug)]
pub(crate) struct Mischief(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    faults: Faults,
    random: StdRng,
    stats: Stats,
}

impl Mischief {
    pub(crate) fn new(faults: Faults) -> Self {
        let random = StdRng::seed_from_u64(faults.seed);
        Self(Mutex::new(Inner { faults, random, stats: Stats::default() }))
    }

    pub(crate) fn set(&self, faults: Faults) {
        let mut inner = self.0.lock();
        inner.random = StdRng::seed_from_u64(faults.seed);
        inner.faults = faults;
    }

    pub(crate) fn get(&self) -> Faults {
        self.0.lock().faults.clone()
    }

    pub(crate) fn lie(&self) -> Option<Lie> {
        self.0.lock().faults.lie
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.lock().stats
    }

    /// Counts a request and decides what happens to it.
    pub(crate) fn fate(&self, method: &str, path: &str, conditional: bool) -> Fate {
        let mut inner = self.0.lock();
        inner.stats.count(method);
        let Inner { faults, random, stats } = &mut *inner;
        let affected = faults.methods.is_empty() || faults.methods.iter().any(|one| one == method);
        if !affected || !path.contains(&faults.path) {
            return Fate::default();
        }
        // Always the same number of dice, so that one fault's probability does not change another's turn.
        let mut falls = |probability: f64| random.random_range(0.0..1.0) < probability;
        let before = [
            (falls(faults.refuse), Before::Refuse),
            (falls(faults.conflict) && conditional, Before::Conflict),
            (falls(faults.reset_before), Before::Reset),
        ];
        let get = method == "GET";
        let slow = After::Slow { bytes_per_second: faults.slow_bytes_per_second.max(1) };
        let after = [
            (falls(faults.fail_after), After::Fail),
            (falls(faults.reset_after), After::Reset),
            (falls(faults.hang), After::Hang),
            (falls(faults.truncate) && get, After::Truncate),
            (falls(faults.slow) && get, slow),
        ];
        let jitter = random.random_range(0..=faults.jitter_millis);
        let fate = Fate {
            latency: Duration::from_millis(faults.latency_millis + jitter),
            before: before.into_iter().find_map(|(falls, fault)| falls.then_some(fault)),
            after: after.into_iter().find_map(|(falls, fault)| falls.then_some(fault)),
        };
        stats.faults += u64::from(fate.before.is_some() || fate.after.is_some());
        fate
    }
}

impl Stats {
    fn count(&mut self, method: &str) {
        let counter = match method {
            "PUT" => &mut self.puts,
            "GET" => &mut self.gets,
            "HEAD" => &mut self.heads,
            "POST" => &mut self.posts,
            "DELETE" => &mut self.deletes,
            _ => return,
        };
        *counter += 1;
    }
}
