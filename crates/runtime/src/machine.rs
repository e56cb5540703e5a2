//! What does this process have, and what does it use?

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::simulation;

/// Memory that the process may use, in bytes: that of the machine, or less if its control group says so. `None` where
/// the system does not tell.
#[must_use]
pub fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib(&text, "MemTotal:"))?;
    Some(control_group().map_or(machine, |limit| limit.min(machine)))
}

/// Memory of the process that is not a copy of any file, in bytes.
#[must_use]
pub fn anonymous_memory() -> Option<u64> {
    if simulation::is_running() {
        return None;
    }
    fs::read_to_string("/proc/self/status").ok().and_then(|text| kib(&text, "RssAnon:"))
}

/// CPU time that the process has used.
#[must_use]
pub fn process_cpu() -> Duration {
    simulation::cpu().unwrap_or_else(|| elapsed(ClockId::ProcessCPUTime))
}

/// CPU time that the calling thread has used.
#[must_use]
pub fn thread_cpu() -> Duration {
    simulation::spend().unwrap_or_else(|| elapsed(ClockId::ThreadCPUTime))
}

/// CPU time that one kind of work has taken, on whatever threads.
#[derive(Debug, Default)]
pub struct CpuTime(AtomicU64);

impl CpuTime {
    /// Works on the calling thread, and counts the time that takes.
    pub fn of<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = thread_cpu();
        let done = work();
        let took = u64::try_from(thread_cpu().saturating_sub(began).as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(took, Ordering::Relaxed);
        done
    }

    /// What it has taken so far is forgotten.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// So far, in microseconds.
    #[must_use]
    pub fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / 1000
    }
}

fn elapsed(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap_or_default()
}

/// The amount after a name, which `/proc` tells in KiB.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The smallest limit of the process's control groups, version 2 or 1.
fn control_group() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Inside a container the path may be that of the host: then the root is its own.
        let own = Path::new(root).join(path.trim_start_matches('/'));
        limits.extend(
            own.ancestors().take_while(|at| at.starts_with(root)).filter_map(|at| limit(&at.join(file))),
        );
    }
    limits.into_iter().min()
}

/// `max`, or a number that no machine has, is no limit.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_by_name() {
        let text = "Name:\tredkite\nVmRSS:\t  2048 kB\nRssAnon:\t    1024 kB\n";
        assert_eq!(kib(text, "RssAnon:"), Some(1 << 20));
        assert_eq!(kib(text, "RssFile:"), None);
    }

    #[test]
    fn this_process_has_memory_and_uses_some() {
        let (all, own) = (memory().unwrap(), anonymous_memory().unwrap());
        assert!(own > 0 && own < all, "{own} of {all}");
    }

    #[test]
    fn time_of_a_thread_is_part_of_that_of_its_process() {
        let (thread, process) = (thread_cpu(), process_cpu());
        assert!(thread <= process);
        let mut sum = 0_u64;
        while thread_cpu() == thread {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(process_cpu() > process);
    }
}
