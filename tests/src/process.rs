//! A process of the binary under test: what it says, how it ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// A server should answer its first request within a second; a loaded machine gets more.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The server ended before it listened.
#[derive(Debug, thiserror::Error)]
#[error("server ended before it listened, {status}; it said:\n{said}")]
pub struct EndedEarly {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it logged.
    pub said: String,
}

/// A running process that logs JSON; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Said,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Process {
    /// Starts it and waits until it listens for all of `services`. What it says is shown as said by `name`.
    ///
    /// # Errors
    /// [`EndedEarly`] if the process ends; or if it does not listen in time.
    pub async fn start(name: &str, mut command: Command, services: &[&str]) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} not started"))?;
        let log = child.stderr.take().expect("stderr is piped");
        let said = Said { name: name.into(), lines: Arc::default() };
        let addresses = tokio::time::timeout(START_PATIENCE, said.addresses(log, services))
            .await
            .with_context(|| format!("{name} does not listen in time; it said:\n{}", said.all()))??;
        let Some(addresses) = addresses else {
            let status = child.wait().await.context("wait")?;
            return Err(EndedEarly { status, said: said.all() }.into());
        };
        Ok(Self { child, said, addresses })
    }

    /// Where it listens for one of the services that were waited for.
    ///
    /// # Panics
    /// If it was not waited for.
    #[must_use]
    pub fn address(&self, service: &str) -> SocketAddr {
        self.addresses[service]
    }

    /// Where it listens for a service that it may only just be starting.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn address_of(&self, service: &str) -> anyhow::Result<SocketAddr> {
        let found = async {
            loop {
                let said = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some((_, address)) =
                    said.iter().filter_map(|line| listening(line)).find(|(named, _)| named == service)
                {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(START_PATIENCE, found).await.with_context(|| format!("no service {service}"))
    }

    /// Everything it has logged so far, one JSON object a line.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.all()
    }

    /// Everything it has logged so far that is JSON.
    #[must_use]
    pub fn entries(&self) -> Vec<serde_json::Value> {
        let lines = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until it has logged something; the entry.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn says(
        &self,
        what: &str,
        right: impl Fn(&serde_json::Value) -> bool,
    ) -> anyhow::Result<serde_json::Value> {
        let found = async {
            loop {
                if let Some(entry) = self.entries().into_iter().find(|entry| right(entry)) {
                    return entry;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(START_PATIENCE, found).await.with_context(|| format!("it never said {what}"))
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn is_alive(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
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

    /// Sends a signal.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid(), signal).with_context(|| format!("signal {signal:?}"))
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// If it does not end within `patience`.
    pub async fn terminate(mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended(patience).await
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

/// The service and its address, if a line tells of one.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let entry: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = &entry["fields"];
    let tells = fields["message"] == "listening";
    tells
        .then(|| Some((fields["service"].as_str()?.to_owned(), fields["address"].as_str()?.parse().ok()?)))?
}

/// What a process logs.
#[derive(Clone, Debug)]
struct Said {
    name: Arc<str>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Said {
    fn all(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn add(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Reads the log until all addresses are known, then keeps draining it so that the server never
    /// blocks; `None` if it ends before.
    async fn addresses(
        &self,
        log: ChildStderr,
        services: &[&str],
    ) -> anyhow::Result<Option<BTreeMap<String, SocketAddr>>> {
        let mut lines = BufReader::new(log).lines();
        let mut addresses = BTreeMap::new();
        while let Some(line) = lines.next_line().await? {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let fields = &entry["fields"];
            if fields["message"] == "listening"
                && let (Some(service), Some(address)) =
                    (fields["service"].as_str(), fields["address"].as_str())
            {
                addresses.insert(service.to_owned(), address.parse()?);
            }
            self.add(line);
            if services.iter().all(|service| addresses.contains_key(*service)) {
                self.clone().drain(lines);
                return Ok(Some(addresses));
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
                eprintln!("{}: {line}", self.name);
                self.add(line);
            }
        });
    }
}
