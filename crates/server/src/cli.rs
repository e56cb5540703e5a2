//! What can be typed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tracing::warn;

use crate::settings::{self, Effective, Overrides};
use crate::{standalone, telemetry};

/// A distributed vector database that speaks Milvus's protocol.
#[derive(Debug, Parser)]
#[command(name = "redkite", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a role until SIGTERM or SIGINT.
    Run {
        #[command(subcommand)]
        role: Role,
    },
    /// Print the effective settings and where each came from.
    Config {
        #[command(flatten)]
        options: Options,
    },
    /// Print the names of the places where tests can make the server fail.
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Every role in one process, on a local directory; needs nothing else.
    Standalone {
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Settings file (YAML, Milvus's key names). Default: redkite.yaml in the working directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the data lives. Same as --set localStorage.path=DIR.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Any setting, such as --set proxy.port=19531. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Used when `--config` is not given and the file exists.
const DEFAULT_FILE: &str = "redkite.yaml";

impl Options {
    fn load(self) -> anyhow::Result<Effective> {
        let file = self.config.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        let data_dir = self.data_dir.map(|path| ("localStorage.path".to_owned(), path.display().to_string()));
        let overrides = Overrides {
            file,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            command_line: self.set.into_iter().chain(data_dir).collect(),
        };
        settings::load(&overrides).context("settings")
    }
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Config { options } => print_config(&options.load()?),
        #[cfg(feature = "failpoints")]
        Command::Failpoints => print_failpoints(),
        Command::Run { role: Role::Standalone { options } } => {
            let effective = options.load()?;
            telemetry::start_log(&effective.settings.log)?;
            for warning in &effective.warnings {
                warn!("{warning}");
            }
            #[cfg(feature = "failpoints")]
            crate::failpoints::arm_from_environment()?;
            standalone::run(effective.settings)
        }
    }
}

#[cfg(feature = "failpoints")]
fn print_failpoints() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for point in crate::failpoints::all() {
        writeln!(out, "{point}")?;
    }
    Ok(())
}

fn print_config(effective: &Effective) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (key, (value, origin)) in &effective.origins {
        writeln!(out, "{key}: {value}  # {origin}")?;
    }
    for warning in &effective.warnings {
        writeln!(out, "# warning: {warning}")?;
    }
    Ok(())
}
