//! Clients of a cluster at work all at once, each of whom notices every wrong answer.
//!
//! [`Players`] enter, are asked in between whether all is well, and leave: then everything is compared once more, and
//! how long calls took is told.

mod calls;
mod define;
mod insert;
mod search;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::calls::{Calls, summary};
use crate::cluster::Cluster;
use crate::workload::{self, Stopped, Writer};

/// How long a write may be on its way after its proxy has died.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// The collection that is only inserted into.
pub const INSERTED: &str = "inserted";
/// Commands that coordinators carry out.
pub const COMMANDS: &str = "commands";
/// From the request to load a collection until it can be searched.
pub const LOADS: &str = "loads";

/// Who plays.
#[derive(Clone, Copy, Debug)]
pub struct Company {
    /// Writers for each of two collections, checked against the exact model.
    pub writers: i64,
    /// Those who make, index, load, release and drop collections without a pause.
    pub definers: usize,
    /// Whether collections of one and of two replicas are searched.
    pub searchers: bool,
}

impl Company {
    /// Writers and searchers.
    pub const READ_AND_WRITE: Self = Self { writers: 3, definers: 0, searchers: true };
    /// Three definers, and enough others to notice what goes wrong.
    pub const DEFINE: Self = Self { writers: 1, definers: 3, searchers: true };
}

/// What everybody at work needs to know.
#[derive(Clone, Debug)]
struct Stage {
    /// The proxies that are alive.
    proxies: watch::Receiver<Vec<SocketAddr>>,
    over: Arc<AtomicBool>,
}

impl Stage {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn proxy(&self, number: usize) -> SocketAddr {
        let proxies = self.proxies.borrow();
        proxies[number % proxies.len()]
    }

    /// Nobody but a dead proxy may leave a client without an answer.
    async fn died(&mut self, proxy: SocketAddr) -> anyhow::Result<()> {
        let gone = self.proxies.wait_for(|alive| !alive.contains(&proxy));
        let told = tokio::time::timeout(Duration::from_secs(5), gone).await;
        told.map_err(|_| anyhow::anyhow!("proxy {proxy} gave no answer, but is alive"))?
            .context("proxies")?;
        // What the proxy had sent may still be on its way to a leader. Nothing tells when it has arrived.
        tokio::time::sleep(IN_FLIGHT).await;
        Ok(())
    }
}

/// Writes and reads by its model until all is over.
async fn write(mut writer: Writer, number: usize, mut stage: Stage) -> anyhow::Result<Writer> {
    while !stage.is_over() {
        let proxy = stage.proxy(number);
        match writer.work(proxy, 20).await? {
            Stopped::Done => {}
            Stopped::ServerGone => stage.died(proxy).await?,
        }
    }
    Ok(writer)
}

/// Everybody at work.
#[derive(Debug)]
pub struct Players {
    writers: JoinSet<anyhow::Result<Writer>>,
    callers: JoinSet<anyhow::Result<()>>,
    calls: BTreeMap<&'static str, Calls>,
    proxies: watch::Sender<Vec<SocketAddr>>,
    over: Arc<AtomicBool>,
}

impl Players {
    /// Everybody begins.
    ///
    /// # Errors
    /// If the cluster refuses what they need.
    pub async fn enter(cluster: &Cluster, seed: u64, company: Company) -> anyhow::Result<Self> {
        let mut client = workload::connect(cluster.proxies()[0]).await?;
        let (proxies, receiver) = watch::channel(cluster.proxies());
        let over = Arc::new(AtomicBool::new(false));
        let stage = Stage { proxies: receiver, over: over.clone() };
        let mut players =
            Self { writers: JoinSet::new(), callers: JoinSet::new(), calls: BTreeMap::new(), proxies, over };
        for shards in [1, 2] {
            let collection = format!("model_{shards}");
            workload::prepare(&mut client, &collection, shards).await?;
            for number in 0..company.writers {
                let writer = Writer::new(&collection, number, shards, seed);
                let position = usize::try_from(number)?;
                players.writers.spawn(write(writer, position, stage.clone()));
            }
        }
        if company.searchers {
            for (collection, replicas) in [("once", 1), ("twice", 2)] {
                search::prepare(&mut client, collection, replicas).await?;
                let calls = players.calls(collection);
                players.callers.spawn(search::run(collection, 1, stage.clone(), calls));
            }
        }
        workload::prepare(&mut client, INSERTED, 1).await?;
        let calls = players.calls(INSERTED);
        players.callers.spawn(insert::run(stage.clone(), calls));
        for number in 0..company.definers {
            let definer = define::Definer::new(number, players.calls(COMMANDS), players.calls(LOADS));
            players.callers.spawn(definer.run(stage.clone()));
        }
        Ok(players)
    }

    /// The calls of one kind, named by their collection or [`COMMANDS`] or [`LOADS`].
    pub fn calls(&mut self, kind: &'static str) -> Calls {
        self.calls.entry(kind).or_default().clone()
    }

    /// Tells everybody which proxies are alive.
    pub fn proxies_are(&self, proxies: Vec<SocketAddr>) {
        self.proxies.send_replace(proxies);
    }

    /// Fails as soon as somebody got a wrong answer.
    ///
    /// # Errors
    /// The difference.
    pub fn all_well(&mut self) -> anyhow::Result<()> {
        if let Some(ended) = self.writers.try_join_next() {
            ended??;
            anyhow::bail!("a writer ended before its time");
        }
        if let Some(ended) = self.callers.try_join_next() {
            ended??;
            anyhow::bail!("a caller ended before its time");
        }
        Ok(())
    }

    /// Waits until each kind of call that began from now on was answered.
    ///
    /// # Errors
    /// If somebody got a wrong answer, or none in time.
    pub async fn everybody_is_answered(&mut self, patience: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        let end = now + patience;
        let calls = self.calls.clone();
        for (kind, calls) in calls {
            while !calls.answered_since(now) {
                self.all_well()?;
                ensure!(Instant::now() < end, "no call of {kind} was answered for {patience:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        self.all_well()
    }

    /// Ends everybody's work and compares everything once more.
    ///
    /// # Errors
    /// If something is not as it must be.
    pub async fn leave(mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller??;
        }
        for (kind, calls) in &self.calls {
            calls.tell(kind);
        }
        let mut client = workload::connect(cluster.proxies()[0]).await?;
        let mut operations = 0;
        while let Some(writer) = self.writers.join_next().await {
            let mut writer = writer??;
            ensure!(writer.check(&mut client).await? == Stopped::Done, "the proxy is gone");
            operations += writer.operations();
        }
        ensure!(operations > 0, "no operation was ever acknowledged");
        eprintln!("{operations} operations, no difference");
        Ok(())
    }
}
