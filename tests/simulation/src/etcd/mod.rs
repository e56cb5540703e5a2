//! An etcd in memory, far away: answers are late, lost or never come, leases end by simulated time, watches lag.

mod client;
mod store;

use std::sync::Arc;

use parking_lot::Mutex;
use redkite_cluster::kv::{KeyValue, Kv, RangeResult, Txn};
use redkite_runtime::simulation::Process;
use redkite_types::Revision;
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::referee::Referee;
use crate::trace::Trace;
use crate::weather::{Place, Weather};
use client::Client;
use store::Store;

/// The etcd of a cluster.
#[derive(Debug)]
pub struct Etcd {
    store: Mutex<Store>,
    /// Tells watches and the keeper of leases that something has changed.
    tip: watch::Sender<Revision>,
    /// Where its own work is done.
    process: Process,
    /// While it stalls nothing is done, and no lease ends.
    stalled: watch::Sender<bool>,
    weather: Arc<Weather>,
    trace: Trace,
    referee: Referee,
}

impl Etcd {
    /// An empty one.
    #[must_use]
    pub fn start(weather: &Arc<Weather>, trace: &Trace) -> Arc<Self> {
        let store = Store::new();
        let etcd = Arc::new(Self {
            tip: watch::Sender::new(store.revision()),
            store: Mutex::new(store),
            process: Process::start("etcd"),
            stalled: watch::Sender::new(false),
            weather: weather.clone(),
            trace: trace.clone(),
            referee: Referee::default(),
        });
        etcd.process.spawn(etcd.clone().keep_leases());
        etcd
    }

    /// The store as a process at `place` reaches it.
    #[must_use]
    pub fn client(self: &Arc<Self>, place: Place) -> Arc<dyn Kv> {
        Arc::new(Client::new(self.clone(), place))
    }

    /// Answers nobody, and ends no lease, until it recovers.
    pub fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// Goes on after a stall; all leases begin anew.
    pub fn recover(&self) {
        self.store.lock().extend_leases();
        self.stalled.send_replace(false);
    }

    /// Forgets its history: watches that are behind must list again.
    pub fn compact(&self) {
        let now = self.store.lock().revision();
        self.compact_through(now);
    }

    /// Forgets its history up to and including a revision.
    pub fn compact_through(&self, through: Revision) {
        self.store.lock().compact(through);
    }

    /// Everything under a prefix, for the referees of a simulation.
    #[must_use]
    pub fn look(&self, prefix: &str) -> RangeResult {
        self.store.lock().range(prefix)
    }

    /// One entry, for the referees of a simulation.
    #[must_use]
    pub fn look_at(&self, key: &str) -> Option<KeyValue> {
        self.store.lock().get(key)
    }

    /// What was against the rules.
    #[must_use]
    pub fn fouls(&self) -> Vec<String> {
        self.referee.fouls()
    }

    /// Waits while it stalls.
    async fn answering(&self) {
        // The sender is in `self`.
        let _ = self.stalled.subscribe().wait_for(|stalled| !stalled).await;
    }

    /// Does something to the store, and wakes who waits for changes.
    fn change<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let (result, revision) = {
            let mut store = self.store.lock();
            let result = work(&mut store);
            (result, store.revision())
        };
        self.tip.send_replace(revision);
        result
    }

    fn apply(&self, from: Place, txn: &Txn) -> client::Outcome {
        let outcome = self.change(|store| {
            let outcome = store.txn(txn);
            if outcome.as_ref().is_ok_and(|outcome| outcome.committed) {
                self.referee.see(from, txn, &|key| store.get(key));
            }
            outcome
        });
        if let Ok(outcome) = &outcome {
            let keys = || txn.then.iter().map(crate::trace::key_of).collect::<Vec<_>>().join(" ");
            self.trace.note(format_args!(
                "etcd {from} {} at {}: {}",
                if outcome.committed { "commits" } else { "is refused" },
                outcome.revision,
                keys()
            ));
        }
        outcome
    }

    async fn keep_leases(self: Arc<Self>) {
        let mut changes = self.tip.subscribe();
        loop {
            self.answering().await;
            let next = self.store.lock().next_end();
            let due = async {
                match next {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Never an error: the sender is in `self`.
                _ = changes.changed() => continue,
                () = due => {}
            }
            if *self.stalled.borrow() {
                continue;
            }
            for lease in self.change(Store::expire) {
                self.trace.note(format_args!("etcd lease {lease} ended"));
            }
        }
    }
}
