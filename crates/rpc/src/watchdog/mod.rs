//! How is the death of a process noticed before its lease ends?
//!
//! A coordinator keeps one call open to every node it cares for. When that breaks and the address
//! then refuses connections, the process is dead: its lease is revoked, and all that stood under it
//! vanishes for everybody at once. Who hangs or cannot be reached does not refuse: that is left to its
//! lease. A node that lives after all registers again, and is from then on only believed dead after it
//! has been reached once.

mod guard;

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use redkite_cluster::Kv;
use redkite_cluster::sessions::{Peer, Sessions, SessionsView};
use redkite_runtime::{Stopping, Tasks};
use redkite_types::{NodeId, Revision};

use self::guard::Guard;
use crate::{Network, RpcSettings};

/// Who looks, for the record.
#[derive(Clone, Debug)]
pub struct Onlooker {
    /// The process.
    pub node: NodeId,
    /// Its machine: connections to other processes of it are refused at once, or not at all.
    pub host: String,
}

/// Watches over the nodes of some roles.
#[derive(Debug)]
pub struct Watchdog;

impl Watchdog {
    /// Watches over every node of `roles` that has a session, until `tasks` stop.
    pub fn start(
        sessions: SessionsView,
        roles: &'static [&'static str],
        kv: Arc<dyn Kv>,
        settings: RpcSettings,
        network: Network,
        onlooker: Onlooker,
        tasks: &Tasks,
    ) {
        let kennel = Kennel {
            kv,
            settings,
            network,
            onlooker,
            sessions: sessions.clone(),
            tasks: tasks.clone(),
            buried: Mutex::default(),
        };
        let kennel = Arc::new(kennel);
        tasks.spawn("watchdog", move |stopping| async move {
            kennel.follow(sessions, roles, &stopping).await;
        });
    }
}

/// What all guards share.
struct Kennel {
    kv: Arc<dyn Kv>,
    settings: RpcSettings,
    network: Network,
    onlooker: Onlooker,
    sessions: SessionsView,
    tasks: Tasks,
    /// Processes that were taken for dead. Ids are not used again: who comes back was alive.
    buried: Mutex<HashSet<NodeId>>,
}

impl Kennel {
    /// Sets a guard over every registration that appears.
    async fn follow(self: Arc<Self>, sessions: SessionsView, roles: &[&'static str], stopping: &Stopping) {
        let mut watch = sessions.watch();
        let mut guarded = HashSet::new();
        loop {
            let now = watch.borrow_and_update().clone();
            let mut present = registrations(&now, roles);
            present.retain(|(registration, _)| registration.node != self.onlooker.node);
            guarded.retain(|registration| present.iter().any(|(present, _)| present == registration));
            for (registration, peer) in present {
                if guarded.insert(registration) {
                    let guard = Guard::new(self.clone(), registration, peer);
                    let sessions = sessions.watch();
                    self.tasks.spawn("watchdog-guard", |stopping| guard.stand(sessions, stopping));
                }
            }
            if !matches!(stopping.race(watch.changed()).await, Some(Ok(()))) {
                return;
            }
        }
    }
}

/// One registration of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Registration {
    role: &'static str,
    node: NodeId,
    revision: Revision,
}

fn registrations<'a>(sessions: &'a Sessions, roles: &[&'static str]) -> Vec<(Registration, &'a Peer)> {
    let of_role = |role: &'static str| {
        let nodes = sessions.nodes(role);
        nodes.map(move |(node, peer)| (Registration { role, node, revision: peer.revision }, peer))
    };
    roles.iter().flat_map(|role| of_role(role)).collect()
}
