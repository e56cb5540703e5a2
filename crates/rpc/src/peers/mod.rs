//! Who is called, and where is that? Other processes, found by their sessions.
//!
//! Connections are kept per process and closed when its session goes away: calls on their way to it
//! fail at once instead of waiting for their deadlines.

mod active;
mod leader;
mod node;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_catalog::MetadataView;
use redkite_cluster::Kv;
use redkite_cluster::sessions::{Peer, Sessions, SessionsView};
use redkite_runtime::{Stopping, Tasks};
use redkite_service::{
    DataCoord, QueryCoord, Result, RootCoord, Segments, SegmentsDirectory, Shard, ShardDirectory,
};
use redkite_types::{NodeId, ShardId};
use tracing::info;

use self::active::Active;
use crate::call::Client;
use crate::link::Link;
use crate::{Network, RpcSettings, role};

/// What [`Peers`] are made of.
pub struct PeersParts {
    /// Who is there.
    pub sessions: SessionsView,
    /// Who leads which shard.
    pub metadata: MetadataView,
    /// Asked about nodes that nobody has heard of.
    pub kv: Arc<dyn Kv>,
    /// Connections end with them.
    pub tasks: Tasks,
    /// Deadlines and limits.
    pub settings: RpcSettings,
    /// What lies between processes.
    pub network: Network,
    /// Whether to connect to coordinators ahead of calls, also to those that stand by: who calls them
    /// then finds the next active one connected.
    pub ahead: bool,
}

impl std::fmt::Debug for PeersParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeersParts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The other processes, as those who call them see them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: PeersParts,
    settings: Arc<RpcSettings>,
    links: Mutex<Links>,
}

#[derive(Debug, Default)]
struct Links {
    /// By process: a new one may listen where an earlier one did.
    open: BTreeMap<(NodeId, String), Arc<Link>>,
    /// Processes that were seen and are gone; their ids are never used again.
    gone: HashSet<NodeId>,
}

impl Peers {
    /// Nobody is connected to yet. Stops with the parts' tasks.
    #[must_use]
    pub fn new(parts: PeersParts) -> Self {
        let settings = Arc::new(parts.settings.clone());
        let tasks = parts.tasks.clone();
        let shared = Arc::new(Shared { parts, settings, links: Mutex::default() });
        tasks.spawn("rpc-peers", {
            let shared = shared.clone();
            move |stopping| async move { shared.follow(&stopping).await }
        });
        Self(shared)
    }

    /// The root coordinator, whichever is active when it is called.
    #[must_use]
    pub fn root(&self) -> Arc<dyn RootCoord> {
        Arc::new(self.active(role::ROOT_COORD))
    }

    /// The data coordinator, whichever is active when it is called.
    #[must_use]
    pub fn data(&self) -> Arc<dyn DataCoord> {
        Arc::new(self.active(role::DATA_COORD))
    }

    /// The query coordinator, whichever is active when it is called.
    #[must_use]
    pub fn query(&self) -> Arc<dyn QueryCoord> {
        Arc::new(self.active(role::QUERY_COORD))
    }

    fn active(&self, role: &'static str) -> Client<Active> {
        Client(Active { role, shared: self.0.clone() })
    }
}

#[async_trait]
impl ShardDirectory for Peers {
    async fn leader(&self, shard: ShardId) -> Result<Arc<dyn Shard>> {
        match self.0.present_leader(shard) {
            Some(leader) => Ok(Arc::new(leader)),
            None => Ok(Arc::new(self.0.wait_for_leader(shard).await?)),
        }
    }

    async fn on_node(&self, node: NodeId) -> Result<Arc<dyn Shard>> {
        match self.0.node(role::STREAMING_NODE, node) {
            Some(client) => Ok(Arc::new(client)),
            None => Ok(Arc::new(self.0.look_for_node(role::STREAMING_NODE, node).await?)),
        }
    }
}

#[async_trait]
impl SegmentsDirectory for Peers {
    async fn node(&self, node: NodeId) -> Result<Arc<dyn Segments>> {
        match self.0.node(role::QUERY_NODE, node) {
            Some(client) => Ok(Arc::new(client)),
            None => Ok(Arc::new(self.0.look_for_node(role::QUERY_NODE, node).await?)),
        }
    }
}

impl Shared {
    /// The way to a process that has a session.
    fn link(&self, find: impl FnOnce(&Sessions) -> Option<&Peer>) -> Option<Arc<Link>> {
        // The lock first: whoever goes away after this look is found among the links by `close_gone`.
        let mut links = self.links.lock();
        let sessions = self.parts.sessions.current();
        let process = key(find(&sessions)?);
        if let Some(link) = links.open.get(&process) {
            return Some(link.clone());
        }
        let link = Arc::new(self.way_to(&process));
        links.open.insert(process, link.clone());
        Some(link)
    }

    fn way_to(&self, (node, address): &(NodeId, String)) -> Link {
        let (network, tasks) = (self.parts.network.clone(), self.parts.tasks.clone());
        Link::new(*node, address, self.settings.clone(), network, tasks)
    }

    async fn follow(&self, stopping: &Stopping) {
        let mut watch = self.parts.sessions.watch();
        let mut before = self.parts.sessions.current();
        self.connect_ahead(&before);
        while let Some(Ok(())) = stopping.race(watch.changed()).await {
            let now = watch.borrow_and_update().clone();
            self.close_gone(&before);
            self.connect_ahead(&now);
            before = now;
        }
    }

    fn connect_ahead(&self, sessions: &Sessions) {
        if !self.parts.ahead {
            return;
        }
        for role in role::COORDINATORS {
            for (node, _) in sessions.nodes(role) {
                if let Some(link) = self.link(|sessions| sessions.node(role, node)) {
                    link.warm();
                }
            }
        }
    }

    /// Closes the links to processes whose sessions are gone.
    fn close_gone(&self, before: &Sessions) {
        let mut links = self.links.lock();
        let now = self.parts.sessions.current();
        let present: HashSet<_> = now.all().map(key).collect();
        let alive: HashSet<_> = now.all().map(|peer| peer.info.node()).collect();
        links.gone.extend(before.all().map(|peer| peer.info.node()));
        links.gone.retain(|node| !alive.contains(node));
        links.open.retain(|process, link| {
            let keep = present.contains(process);
            if !keep {
                info!(node = %process.0, address = process.1, "session gone, connections closed");
                link.close();
            }
            keep
        });
    }
}

/// A process, and where it listens.
fn key(peer: &Peer) -> (NodeId, String) {
    (peer.info.node(), peer.info.address.clone())
}
