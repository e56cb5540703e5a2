//! Who is there? A watched copy of all sessions: nodes by role, and the active coordinators.
//!
//! `session/<role>-<id>` is a process that is alive, `session/<role>` the active one among the
//! candidates of a role. What is under neither, or does not parse, is ignored with a warning: Milvus's
//! tools write there, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use redkite_runtime::Tasks;
use redkite_types::{NodeId, Revision};
use tokio::sync::watch;
use tracing::warn;

use crate::kv::{Event, KeyValue, Kv, KvError, LeaseId};
use crate::session::SessionInfo;
use crate::view::{Progress, Target, follow};

const PREFIX: &str = "session/";

/// A process that is alive, as far as the metastore knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// What it tells about itself.
    pub info: SessionInfo,
    /// The lease its key stands under.
    pub lease: Option<LeaseId>,
    /// The revision that created the key: another one is another registration.
    pub revision: Revision,
}

/// All sessions at one revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sessions {
    nodes: BTreeMap<String, BTreeMap<NodeId, Peer>>,
    active: BTreeMap<String, Peer>,
}

impl Sessions {
    /// The processes of a role, by id.
    pub fn nodes(&self, role: &str) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.nodes.get(role).into_iter().flatten().map(|(id, peer)| (*id, peer))
    }

    /// One process of a role.
    #[must_use]
    pub fn node(&self, role: &str, id: NodeId) -> Option<&Peer> {
        self.nodes.get(role)?.get(&id)
    }

    /// The active one of a role.
    #[must_use]
    pub fn active(&self, role: &str) -> Option<&Peer> {
        self.active.get(role)
    }

    /// Every process of every role, and the active ones once more.
    pub fn all(&self) -> impl Iterator<Item = &Peer> {
        self.nodes.values().flat_map(BTreeMap::values).chain(self.active.values())
    }

    fn put(&mut self, entry: &KeyValue) {
        let Some(place) = Place::of(&entry.key) else { return };
        let info = match SessionInfo::from_value(&entry.key, &entry.value) {
            Ok(info) => info,
            Err(error) => {
                warn!(key = entry.key, %error, "session ignored");
                return self.delete(&entry.key);
            }
        };
        let peer = Peer { info, lease: entry.lease, revision: entry.create_revision };
        match place {
            Place::Node(role, id) => drop(self.nodes.entry(role.to_owned()).or_default().insert(id, peer)),
            Place::Active(role) => drop(self.active.insert(role.to_owned(), peer)),
        }
    }

    fn delete(&mut self, key: &str) {
        match Place::of(key) {
            Some(Place::Node(role, id)) => drop(self.nodes.get_mut(role).and_then(|nodes| nodes.remove(&id))),
            Some(Place::Active(role)) => drop(self.active.remove(role)),
            None => {}
        }
    }
}

/// From what is stored.
impl FromIterator<KeyValue> for Sessions {
    fn from_iter<I: IntoIterator<Item = KeyValue>>(entries: I) -> Self {
        let mut sessions = Self::default();
        entries.into_iter().for_each(|entry| sessions.put(&entry));
        sessions
    }
}

/// What a key stands for.
enum Place<'a> {
    Node(&'a str, NodeId),
    Active(&'a str),
}

impl<'a> Place<'a> {
    fn of(key: &'a str) -> Option<Self> {
        let name = key.strip_prefix(PREFIX)?;
        match name.rsplit_once('-') {
            Some((role, id)) => match id.parse() {
                Ok(id) => Some(Self::Node(role, NodeId(id))),
                Err(_) => {
                    warn!(key, "session ignored: no number at the end of its key");
                    None
                }
            },
            None => Some(Self::Active(name)),
        }
    }
}

/// A watched copy of all sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SessionsView {
    shown: watch::Receiver<Arc<Sessions>>,
    progress: Progress,
}

#[derive(Debug)]
struct Copy(watch::Sender<Arc<Sessions>>);

impl SessionsView {
    /// Reads all sessions, then follows changes until `tasks` stop.
    ///
    /// # Errors
    /// If the first reading fails.
    pub async fn start(kv: Arc<dyn Kv>, tasks: &Tasks) -> Result<Self, KvError> {
        let (copy, shown) = watch::channel(Arc::default());
        let progress = follow(kv, PREFIX, Arc::new(Copy(copy)), tasks).await?;
        Ok(Self { shown, progress })
    }

    /// The sessions now.
    #[must_use]
    pub fn current(&self) -> Arc<Sessions> {
        self.shown.borrow().clone()
    }

    /// The sessions, and how they change. What it shows now counts as seen.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Sessions>> {
        let mut shown = self.shown.clone();
        shown.mark_unchanged();
        shown
    }

    /// Waits until the view shows at least `revision`.
    pub async fn wait_for(&self, revision: Revision) {
        self.progress.wait_for(revision).await;
    }
}

impl Target for Copy {
    fn reset(&self, entries: Vec<KeyValue>) {
        self.0.send_replace(Arc::new(entries.into_iter().collect()));
    }

    fn apply(&self, events: Vec<Event>) {
        let mut sessions = Sessions::clone(&self.0.borrow());
        for event in events {
            match event {
                Event::Put(entry) => sessions.put(&entry),
                Event::Delete { key } => sessions.delete(&key),
            }
        }
        self.0.send_replace(Arc::new(sessions));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Candidate;
    use crate::session::{Session, SessionSettings};
    use crate::unreliable::Unreliable;

    fn info(role: &str, id: i64) -> SessionInfo {
        let address = format!("127.0.0.1:{id}");
        SessionInfo { server_id: id, server_name: role.to_owned(), address, ..SessionInfo::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_come_change_and_go() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        let settings = SessionSettings::default();
        let first = Session::start(kv.clone(), info("querynode", 7), &settings, &tasks).await.unwrap();
        let view = SessionsView::start(kv.clone(), &tasks).await.unwrap();
        let mut watch = view.watch();
        let seen = view.current();
        let peer = seen.node("querynode", NodeId(7)).unwrap();
        assert_eq!((&peer.info, peer.lease), (&first.info(), *first.lease().borrow()));

        let _second = Session::start(kv.clone(), info("querynode", 9), &settings, &tasks).await.unwrap();
        watch.wait_for(|sessions| sessions.nodes("querynode").count() == 2).await.unwrap();
        first.update(|info| info.stopping = true).await.unwrap();
        let stopping = |sessions: &Arc<Sessions>| {
            let peer = sessions.node("querynode", NodeId(7)).unwrap();
            peer.info.stopping && peer.revision == seen.node("querynode", NodeId(7)).unwrap().revision
        };
        watch.wait_for(stopping).await.unwrap();
        first.end().await.unwrap();
        watch.wait_for(|sessions| sessions.node("querynode", NodeId(7)).is_none()).await.unwrap();
        assert_eq!(view.current().nodes("streamingnode").count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_active_one_is_known_and_strange_keys_are_not() {
        let (kv, _directory) = Unreliable::start().await;
        let tasks = Tasks::new("test");
        for key in ["session/id", "session/querynode-x", "session/querynode-5"] {
            kv.put(key.to_owned(), Bytes::from("17")).await.unwrap();
        }
        let view = SessionsView::start(kv.clone(), &tasks).await.unwrap();
        assert_eq!(view.current().all().count(), 0);

        let settings = SessionSettings::default();
        let clock = Arc::new(redkite_runtime::SystemClock);
        let candidate =
            Candidate::start(kv.clone(), info("rootcoord", 3), &settings, clock, &tasks).await.unwrap();
        let mut watch = view.watch();
        watch.wait_for(|sessions| sessions.node("rootcoord", NodeId(3)).is_some()).await.unwrap();
        assert!(view.current().active("rootcoord").is_none());
        let leadership = candidate.campaign().await.unwrap();
        view.wait_for(leadership.revision()).await;
        let active = view.current().active("rootcoord").cloned().unwrap();
        assert_eq!((active.info.node(), active.revision), (NodeId(3), leadership.revision()));
        leadership.resign().await.unwrap();
        watch.wait_for(|sessions| sessions.active("rootcoord").is_none()).await.unwrap();
        assert_eq!(view.current().all().count(), 1);
    }
}
