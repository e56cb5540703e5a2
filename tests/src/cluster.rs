//! A cluster of separate processes on a real etcd and a bucket over real S3: its members come, die, hang and go.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_test_bucket::TestBucket;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::task::JoinSet;

pub use crate::etcd::Etcd;
use crate::metastore::{Active, COORDINATORS, Metastore};
use crate::network::Room;
use crate::process::Process;
use crate::server::{self, Options, binary};

/// A loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many of each role.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Processes with the three coordinators.
    pub mixcoord: usize,
    /// Processes of each coordinator alone.
    pub apart: usize,
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
    pub const NONE: Self =
        Self { mixcoord: 0, apart: 0, proxy: 0, streamingnode: 0, querynode: 0, datanode: 0 };
    /// One of each.
    pub const SMALL: Self =
        Self { mixcoord: 1, apart: 0, proxy: 1, streamingnode: 1, querynode: 1, datanode: 1 };
    /// Two proxies, two streaming nodes, three query nodes, two data nodes.
    pub const WIDE: Self =
        Self { mixcoord: 1, apart: 0, proxy: 2, streamingnode: 2, querynode: 3, datanode: 2 };

    fn roles(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("mixcoord", self.mixcoord),
            ("rootcoord", self.apart),
            ("datacoord", self.apart),
            ("querycoord", self.apart),
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

impl Member {
    /// The id under which others know it, once it has joined.
    #[must_use]
    pub fn node(&self) -> Option<i64> {
        let entries = self.process.entries();
        entries.iter().find_map(|entry| match entry["fields"]["message"] == "joined the cluster" {
            true => entry["fields"]["node"].as_i64(),
            false => None,
        })
    }
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
        Self::start_on(etcd, directory, shape, options).await
    }

    /// Starts everything else on an etcd, and waits until it is healthy.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start_on(
        etcd: Etcd,
        directory: &Path,
        shape: Shape,
        options: Options,
    ) -> anyhow::Result<Self> {
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

    /// Starts one more in a network of its own.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add_inside(
        &mut self,
        room: &Room,
        role: &'static str,
        own: &[&str],
    ) -> anyhow::Result<&Member> {
        let (name, command) = self.command(role, own, &room.entrance());
        self.members.push(Member { role, process: Process::start(&name, command, services(role)).await? });
        Ok(self.members.last().expect("just added"))
    }

    /// Starts one more that is made to fail.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add_doomed(&mut self, role: &'static str, failpoints: &str) -> anyhow::Result<&Member> {
        self.add_where(role, "FAILPOINTS", failpoints).await
    }

    /// Starts one more with a variable of its own in its environment.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add_where(
        &mut self,
        role: &'static str,
        variable: &str,
        value: &str,
    ) -> anyhow::Result<&Member> {
        let (name, mut command) = self.command(role, &[], &[]);
        command.env(variable, value);
        self.members.push(Member { role, process: Process::start(&name, command, services(role)).await? });
        Ok(self.members.last().expect("just added"))
    }

    /// Starts so many more at the same time.
    ///
    /// # Errors
    /// If one does not start.
    pub async fn add_together(&mut self, role: &'static str, count: usize) -> anyhow::Result<()> {
        let mut starting = JoinSet::new();
        for _ in 0..count {
            let (name, command) = self.command(role, &[], &[]);
            starting.spawn(async move { Process::start(&name, command, services(role)).await });
        }
        while let Some(started) = starting.join_next().await {
            self.members.push(Member { role, process: started?? });
        }
        Ok(())
    }

    /// Starts one more, and waits only until its pages can be asked.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add_unready(&mut self, role: &'static str) -> anyhow::Result<()> {
        let (name, command) = self.command(role, &[], &[]);
        let process = Process::start(&name, command, &["metrics"]).await?;
        self.members.push(Member { role, process });
        Ok(())
    }

    async fn make(&mut self, role: &'static str, own: &[&str]) -> anyhow::Result<Member> {
        let (name, command) = self.command(role, own, &[]);
        Ok(Member { role, process: Process::start(&name, command, services(role)).await? })
    }

    /// `entrance` is put before the command line.
    fn command(&mut self, role: &'static str, own: &[&str], entrance: &[String]) -> (String, Command) {
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
            format!("etcd.endpoints={}", self.etcd.endpoints()),
            format!("minio.address={}", self.bucket.address()),
            format!("localStorage.path={}", self.directory.join(&name).display()),
        ];
        let program = binary();
        let mut words = entrance.iter().map(AsRef::as_ref).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command
            .args(words)
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

    /// What `redkite ctl` prints.
    ///
    /// # Errors
    /// If it fails: what it says then.
    pub async fn ctl(&self, what: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(binary());
        let endpoints = format!("etcd.endpoints={}", self.etcd.endpoints());
        let output = command.arg("ctl").args(["--set", &endpoints]).args(what).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "redkite ctl {what:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A look at what etcd says.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn metastore(&self) -> anyhow::Result<Metastore> {
        Metastore::connect(self.etcd.address(0)).await
    }

    /// The member with an id.
    ///
    /// # Errors
    /// If there is none.
    pub fn position(&self, node: i64) -> anyhow::Result<usize> {
        let found = self.members.iter().position(|member| member.node() == Some(node));
        found.with_context(|| format!("no member is node {node}"))
    }

    /// Waits until each coordinator is active somewhere; where.
    ///
    /// # Errors
    /// If one is not in time.
    pub async fn active(&self) -> anyhow::Result<Vec<(&'static str, Active)>> {
        let metastore = self.metastore().await?;
        let mut found = Vec::new();
        for role in COORDINATORS {
            found.push((role, metastore.active_after(role, 0).await?));
        }
        Ok(found)
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
        self.dismiss(position)?;
        self.left(position).await
    }

    /// Asks a member to leave, and does not wait.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn dismiss(&self, position: usize) -> anyhow::Result<()> {
        self.members[position].process.signal(Signal::TERM)
    }

    /// Waits until a member that was asked to leave has left; its role.
    ///
    /// # Errors
    /// If it does not in time, or not cleanly.
    pub async fn left(&mut self, position: usize) -> anyhow::Result<&'static str> {
        let mut member = self.members.remove(position);
        let status = member.process.ended(PATIENCE).await?;
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

/// What is waited for when a process starts.
fn services(role: &str) -> &'static [&'static str] {
    if role == "proxy" { &["internal", "metrics", "proxy"] } else { &["internal", "metrics"] }
}
