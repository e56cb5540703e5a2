//! One node is watched: connected, called, and buried when it is dead.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redkite_cluster::KvError;
use redkite_cluster::election::{Reason, Witness, bury};
use redkite_cluster::session::session_key;
use redkite_cluster::sessions::{Peer, Sessions};
use redkite_runtime::{Backoff, Stopping};
use redkite_service::{Error, Result};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Kennel, Registration};
use crate::call::{Caller, Client, Method, Reply, Request};
use crate::connection::Connection;
use crate::methods::Node;
use crate::{RpcSettings, role};

/// For so long an address that was connected must refuse connections.
const REFUSING: Duration = Duration::from_millis(200);
/// The same for a coordinator: another one waits to take over, and a mistake costs only an election.
const REFUSING_COORDINATOR: Duration = Duration::from_millis(30);
/// The same for one that never was: perhaps it does not listen yet.
const REFUSING_FROM_THE_START: Duration = Duration::from_secs(1);
/// Pause between tries that are refused.
const PAUSE: Duration = Duration::from_millis(40);
const PAUSE_COORDINATOR: Duration = Duration::from_millis(10);
/// Pauses between tries that fail in other ways grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Watches over one registration.
pub(super) struct Guard {
    kennel: Arc<Kennel>,
    registration: Registration,
    address: String,
    same_host: bool,
}

/// How it went to look after a node.
enum Seen {
    /// It is stopping, and ends its session itself.
    Leaving,
    /// There is nobody at the address, or somebody else.
    Dead {
        reason: Reason,
        /// The first sign.
        since: Instant,
    },
}

impl Guard {
    pub(super) fn new(kennel: Arc<Kennel>, registration: Registration, peer: &Peer) -> Self {
        let info = &peer.info;
        let same_host = !info.host_name.is_empty() && info.host_name == kennel.onlooker.host;
        Self { kennel, registration, address: info.address.clone(), same_host }
    }

    fn is_coordinator(&self) -> bool {
        role::COORDINATORS.contains(&self.registration.role)
    }

    fn pause(&self) -> Duration {
        if self.is_coordinator() { PAUSE_COORDINATOR } else { PAUSE }
    }

    /// Watches until the registration is gone.
    pub(super) async fn stand(self, mut sessions: watch::Receiver<Arc<Sessions>>, stopping: Stopping) {
        tokio::select! {
            biased;
            () = stopping.wait() => {}
            () = self.gone(&mut sessions) => {}
            () = self.watch() => {}
        }
    }

    async fn gone(&self, sessions: &mut watch::Receiver<Arc<Sessions>>) {
        let Registration { role, node, revision } = self.registration;
        let gone = |now: &Arc<Sessions>| now.node(role, node).is_none_or(|peer| peer.revision != revision);
        // An error means that nothing is followed any more.
        let _ = sessions.wait_for(gone).await;
    }

    async fn watch(&self) {
        let Registration { role, node, .. } = self.registration;
        match self.look_after().await {
            Seen::Leaving => debug!(role, %node, "node is stopping"),
            Seen::Dead { reason, since } => {
                let why = match reason {
                    Reason::Restarted => "another process has its address",
                    _ => "its address refuses connections",
                };
                warn!(role, %node, address = self.address, why, "node is dead");
                self.bury(reason, since).await;
            }
        }
    }

    /// Stays connected until the node leaves or dies.
    async fn look_after(&self) -> Seen {
        let Kennel { settings, network, tasks, .. } = &*self.kennel;
        let mut connected_before = false;
        let mut refused_since: Option<Instant> = None;
        let mut since = Instant::now();
        let mut backoff = Backoff::new(self.pause(), LONGEST_PAUSE);
        let mut out_of_reach = None;
        loop {
            match Connection::make(&self.address, settings, network, tasks).await {
                Ok(connection) => {
                    out_of_reach = None;
                    let began = Instant::now();
                    match Client(Alone { connection, settings }).alive(self.registration.node).await {
                        Ok(()) => return Seen::Leaving,
                        Err(Error::NodeNotFound { .. }) => {
                            return Seen::Dead { reason: Reason::Restarted, since };
                        }
                        Err(error) => debug!(address = self.address, %error, "connection to a node lost"),
                    }
                    (connected_before, refused_since, since) = (true, None, Instant::now());
                    if began.elapsed() > LONGEST_PAUSE {
                        backoff.reset();
                        continue;
                    }
                    backoff.wait().await;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    match self.patience(connected_before) {
                        Some(patience) if since.elapsed() >= patience => {
                            return Seen::Dead { reason: Reason::Died, since };
                        }
                        Some(_) => tokio::time::sleep(self.pause()).await,
                        None => backoff.wait().await,
                    }
                }
                Err(error) => {
                    out_of_reach
                        .get_or_insert_with(|| OutOfReach::note(&self.registration, &self.address, &error));
                    refused_since = None;
                    backoff.wait().await;
                }
            }
        }
    }

    /// How long the address has to refuse connections before its process counts as dead; `None`: for ever.
    fn patience(&self, connected_before: bool) -> Option<Duration> {
        let came_back = || self.kennel.buried.lock().contains(&self.registration.node);
        match connected_before {
            true if self.is_coordinator() => Some(REFUSING_COORDINATOR),
            true => Some(REFUSING),
            false if came_back() => None,
            // Whoever registers listens before, and no network lies between.
            false if self.same_host => Some(REFUSING),
            false => Some(REFUSING_FROM_THE_START),
        }
    }

    /// Ends the reign and the lease of the registration.
    async fn bury(&self, reason: Reason, since: Instant) {
        let Registration { role, node, .. } = self.registration;
        self.kennel.buried.lock().insert(node);
        metrics::counter!("redkite_deaths_detected_total", "role" => role).increment(1);
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        if self.is_coordinator() {
            let by = format!("node {}", self.kennel.onlooker.node);
            let witness = Witness { reason, by, noticed: since.elapsed() };
            while let Err(error) = self.depose(&witness).await {
                warn!(role, %node, %error, "a dead coordinator not buried yet");
                backoff.wait().await;
            }
        }
        while let Err(error) = self.revoke().await {
            warn!(role, %node, %error, "lease of a dead node not revoked yet");
            backoff.wait().await;
        }
    }

    /// Ends its reign at once; the revocation would, too, but nobody would know why.
    async fn depose(&self, witness: &Witness) -> std::result::Result<(), KvError> {
        let Registration { role, node, revision } = self.registration;
        let sessions = self.kennel.sessions.current();
        match sessions.node(role, node).filter(|peer| peer.revision == revision) {
            Some(dead) => bury(&*self.kennel.kv, &sessions, dead, witness).await,
            None => Ok(()),
        }
    }

    async fn revoke(&self) -> std::result::Result<(), KvError> {
        let Registration { role, node, revision } = self.registration;
        let entry = self.kennel.kv.get(&session_key(role, node)).await?;
        // Another registration is another life.
        let Some(lease) =
            entry.filter(|entry| entry.create_revision == revision).and_then(|entry| entry.lease)
        else {
            return Ok(());
        };
        match self.kennel.kv.revoke_lease(lease).await {
            Ok(()) => info!(role, %node, %lease, "lease of a dead node revoked"),
            Err(KvError::LeaseNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Counts a node as long as it can neither be reached nor be told from one that lives.
struct OutOfReach {
    role: &'static str,
}

impl OutOfReach {
    fn note(Registration { role, node, .. }: &Registration, address: &str, error: &io::Error) -> Self {
        warn!(role, %node, address, %error, "node cannot be reached, though its session lives");
        metrics::gauge!("redkite_nodes_out_of_reach", "role" => *role).increment(1.0);
        Self { role }
    }
}

impl Drop for OutOfReach {
    fn drop(&mut self) {
        metrics::gauge!("redkite_nodes_out_of_reach", "role" => self.role).decrement(1.0);
    }
}

/// Calls over one connection.
struct Alone<'a> {
    connection: Connection,
    settings: &'a RpcSettings,
}

impl Caller for Alone<'_> {
    async fn call<Q: Request, A: Reply>(&self, method: &'static Method, request: Q) -> Result<A> {
        let answer = self.connection.call(method, &Arc::new(request), None, self.settings).await;
        answer.unwrap_or_else(|failure| Err(failure.told(method, "node")))
    }
}
