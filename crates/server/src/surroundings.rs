//! What does this process know of all the others? For those who look at the cluster or steer it through any of its
//! processes: a watched copy of records and sessions, and the way to the active query coordinator.

use std::sync::{Arc, OnceLock};

use redkite_catalog::MetadataView;
use redkite_cluster::Kv;
use redkite_cluster::sessions::{Peer, Sessions, SessionsView};
use redkite_service::QueryCoord;
use redkite_types::NodeId;

use crate::http::HealthCheck;

/// The session of a process that has every role.
pub(crate) const STANDALONE: &str = "standalone";

/// What is around a process.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// This process.
    pub(crate) node: NodeId,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) view: MetadataView,
    pub(crate) sessions: SessionsView,
    /// Whichever is active.
    pub(crate) query: Arc<dyn QueryCoord>,
}

/// What is around this process, once it has found it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outlook {
    found: Arc<OnceLock<Surroundings>>,
    health: HealthCheck,
}

impl Outlook {
    /// Nothing is known yet; until then health says why.
    pub(crate) fn new(health: HealthCheck) -> Self {
        Self { found: Arc::default(), health }
    }

    /// From now on it is known.
    pub(crate) fn found(&self, surroundings: Surroundings) {
        // A process starts once.
        let _ = self.found.set(surroundings);
    }

    /// What is around.
    ///
    /// # Errors
    /// What the process waits for.
    pub(crate) async fn look(&self) -> Result<&Surroundings, String> {
        match self.found.get() {
            Some(surroundings) => Ok(surroundings),
            None => {
                let mut problems: Vec<String> =
                    (self.health)().await.into_iter().flat_map(|role| role.problems).collect();
                problems.dedup();
                Err(match problems.is_empty() {
                    true => "starting".to_owned(),
                    false => problems.join("; "),
                })
            }
        }
    }
}

/// The processes that have a role, by id; one that has every role is among them.
pub(crate) fn nodes_of<'a>(
    sessions: &'a Sessions,
    role: &'a str,
) -> impl Iterator<Item = (NodeId, &'a Peer)> {
    sessions.nodes(role).chain(sessions.nodes(STANDALONE))
}

#[cfg(test)]
pub(crate) mod testing;
