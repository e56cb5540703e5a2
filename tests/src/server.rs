//! Server processes: start, kill, stop, restart on the same directory.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// A server should answer its first request within a second; a loaded machine gets more.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `REDKITE_BIN`, or the one built beside this test.
///
/// # Panics
/// If there is none: a missing server fails the test.
#[must_use]
pub fn binary() -> PathBuf {
    let path = std::env::var_os("REDKITE_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("a running test has a path");
            test.ancestors().nth(2).expect("tests run in target/<profile>/deps").join("redkite")
        },
        PathBuf::from,
    );
    assert!(path.exists(), "no server at {}: run `make server`", path.display());
    path
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `KEY=VALUE` settings besides ports and directory.
    pub settings: Vec<String>,
    /// Failure points, in the syntax of the `fail` crate; empty for none.
    pub failpoints: String,
    /// Environment variables.
    pub environment: Vec<(OsString, OsString)>,
}

impl Options {
    /// With one more setting.
    #[must_use]
    pub fn set(mut self, key_value: impl Into<String>) -> Self {
        self.settings.push(key_value.into());
        self
    }

    /// With these failure points.
    #[must_use]
    pub fn fail(mut self, failpoints: impl Into<String>) -> Self {
        self.failpoints = failpoints.into();
        self
    }
}

/// A running standalone server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where Milvus's protocol is served.
    pub address: SocketAddr,
    /// Where health and metrics are served.
    pub metrics: SocketAddr,
}

impl Server {
    /// Starts a server on a directory and waits until it listens.
    ///
    /// # Errors
    /// If the process ends or does not listen in time; what it logged is in the error.
    pub async fn start(directory: &Path, options: &Options) -> anyhow::Result<Self> {
        let mut command = Command::new(binary());
        command
            .args(["run", "standalone", "--set", "proxy.port=0", "--set", "metrics.port=0"])
            .args(["--set", "proxy.ip=127.0.0.1", "--set", "log.format=json", "--data-dir"])
            .arg(directory)
            .args(options.settings.iter().flat_map(|setting| ["--set", setting]))
            .env("FAILPOINTS", &options.failpoints)
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("server not started")?;
        let log = child.stderr.take().expect("stderr is piped");
        let (address, metrics) = tokio::time::timeout(START_PATIENCE, addresses(log))
            .await
            .context("server does not listen in time")??;
        Ok(Self { child, address, metrics })
    }

    /// Ends the process at once, as a crash does.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill")
    }

    /// The process id.
    ///
    /// # Panics
    /// If the process has been waited for.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let pid = self.child.id().expect("not waited for yet");
        Pid::from_raw(pid.cast_signed()).expect("a process has a positive id")
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// If it does not end within `patience`.
    pub async fn terminate(mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        kill_process(self.pid(), Signal::TERM).context("SIGTERM")?;
        tokio::time::timeout(patience, self.child.wait())
            .await
            .context("server does not stop")?
            .context("wait")
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub async fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        tokio::time::timeout(patience, self.child.wait())
            .await
            .context("server does not end")?
            .context("wait")
    }
}

/// Reads the log until both addresses are known, then keeps draining it so that the server never blocks.
async fn addresses(log: ChildStderr) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let mut lines = BufReader::new(log).lines();
    let mut said = Vec::new();
    let (mut proxy, mut metrics) = (None, None);
    while let Some(line) = lines.next_line().await? {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let fields = &entry["fields"];
        if fields["message"] == "listening" {
            let address = fields["address"].as_str().unwrap_or_default().parse().ok();
            match fields["service"].as_str() {
                Some("proxy") => proxy = address,
                Some("metrics") => metrics = address,
                _ => {}
            }
        }
        said.push(line);
        if let (Some(proxy), Some(metrics)) = (proxy, metrics) {
            drain(lines);
            return Ok((proxy, metrics));
        }
    }
    bail!("server ended before it listened; it said:\n{}", said.join("\n"))
}

/// Passes the rest of the log on to the test's own output, which is shown when the test fails.
fn drain(mut lines: tokio::io::Lines<BufReader<ChildStderr>>) {
    #[expect(clippy::disallowed_methods, reason = "the reader lives exactly as long as the server's pipe")]
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("server: {line}");
        }
    });
}
