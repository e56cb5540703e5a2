//! Server processes: start, kill, stop, restart on the same directory.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
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

/// The server ended before it listened.
#[derive(Debug, thiserror::Error)]
#[error("server ended before it listened, {status}; it said:\n{said}")]
pub struct EndedEarly {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it logged.
    pub said: String,
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
    child: Child,
    said: Said,
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
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("server not started")?;
        let log = child.stderr.take().expect("stderr is piped");
        let said = Said::default();
        let addresses = tokio::time::timeout(START_PATIENCE, said.addresses(log))
            .await
            .context("server does not listen in time")??;
        let Some((address, metrics)) = addresses else {
            let status = child.wait().await.context("wait")?;
            return Err(EndedEarly { status, said: said.all() }.into());
        };
        Ok(Self { child, said, address, metrics })
    }

    /// Everything the server has logged so far, one JSON object a line.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.all()
    }

    /// What `/healthz` answers: whether all is well, and the report.
    ///
    /// # Errors
    /// If it does not answer, or not as it should.
    pub async fn health(&self) -> anyhow::Result<(bool, serde_json::Value)> {
        let mut stream = TcpStream::connect(self.metrics).await?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        let well = head.split_whitespace().nth(1) == Some("200");
        Ok((well, serde_json::from_str(body).with_context(|| answer.clone())?))
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

/// What a server logs.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn all(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn add(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Reads the log until both addresses are known, then keeps draining it so that the server never
    /// blocks; `None` if it ends before.
    async fn addresses(&self, log: ChildStderr) -> anyhow::Result<Option<(SocketAddr, SocketAddr)>> {
        let mut lines = BufReader::new(log).lines();
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
            self.add(line);
            if let (Some(proxy), Some(metrics)) = (proxy, metrics) {
                self.clone().drain(lines);
                return Ok(Some((proxy, metrics)));
            }
        }
        Ok(None)
    }

    /// Passes the rest of the log on to the test's own output, which is shown when the test fails.
    fn drain(self, mut lines: Lines<BufReader<ChildStderr>>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the reader lives exactly as long as the server's pipe"
        )]
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("server: {line}");
                self.add(line);
            }
        });
    }
}
