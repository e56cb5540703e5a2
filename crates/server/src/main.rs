//! The `redkite` binary: one program, every role.

mod cli;
mod cluster;
mod ctl;
mod data_directory;
#[cfg(feature = "failpoints")]
mod failpoints;
mod front;
mod http;
mod ids;
mod management;
mod oversize;
mod parts;
mod settings;
mod standalone;
mod surroundings;
mod telemetry;
mod webui;

use std::process::ExitCode;

use clap::Parser;

/// Allocates from per-thread heaps and gives freed pages back, which matters after a flush.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be set up yet, and a user looks at the terminal first.
            eprintln!("redkite: {error:#}");
            ExitCode::FAILURE
        }
    }
}
