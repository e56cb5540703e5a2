//! Time, tasks, threads: the doors through which time, chance and concurrency come in.
//!
//! Everything else in the workspace is forbidden (by clippy's `disallowed-methods`) to read the wall
//! clock, spawn a task or start a thread by itself.

pub mod backoff;
pub mod chance;
pub mod clock;
pub mod cpu;
pub mod failpoint;
pub mod machine;
pub mod simulation;
pub mod tasks;
pub mod units;

pub use backoff::Backoff;
pub use clock::{Clock, HybridClock, ManualClock, SystemClock};
pub use cpu::CpuPool;
pub use tasks::{Stopping, Tasks, blocking};
