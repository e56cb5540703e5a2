//! What is in the `redkite` binary: settings, command line, health, and the wiring of roles.
//!
//! A library only so that a simulation can run processes of a cluster as the binary does: [`simulated`].

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

pub use cluster::simulated;

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be set up yet, and a user looks at the terminal first.
            eprintln!("redkite: {error:#}");
            ExitCode::FAILURE
        }
    }
}
