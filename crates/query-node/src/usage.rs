//! What does the node have, and what does it use of it?

use std::collections::BTreeMap;

use redkite_runtime::machine;
use redkite_service::NodeUsage;

use crate::Environment;
use crate::holder::{Holder, Slot};

/// What every process needs beside segments is no difference between nodes: only what is more than that is told.
const USUAL: u64 = 256 << 20;

pub(crate) fn of(environment: &Environment, holder: &Holder) -> NodeUsage {
    let (mut resident, mut segments) = (0, BTreeMap::new());
    for (id, _, slot) in holder.slots() {
        if let Slot::Ready(held) = slot {
            resident += held.segment.footprint().resident_bytes;
            segments.insert(id, held.cpu_micros());
        }
    }
    let other = machine::anonymous_memory().unwrap_or(0).saturating_sub(resident);
    let memory = match environment.settings.memory_limit {
        0 => machine::memory().unwrap_or(u64::MAX),
        limit => limit,
    };
    NodeUsage {
        memory,
        other_memory: other.saturating_sub(USUAL),
        threads: u32::try_from(environment.cpu.threads()).unwrap_or(u32::MAX),
        cpu: u64::try_from(machine::process_cpu().as_micros()).unwrap_or(u64::MAX),
        segments,
    }
}
