//! What happened, in which order? A hash of it, and on demand the lines themselves.
//!
//! Two runs of one seed have the same hash, or something in them came from outside.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use parking_lot::Mutex;
use redkite_cluster::kv::Op;
use tokio::time::Instant;

/// The trace of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    shown: bool,
    state: Mutex<Fnv>,
}

/// Source: Fowler, Noll, Vo, FNV-1a with 64 bits.
#[derive(Debug)]
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    /// An empty one, which prints its lines if they are to be shown.
    #[must_use]
    pub fn start(shown: bool) -> Self {
        Self(Arc::new(Shared { began: Instant::now(), shown, state: Mutex::new(Fnv(0xcbf2_9ce4_8422_2325)) }))
    }

    /// Adds a line.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        let at = self.0.began.elapsed().as_millis();
        // A hash takes everything.
        let _ = writeln!(self.0.state.lock(), "{at} {line}");
        if self.0.shown {
            eprintln!("{:>9.3} {line}", self.0.began.elapsed().as_secs_f64());
        }
    }

    /// The hash of all lines.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.state.lock().0
    }
}

/// The key that an operation writes.
pub(crate) fn key_of(op: &Op) -> String {
    match op {
        Op::Put { key, .. } => key.clone(),
        Op::Delete { key } => format!("-{key}"),
        Op::DeletePrefix { prefix } => format!("-{prefix}*"),
    }
}
