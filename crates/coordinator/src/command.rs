//! How is a command carried out exactly once, though its answer may get lost?
//!
//! Commands take turns. Each is planned against the view and committed together with its request id;
//! a repetition finds the id and is answered like the first time. A conflict with another writer
//! plans again. Old ids are deleted a few at a time by the commands that follow.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::Metadata;
use redkite_cluster::kv::{Compare, KeyValue, Kv};
use redkite_runtime::Backoff;
use redkite_service::{DdlAck, Error, RequestId, Result};
use redkite_types::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::environment::{Commit, Environment, IdPool};
use crate::step::Step;
use crate::writer::WriteError;

/// How long a repeated command is recognised. Proxies give up far earlier.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Old ids deleted along with one command: more than one, so that the number left shrinks.
const FORGOTTEN_AT_ONCE: usize = 4;
/// Plans of one command before it is given up; conflicts come from background loops, so few suffice.
const ATTEMPTS: usize = 32;

/// A command that was carried out, under `request/<room>/<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RequestRecord {
    timestamp: Timestamp,
}

/// What a command is planned with.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The records.
    pub metadata: &'a Metadata,
    /// Fresh ids, as many as were asked for.
    pub ids: &'a mut IdPool,
    /// When.
    pub now: Timestamp,
}

impl Draft<'_> {
    /// A fresh id.
    pub(crate) fn id(&mut self) -> Result<i64> {
        self.ids.take().ok_or_else(|| Error::internal("too few ids reserved for a command"))
    }
}

/// The commands of one coordinator.
#[derive(Debug)]
pub(crate) struct Commands {
    room: &'static str,
    environment: Environment,
    /// Taken for the length of one command; holds the ids that will be forgotten, oldest first.
    remembered: Arc<Mutex<VecDeque<(Timestamp, String)>>>,
}

impl Commands {
    /// Ready at once. The ids of earlier commands are recalled meanwhile: they are only needed to be
    /// forgotten one day.
    pub(crate) fn start(room: &'static str, environment: Environment) -> Self {
        let remembered = Arc::new(Mutex::new(VecDeque::new()));
        let (kv, known) = (environment.kv.clone(), remembered.clone());
        environment.tasks.spawn("recall", move |stopping| async move {
            stopping.race(recall(room, &*kv, &known)).await;
        });
        Self { room, environment, remembered }
    }

    /// Carries out one command, which needs at most `ids` fresh ids. An empty plan is a success, too.
    pub(crate) async fn execute(
        &self,
        id: RequestId,
        ids: u32,
        plan: impl Fn(&mut Draft<'_>) -> Result<Step> + Send,
    ) -> Result<DdlAck> {
        let mut remembered = self.remembered.lock().await;
        let key = format!("request/{}/{:032x}", self.room, id.0);
        if let Some(ack) = self.answered(&key).await? {
            return Ok(ack);
        }
        let pool = IdPool::new(self.reserve(ids).await?, ids);
        let mut current = false;
        for _ in 0..ATTEMPTS {
            let now = self.environment.clock.tick();
            let planned = self
                .environment
                .view
                .read(|metadata| plan(&mut Draft { metadata, ids: &mut pool.clone(), now }));
            // The view may lag: "not there" and "nothing to do" count only when it certainly does not.
            if !current && planned.as_ref().map_or(true, Step::is_empty) {
                self.environment.catch_up().await?;
                current = true;
                continue;
            }
            let step = self.with_bookkeeping(planned?, &key, now, &remembered);
            let (what, forgotten) = (step.what, expired(&remembered, now));
            if let Commit::Applied(revision) = self.environment.commit(step.txn).await? {
                remembered.drain(..forgotten);
                remembered.push_back((now, key));
                info!(command = what, revision = revision.0, "command carried out");
                return Ok(DdlAck { revision, timestamp: now });
            }
        }
        Err(Error::Unavailable { reason: "too many concurrent changes of the same records".to_owned() })
    }

    async fn answered(&self, key: &str) -> Result<Option<DdlAck>> {
        let entry = self.environment.kv.get(key).await.map_err(WriteError::Kv)?;
        Ok(entry.and_then(|entry| {
            Some(DdlAck { revision: entry.mod_revision, timestamp: parse(&entry)?.timestamp })
        }))
    }

    async fn reserve(&self, ids: u32) -> Result<i64> {
        if ids == 0 {
            return Ok(0);
        }
        Ok(self.environment.ids.reserve(ids).await.map_err(WriteError::Kv)?)
    }

    fn with_bookkeeping(
        &self,
        mut step: Step,
        key: &str,
        now: Timestamp,
        remembered: &VecDeque<(Timestamp, String)>,
    ) -> Step {
        let record = serde_json::to_vec(&RequestRecord { timestamp: now }).expect("a number is JSON");
        step.txn = step.txn.when(Compare::absent(key)).put(key, record);
        for (_, old) in remembered.iter().take(expired(remembered, now)) {
            step.txn = step.txn.delete(old.as_str());
        }
        step
    }
}

/// Adds the ids of earlier commands to those known by now.
async fn recall(room: &str, kv: &dyn Kv, known: &Mutex<VecDeque<(Timestamp, String)>>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let entries = loop {
        match kv.range(&format!("request/{room}/")).await {
            Ok(range) => break range.entries,
            Err(error) => warn!(room, %error, "ids of earlier commands not recalled yet"),
        }
        backoff.wait().await;
    };
    let mut known = known.lock().await;
    let mut all: BTreeSet<_> = known.drain(..).collect();
    all.extend(entries.into_iter().filter_map(|entry| Some((parse(&entry)?.timestamp, entry.key))));
    known.extend(all);
}

fn expired(remembered: &VecDeque<(Timestamp, String)>, now: Timestamp) -> usize {
    let horizon = now.physical().saturating_sub(millis(REMEMBERED));
    let old = remembered.iter().take(FORGOTTEN_AT_ONCE);
    old.take_while(|(timestamp, _)| timestamp.physical() < horizon).count()
}

fn parse(entry: &KeyValue) -> Option<RequestRecord> {
    serde_json::from_slice(&entry.value).ok()
}

/// A duration in the unit of [`Timestamp::physical`].
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
