//! Does anybody write who must not? Every committed transaction is looked at.
//!
//! Two laws. Epochs of a role count 1, 2, 3 and on, each written once, by who takes the active key in the same
//! transaction. A transaction that compares the creation of the active key is sent by who created it, unless it
//! ends the reign: a deposed coordinator gets nothing through.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use redkite_cluster::kv::{Compare, Condition, KeyValue, Op, Txn};
use redkite_types::Revision;

use crate::weather::Place;

const COORDINATORS: [&str; 3] = ["rootcoord", "datacoord", "querycoord"];

#[derive(Debug, Default)]
pub(crate) struct Referee(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// By role: the epoch, who was elected in it, and which revision created the active key.
    reigns: BTreeMap<&'static str, (u64, Place, Revision)>,
    fouls: Vec<String>,
}

impl Referee {
    pub(crate) fn fouls(&self) -> Vec<String> {
        self.0.lock().fouls.clone()
    }

    /// Looks at a transaction that `from` sent and that was committed; `now` tells what is under a key after it.
    pub(crate) fn see(&self, from: Place, txn: &Txn, now: &dyn Fn(&str) -> Option<KeyValue>) {
        let mut notes = self.0.lock();
        for role in COORDINATORS {
            let active = format!("session/{role}");
            let takes = txn.then.iter().any(|op| matches!(op, Op::Put { key, .. } if *key == active));
            if takes {
                notes.elected(role, from, txn, now(&active));
                continue;
            }
            let ends = txn.then.iter().any(|op| matches!(op, Op::Delete { key } if *key == active));
            let fence = txn.compares.iter().find_map(|compare| creation_of(compare, &active));
            if let (Some(fence), false) = (fence, ends) {
                notes.wrote(role, from, fence);
            }
        }
    }
}

impl Notes {
    fn elected(&mut self, role: &'static str, from: Place, txn: &Txn, active: Option<KeyValue>) {
        let prefix = format!("election/{role}/");
        let epochs: Vec<u64> = txn
            .then
            .iter()
            .filter_map(|op| match op {
                Op::Put { key, .. } => key.strip_prefix(&prefix)?.parse().ok(),
                _ => None,
            })
            .collect();
        let before = self.reigns.get(role).map_or(0, |(epoch, ..)| *epoch);
        match (epochs.as_slice(), active) {
            ([epoch], Some(active)) if *epoch == before + 1 => {
                self.reigns.insert(role, (*epoch, from, active.create_revision));
            }
            _ => self.fouls.push(format!("{role}: {from} takes over after epoch {before} as {epochs:?}")),
        }
    }

    fn wrote(&mut self, role: &'static str, from: Place, fence: Revision) {
        match self.reigns.get(role) {
            Some((_, elected, revision)) if *elected == from && *revision == fence => {}
            other => self.fouls.push(format!("{role}: {from} writes under {fence}, elected is {other:?}")),
        }
    }
}

fn creation_of(compare: &Compare, key: &str) -> Option<Revision> {
    match compare.condition {
        Condition::CreateRevision(revision) if compare.key == key => Some(revision),
        _ => None,
    }
}
