//! A real etcd of one or more members: killed, restarted, stalled.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use redkite_proto::etcd::StatusRequest;
use redkite_proto::etcd::maintenance_client::MaintenanceClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

use crate::server;

/// A loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// etcd; killed when dropped.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    child: Child,
    place: Place,
}

/// Where a member is, in whatever process.
#[derive(Debug)]
struct Place {
    name: String,
    directory: PathBuf,
    port: u16,
    peer: u16,
    /// All members, as the option `--initial-cluster` wants them.
    cluster: String,
}

impl Etcd {
    /// Starts one of one member with its data in a directory.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::start_members(directory, 1).await
    }

    /// Starts one of so many members.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_members(directory: &Path, count: usize) -> anyhow::Result<Self> {
        let mut places: Vec<Place> = Vec::new();
        for number in 0..count {
            let name = format!("etcd{number}");
            let directory = if count == 1 { directory.to_owned() } else { directory.join(&name) };
            let (port, peer) = (free_port()?, free_port()?);
            places.push(Place { name, directory, port, peer, cluster: String::new() });
        }
        let cluster: Vec<_> =
            places.iter().map(|place| format!("{}=http://127.0.0.1:{}", place.name, place.peer)).collect();
        let mut members = Vec::new();
        for mut place in places {
            place.cluster = cluster.join(",");
            members.push(Member { child: place.spawn()?, place });
        }
        let etcd = Self { members };
        etcd.answers().await?;
        Ok(etcd)
    }

    /// As the setting `etcd.endpoints` wants it.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let addresses = self.members.iter().map(|member| member.place.address().to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Where one member serves.
    #[must_use]
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].place.address()
    }

    /// The number of members.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The member that leads.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let end = Instant::now() + PATIENCE;
        loop {
            for (number, member) in self.members.iter().enumerate() {
                if let Ok((own, leader)) = member.place.status().await
                    && own == leader
                {
                    return Ok(number);
                }
            }
            ensure!(Instant::now() < end, "etcd has no leader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&self) -> anyhow::Result<()> {
        for member in &self.members {
            member.place.answers().await?;
        }
        Ok(())
    }

    /// Ends all members as a crash does.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        for number in 0..self.members.len() {
            self.kill_member(number).await?;
        }
        Ok(())
    }

    /// Ends one member as a crash does.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill_member(&mut self, member: usize) -> anyhow::Result<()> {
        self.members[member].child.kill().await.context("kill etcd")
    }

    /// New processes on the same data.
    ///
    /// # Errors
    /// If they do not come back.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.child = member.place.spawn()?;
        }
        self.answers().await
    }

    /// A new process on the data of one member.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn restart_member(&mut self, member: usize) -> anyhow::Result<()> {
        let member = &mut self.members[member];
        member.child = member.place.spawn()?;
        member.place.answers().await
    }

    /// kill -9 of all members, and new processes on the same data after a pause.
    ///
    /// # Errors
    /// If they do not come back.
    pub async fn crash(&mut self, pause: Duration) -> anyhow::Result<()> {
        self.kill().await?;
        tokio::time::sleep(pause).await;
        self.restart().await
    }

    /// All members hang for a while, as they do when their disks do.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn stall(&self, time: Duration) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        tokio::time::sleep(time).await;
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        for member in &self.members {
            let pid = member.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
            kill_process(pid.context("etcd is dead")?, signal)?;
        }
        Ok(())
    }
}

impl Place {
    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let client = format!("http://{}", self.address());
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let program = std::env::var_os("ETCD_BIN").unwrap_or_else(|| "etcd".into());
        let mut command = Command::new(program);
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.directory)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster, "--log-level", "error"])
            // The largest that etcd recommends: benchmarks fill it.
            .args(["--quota-backend-bytes", "8589934592"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command.spawn().context("etcd not started: is it installed?")
    }

    /// An etcd that is killed the first time before it answers may never come back: on its disk it has no member.
    async fn answers(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = server::page(self.address(), "/health").await;
            match report {
                Ok((true, _)) => return Ok(()),
                _ => ensure!(Instant::now() < end, "etcd does not answer: {report:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The id of the member, and of the one it takes for the leader.
    async fn status(&self) -> anyhow::Result<(u64, u64)> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address()))?;
        let channel = endpoint.timeout(Duration::from_secs(2)).connect().await?;
        let status = MaintenanceClient::new(channel).status(StatusRequest {}).await?.into_inner();
        let own = status.header.context("an answer without header")?.member_id;
        Ok((own, status.leader))
    }
}

/// A port that nobody uses now, that the system gives to no connection meanwhile, and never the same twice.
///
/// # Errors
/// If there is none.
pub fn free_port() -> anyhow::Result<u16> {
    /// Below those that Linux chooses from.
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Tests beside this one are processes of their own, and begin elsewhere.
    let begin = std::process::id().wrapping_mul(16);
    for _ in PORTS {
        let given = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(given % u32::from(PORTS.end - PORTS.start))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free")
}
