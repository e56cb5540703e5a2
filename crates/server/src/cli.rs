//! What can be typed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tracing::warn;

use crate::cluster::{self, Job};
use crate::settings::{self, Effective, Live, Overrides};
use crate::{ctl, standalone, telemetry};

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
    /// Show a cluster, and steer it.
    Ctl {
        #[command(flatten)]
        options: Options,
        /// As JSON instead of a table.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        what: ctl::What,
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
    /// Databases, collections, partitions, aliases. As all roles below: needs etcd and a bucket.
    #[command(name = "rootcoord")]
    RootCoord {
        #[command(flatten)]
        options: Options,
    },
    /// Load and release, replicas, placement of segments.
    #[command(name = "querycoord")]
    QueryCoord {
        #[command(flatten)]
        options: Options,
    },
    /// Life of segments, indexes, leaders of shards.
    #[command(name = "datacoord")]
    DataCoord {
        #[command(flatten)]
        options: Options,
    },
    /// The three coordinators in one process.
    #[command(name = "mixcoord")]
    MixCoord {
        #[command(flatten)]
        options: Options,
    },
    /// Milvus's protocol.
    Proxy {
        #[command(flatten)]
        options: Options,
    },
    /// Leads shards: logs and newest rows.
    #[command(name = "streamingnode")]
    StreamingNode {
        #[command(flatten)]
        options: Options,
    },
    /// Searches sealed segments.
    #[command(name = "querynode")]
    QueryNode {
        #[command(flatten)]
        options: Options,
    },
    /// Builds indexes, compacts.
    #[command(name = "datanode")]
    DataNode {
        #[command(flatten)]
        options: Options,
    },
}

impl Role {
    fn options(self) -> (Shape, Options) {
        use cluster::Role as R;
        let part = |name, roles| Shape::Cluster(Job { name, roles });
        match self {
            Self::Standalone { options } => (Shape::Standalone, options),
            Self::RootCoord { options } => (part("rootcoord", &[R::RootCoord]), options),
            Self::QueryCoord { options } => (part("querycoord", &[R::QueryCoord]), options),
            Self::DataCoord { options } => (part("datacoord", &[R::DataCoord]), options),
            Self::MixCoord { options } => {
                (part("mixcoord", &[R::RootCoord, R::DataCoord, R::QueryCoord]), options)
            }
            Self::Proxy { options } => (part("proxy", &[R::Proxy]), options),
            Self::StreamingNode { options } => (part("streamingnode", &[R::StreamingNode]), options),
            Self::QueryNode { options } => (part("querynode", &[R::QueryNode]), options),
            Self::DataNode { options } => (part("datanode", &[R::DataNode]), options),
        }
    }
}

/// What the process is.
enum Shape {
    Standalone,
    Cluster(Job),
}

#[derive(Debug, Args)]
struct Options {
    /// Settings file (YAML, Milvus's key names). Default: redkite.yaml in the working directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the data lives; in a cluster, copies of it. Same as --set localStorage.path=DIR.
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
        self.load_and_follow().map(|(effective, _)| effective)
    }

    fn load_and_follow(self) -> anyhow::Result<(Effective, Live)> {
        let file = self.config.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        let data_dir = self.data_dir.map(|path| ("localStorage.path".to_owned(), path.display().to_string()));
        let overrides = Overrides {
            file,
            environment: settings::environment().collect(),
            command_line: self.set.into_iter().chain(data_dir).collect(),
        };
        let effective = settings::load(&overrides).context("settings")?;
        Ok((effective, Live::new(overrides)))
    }
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Config { options } => print_config(&options.load()?),
        Command::Ctl { options, json, what } => ctl::run(&options.load()?.settings, &what, json),
        #[cfg(feature = "failpoints")]
        Command::Failpoints => print_failpoints(),
        Command::Run { role } => {
            let (shape, options) = role.options();
            let (effective, live) = options.load_and_follow()?;
            telemetry::start_log(&effective.settings.log)?;
            for warning in &effective.warnings {
                warn!("{warning}");
            }
            #[cfg(feature = "failpoints")]
            crate::failpoints::arm_from_environment()?;
            match shape {
                Shape::Standalone => standalone::run(effective.settings, &live),
                Shape::Cluster(job) => cluster::run(effective.settings, &live, job),
            }
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

/// Settings that are not shown.
const SECRETS: [&str; 2] = ["etcd.auth.password", "minio.secretAccessKey"];

fn print_config(effective: &Effective) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (key, (value, origin)) in &effective.origins {
        let value = if SECRETS.contains(&key.as_str()) { "******" } else { value };
        writeln!(out, "{key}: {value}  # {origin}")?;
    }
    for warning in &effective.warnings {
        writeln!(out, "# warning: {warning}")?;
    }
    Ok(())
}
