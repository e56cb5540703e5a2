//! Server processes: start, kill, stop, restart on the same directory.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

pub use crate::process::EndedEarly;
use crate::process::Process;

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
    /// Small segments and eager housekeeping, so that every kind of background work happens often.
    #[must_use]
    pub fn busy() -> Self {
        Self::default()
            .set("dataCoord.segment.maxSize=1MiB")
            .set("dataCoord.segment.sealProportion=0.02")
            .set("dataCoord.segment.maxIdleTime=1s")
            .set("dataCoord.gc.interval=1s")
            .set("dataCoord.gc.dropTolerance=1s")
            .set("streamingNode.logFileSize=64KiB")
    }

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

/// Whether a process ended as one that a failure point aborted.
#[must_use]
pub fn was_aborted(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::ABORT.as_raw())
}

/// Names of all failure points of the binary under test.
///
/// # Errors
/// If it has none: it must be built with them.
pub async fn failpoints() -> anyhow::Result<Vec<String>> {
    let output = Command::new(binary()).arg("failpoints").output().await.context("server not started")?;
    anyhow::ensure!(output.status.success(), "a server without failure points: run `make server`");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// A running standalone server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Where Milvus's protocol is served.
    pub address: SocketAddr,
    /// Where health and metrics are served.
    pub metrics: SocketAddr,
}

impl Server {
    /// Starts a server on a directory and waits until it listens.
    ///
    /// # Errors
    /// [`EndedEarly`] if the process ends; or if it does not listen in time.
    pub async fn start(directory: &Path, options: &Options) -> anyhow::Result<Self> {
        let mut command = Command::new(binary());
        command
            .args(["run", "standalone", "--set", "proxy.port=0", "--set", "metrics.port=0"])
            .args(["--set", "proxy.ip=127.0.0.1", "--set", "log.format=json", "--data-dir"])
            .arg(directory)
            .args(options.settings.iter().flat_map(|setting| ["--set", setting]))
            .env("FAILPOINTS", &options.failpoints)
            .envs(options.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start("server", command, &["proxy", "metrics"]).await?;
        let (address, metrics) = (process.address("proxy"), process.address("metrics"));
        Ok(Self { process, address, metrics })
    }

    /// Everything the server has logged so far, one JSON object a line.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// What `/healthz` answers: whether all is well, and the report.
    ///
    /// # Errors
    /// If it does not answer, or not as it should.
    pub async fn health(&self) -> anyhow::Result<(bool, serde_json::Value)> {
        health(self.metrics).await
    }

    /// Ends the process at once, as a crash does.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// The process id.
    ///
    /// # Panics
    /// If the process has been waited for.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// If it does not end within `patience`.
    pub async fn terminate(self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.process.terminate(patience).await
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub async fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.process.ended(patience).await
    }
}

/// What `/healthz` of a process answers: whether all is well, and the report.
///
/// # Errors
/// If it does not answer, or not as it should.
pub async fn health(pages: SocketAddr) -> anyhow::Result<(bool, serde_json::Value)> {
    page(pages, "/healthz").await
}

/// Whether a page says that all is well, and the JSON on it.
///
/// # Errors
/// If it does not answer, or not with JSON.
pub async fn page(server: SocketAddr, path: &str) -> anyhow::Result<(bool, serde_json::Value)> {
    let (well, body) = text(server, path).await?;
    Ok((well, serde_json::from_str(&body).context(body)?))
}

/// The sum of a metric over the label sets that contain `label`; 0 if there are none.
///
/// # Errors
/// If the process does not answer, or not with numbers.
pub async fn metric(pages: SocketAddr, name: &str, label: &str) -> anyhow::Result<f64> {
    let (_, body) = text(pages, "/metrics").await?;
    let samples = body.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
    let values = samples.map(|sample| sample.rsplit(' ').next().unwrap_or_default().parse::<f64>());
    Ok(values.sum::<Result<f64, _>>()?)
}

async fn text(server: SocketAddr, path: &str) -> anyhow::Result<(bool, String)> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    Ok((head.split_whitespace().nth(1) == Some("200"), body.to_owned()))
}
