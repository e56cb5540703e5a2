//! A cluster with two candidates for each coordinator and everybody at work, and what a failover costs there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::cluster::{Cluster, Shape};
use redkite_tests::environment::{number, seed};
use redkite_tests::metastore::{Active, COORDINATORS, Metastore};
use redkite_tests::players::{COMMANDS, Company, INSERTED, Players, summary};
use redkite_tests::server::Options;
use tempfile::TempDir;

/// So long a lease that whoever waits for its end is noticed.
pub(crate) const LONG: u64 = 30;
/// So short a lease that its end can be waited for.
pub(crate) const SHORT: u64 = 3;
/// A loaded machine takes its time, but not as long as [`LONG`].
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// One proxy, nodes for two replicas, coordinators as said.
pub(crate) fn shape(mixcoord: usize, apart: usize) -> Shape {
    Shape { mixcoord, apart, proxy: 1, streamingnode: 1, querynode: 2, datanode: 1 }
}

/// Much to do for everybody, and leases of so many seconds.
pub(crate) fn busy(ttl: u64) -> Options {
    Options::busy().set(format!("common.session.ttl={ttl}"))
}

pub(crate) fn failovers(default: u64) -> u64 {
    number("REDKITE_FAILOVERS", default)
}

/// A cluster and everybody at work on it.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) players: Players,
    pub(crate) metastore: Metastore,
    pub(crate) costs: Costs,
    directory: TempDir,
}

impl Scene {
    pub(crate) async fn set(shape: Shape, options: Options, company: Company) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let cluster = Cluster::start(directory.path(), shape, options).await?;
        Self::play(cluster, directory, company).await
    }

    /// Everybody begins on a cluster.
    pub(crate) async fn play(cluster: Cluster, directory: TempDir, company: Company) -> anyhow::Result<Self> {
        let metastore = cluster.metastore().await?;
        let mut players = Players::enter(&cluster, seed(), company).await?;
        players.everybody_is_answered(Duration::from_secs(60)).await?;
        Ok(Self { cluster, players, metastore, costs: Costs::default(), directory })
    }

    /// The position of the process that is active in a role, and in what else.
    pub(crate) async fn active(&self, role: &str) -> anyhow::Result<(usize, Reigns)> {
        let all = self.cluster.active().await?;
        let (_, active) = all.iter().find(|(name, _)| *name == role).context("role")?;
        let node = active.node;
        let reigns = all.into_iter().filter(|(_, active)| active.node == node).collect();
        Ok((self.cluster.position(node)?, reigns))
    }

    /// Waits until each of these reigns is followed by another, then until everybody is served; notes what it cost
    /// since `begun`.
    pub(crate) async fn taken_over(&mut self, reigns: &Reigns, begun: Instant) -> anyhow::Result<()> {
        let elected = followed(&self.metastore, reigns).await?;
        self.taken_over_at(begun, elected).await
    }

    /// The same, when it is known when another was elected.
    pub(crate) async fn taken_over_at(&mut self, begun: Instant, elected: Instant) -> anyhow::Result<()> {
        self.players.everybody_is_answered(Duration::from_secs(60)).await?;
        self.costs.note(&mut self.players, begun, elected);
        Ok(())
    }

    /// Starts one more candidate and waits until it stands by.
    pub(crate) async fn add_candidate(&mut self, process: &'static str, own: &[&str]) -> anyhow::Result<()> {
        let node = self.cluster.add_with(process, own).await?.node().context("it has not joined")?;
        for role in roles_of(process) {
            self.metastore.registered_after(role, node, 0).await?;
        }
        self.cluster.healthy().await
    }

    /// Everybody leaves; compares everything once more, and tells what it cost. The cluster stays.
    pub(crate) async fn end(self, what: &str) -> anyhow::Result<(Cluster, TempDir)> {
        self.players.leave(&self.cluster).await?;
        check_reigns(&self.metastore).await?;
        self.costs.tell(what);
        Ok((self.cluster, self.directory))
    }
}

/// Waits until each of these reigns is followed by another; when that was.
pub(crate) async fn followed(metastore: &Metastore, reigns: &Reigns) -> anyhow::Result<Instant> {
    for (role, before) in reigns {
        metastore.active_after(role, before.revision).await?;
    }
    Ok(Instant::now())
}

/// Roles with the coordinator that was active in each.
pub(crate) type Reigns = Vec<(&'static str, Active)>;

/// The coordinators that a process is.
pub(crate) fn roles_of(process: &'static str) -> Vec<&'static str> {
    COORDINATORS.into_iter().filter(|role| process == "mixcoord" || *role == process).collect()
}

/// What failovers cost those who met them.
#[derive(Default)]
pub(crate) struct Costs {
    elected: Vec<Duration>,
    met: BTreeMap<&'static str, Vec<Duration>>,
}

impl Costs {
    fn note(&mut self, players: &mut Players, begun: Instant, elected: Instant) {
        self.elected.push(elected - begun);
        for kind in [COMMANDS, INSERTED, "once", "twice"] {
            self.met.entry(kind).or_default().extend(players.calls(kind).during(begun, elected));
        }
    }

    /// The longest command that met a failover.
    pub(crate) fn longest_command(&self) -> Duration {
        self.met.get(COMMANDS).and_then(|took| took.iter().max().copied()).unwrap_or_default()
    }

    fn tell(&self, what: &str) {
        eprintln!(
            "{what}: {} times, until another was elected: {}",
            self.elected.len(),
            summary(self.elected.clone())
        );
        for (kind, took) in &self.met {
            eprintln!("{what}: {kind} that met it: {}", summary(took.clone()));
        }
    }
}

/// Never two actives: each epoch of a role is the next number, recorded in the very transaction that made the active
/// key, and each key is gone before the next is made.
pub(crate) async fn check_reigns(metastore: &Metastore) -> anyhow::Result<()> {
    for role in COORDINATORS {
        let (key, records) = (format!("session/{role}"), format!("election/{role}/"));
        let mut made = Vec::new();
        let mut held = false;
        for change in metastore.history(&key, 1).await?.into_iter().filter(|change| change.key == key) {
            match change.put {
                None => held = false,
                Some(entry) if entry.created == entry.modified => {
                    ensure!(!held, "{role} was made active at {} beside another", change.revision);
                    held = true;
                    made.push(change.revision);
                }
                Some(_) => {}
            }
        }
        let mut told = Vec::new();
        for change in metastore.history(&records, 1).await? {
            let Some(entry) = change.put else { continue };
            let record: serde_json::Value = serde_json::from_slice(&entry.value)?;
            let epoch = record["epoch"].as_u64().context("epoch")?;
            told.push(change.revision);
            ensure!(epoch == told.len() as u64, "{role}: epoch {epoch} is the {}th", told.len());
        }
        ensure!(told == made, "{role}: made active at {made:?}, recorded at {told:?}");
    }
    Ok(())
}

/// When something was logged, as text that sorts.
pub(crate) fn moment(entry: &serde_json::Value) -> &str {
    entry["timestamp"].as_str().unwrap_or_default()
}
