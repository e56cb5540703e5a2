//! The `redkite` binary: one program, every role.

use std::process::ExitCode;

/// Allocates from per-thread heaps and gives freed pages back, which matters after a flush.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    redkite_server::run()
}
