//! A cluster of separate processes on a real etcd and a bucket over real S3: its members come, die, hang and go.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_test_bucket::TestBucket;
use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::process::Process;
use crate::server::{self, Options, binary};

/// A loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many of each role.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Processes with the three coordinators.
    pub mixcoord: usize,
    /// Proxies.
    pub proxy: usize,
    /// Streaming nodes.
    pub streamingnode: usize,
    /// Query nodes.
    pub querynode: usize,
    /// Data nodes.
    pub datanode: usize,
}

impl Shape {
    /// Only etcd and the bucket.
    pub const NONE: Self = Self { mixcoord: 0, proxy: 0, streamingnode: 0, querynode: 0, datanode: 0 };
    /// One of each.
    pub const SMALL: Self = Self { mixcoord: 1, proxy: 1, streamingnode: 1, querynode: 1, datanode: 1 };
    /// Two proxies, two streaming nodes, three query nodes, two data nodes.
    pub const WIDE: Self = Self { mixcoord: 1, proxy: 2, streamingnode: 2, querynode: 3, datanode: 2 };

    fn roles(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("mixcoord", self.mixcoord),
            ("streamingnode", self.streamingnode),
            ("querynode", self.querynode),
            ("datanode", self.datanode),
            ("proxy", self.proxy),
        ]
        .into_iter()
    }
}

/// A process of a cluster.
#[derive(Debug)]
pub struct Member {
    /// Its role, as `redkite run` names it.
    pub role: &'static str,
    /// The process.
    pub process: Process,
}

/// A running cluster; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    options: Options,
    /// The members, in the order in which they were started.
    pub members: Vec<Member>,
    /// etcd.
    pub etcd: Etcd,
    /// The bucket.
    pub bucket: TestBucket,
    started: usize,
}

impl Cluster {
    /// Starts everything, and waits until it is healthy.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start(directory: &Path, shape: Shape, options: Options) -> anyhow::Result<Self> {
        let etcd = Etcd::start(&directory.join("etcd")).await?;
        let bucket = TestBucket::start(redkite_test_bucket::Options::default()).await.context("bucket")?;
        let mut cluster =
            Self { directory: directory.to_owned(), options, members: Vec::new(), etcd, bucket, started: 0 };
        for (role, count) in shape.roles() {
            for _ in 0..count {
                cluster.add(role).await?;
            }
        }
        cluster.healthy().await?;
        Ok(cluster)
    }

    /// Starts one more.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add(&mut self, role: &'static str) -> anyhow::Result<&Member> {
        self.add_with(role, &[]).await
    }

    /// Starts one more with settings of its own.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add_with(&mut self, role: &'static str, own: &[&str]) -> anyhow::Result<&Member> {
        let member = self.make(role, own).await?;
        self.members.push(member);
        Ok(self.members.last().expect("just added"))
    }

    /// Starts one more, and waits only until its pages can be asked.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add_unready(&mut self, role: &'static str) -> anyhow::Result<()> {
        let (name, command) = self.command(role, &[]);
        let process = Process::start(&name, command, &["metrics"]).await?;
        self.members.push(Member { role, process });
        Ok(())
    }

    async fn make(&mut self, role: &'static str, own: &[&str]) -> anyhow::Result<Member> {
        let (name, command) = self.command(role, own);
        let services: &[&str] =
            if role == "proxy" { &["internal", "metrics", "proxy"] } else { &["internal", "metrics"] };
        let process = Process::start(&name, command, services).await?;
        Ok(Member { role, process })
    }

    fn command(&mut self, role: &'static str, own: &[&str]) -> (String, Command) {
        self.started += 1;
        let name = format!("{role}-{}", self.started);
        let section = match role {
            "mixcoord" => "mixCoord",
            "rootcoord" => "rootCoord",
            "datacoord" => "dataCoord",
            "querycoord" => "queryCoord",
            "streamingnode" => "streamingNode",
            "querynode" => "queryNode",
            "datanode" => "dataNode",
            role => role,
        };
        let settings = [
            format!("{section}.ip=127.0.0.1"),
            format!("{section}.port=0"),
            "proxy.internalPort=0".to_owned(),
            "metrics.port=0".to_owned(),
            "log.format=json".to_owned(),
            format!("etcd.endpoints=127.0.0.1:{}", self.etcd.port),
            format!("minio.address={}", self.bucket.address()),
            format!("localStorage.path={}", self.directory.join(&name).display()),
        ];
        let mut command = Command::new(binary());
        command
            .args(["run", role])
            .args(settings.iter().chain(&self.options.settings).flat_map(|setting| ["--set", setting]))
            .args(own.iter().flat_map(|setting| ["--set", setting]))
            .env("FAILPOINTS", &self.options.failpoints)
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        (name, command)
    }

    /// Waits until every member says that it is well.
    ///
    /// # Errors
    /// If one does not in time.
    pub async fn healthy(&self) -> anyhow::Result<()> {
        for member in &self.members {
            let end = Instant::now() + PATIENCE;
            loop {
                let (well, report) = server::health(member.process.address("metrics")).await?;
                if well {
                    break;
                }
                ensure!(Instant::now() < end, "{} is not well: {report}", member.role);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// Where clients are served.
    #[must_use]
    pub fn proxies(&self) -> Vec<SocketAddr> {
        let proxies = self.members.iter().filter(|member| member.role == "proxy");
        proxies.map(|proxy| proxy.process.address("proxy")).collect()
    }

    /// Positions of the members with a role.
    #[must_use]
    pub fn with_role(&self, role: &str) -> Vec<usize> {
        (0..self.members.len()).filter(|position| self.members[*position].role == role).collect()
    }

    /// Kills a member as a crash does; its role.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(&mut self, position: usize) -> anyhow::Result<&'static str> {
        let member = self.members.remove(position);
        member.process.kill().await?;
        Ok(member.role)
    }

    /// Asks a member to leave, and waits until it has; its role.
    ///
    /// # Errors
    /// If it does not in time, or not cleanly.
    pub async fn leave(&mut self, position: usize) -> anyhow::Result<&'static str> {
        let member = self.members.remove(position);
        let status = member.process.terminate(PATIENCE).await?;
        ensure!(status.success(), "{} ended with {status}", member.role);
        Ok(member.role)
    }

    /// Stops a member for a while, as a hang does.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn pause(&self, position: usize) -> anyhow::Result<()> {
        self.members[position].process.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn resume(&self, position: usize) -> anyhow::Result<()> {
        self.members[position].process.signal(Signal::CONT)
    }
}

/// A real etcd of one member; killed when dropped.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    directory: PathBuf,
    port: u16,
    peer: u16,
}

impl Etcd {
    /// Starts one with its data in a directory.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let (port, peer) = (free_port()?, free_port()?);
        let child = Self::spawn(directory, port, peer)?;
        let etcd = Self { child, directory: directory.to_owned(), port, peer };
        etcd.answers().await?;
        Ok(etcd)
    }

    fn spawn(directory: &Path, port: u16, peer: u16) -> anyhow::Result<Child> {
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let program = std::env::var_os("ETCD_BIN").unwrap_or_else(|| "etcd".into());
        let mut command = Command::new(program);
        command
            .arg("--data-dir")
            .arg(directory)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true);
        command.spawn().context("etcd not started: is it installed?")
    }

    /// An etcd that is killed the first time before it answers may never come back: on its disk it has no member.
    async fn answers(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = server::page(([127, 0, 0, 1], self.port).into(), "/health").await;
            match report {
                Ok((true, _)) => return Ok(()),
                _ => ensure!(Instant::now() < end, "etcd does not answer: {report:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it as a crash does.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill etcd")
    }

    /// A new process on the same data.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = Self::spawn(&self.directory, self.port, self.peer)?;
        self.answers().await
    }

    /// kill -9, and a new process on the same data after a pause.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn crash(&mut self, pause: Duration) -> anyhow::Result<()> {
        self.kill().await?;
        tokio::time::sleep(pause).await;
        self.restart().await
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
