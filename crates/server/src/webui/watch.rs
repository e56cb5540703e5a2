//! How does a hundred watchers cost what one costs? Everything is looked up at most once a second.
//!
//! Records and sessions are at hand. The query coordinator and the metastore are asked, and have little time to answer:
//! what they said last is shown on, with its age.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::future::try_join_all;
use redkite_catalog::Metadata;
use redkite_cluster::Kv;
use redkite_cluster::election::{self, ElectionRecord};
use redkite_rpc::role;
use redkite_runtime::Clock;
use redkite_service::{BalanceAnswer, BalanceCommand, BalanceStatus};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::picture::{Answers, Picture, Seen};
use crate::surroundings::{Outlook, Surroundings};

/// For how long what was looked up is good enough.
const FRESH: Duration = Duration::from_secs(1);
/// How long the query coordinator and the metastore may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at the cluster for whoever asks.
pub(super) struct Watch {
    outlook: Outlook,
    clock: Arc<dyn Clock>,
    last: Mutex<Last>,
}

/// What was looked up last.
#[derive(Default)]
struct Last {
    shown: Option<(Instant, Bytes)>,
    balance: Answered<BalanceStatus>,
    elections: Answered<Elections>,
}

type Elections = BTreeMap<&'static str, Vec<ElectionRecord>>;

/// The last answer of somebody, and what has gone wrong since.
struct Answered<T> {
    answer: Option<T>,
    /// When it came, in milliseconds since the Unix epoch.
    at: Option<u64>,
    problem: Option<String>,
}

impl<T> Default for Answered<T> {
    fn default() -> Self {
        Self { answer: None, at: None, problem: None }
    }
}

impl<T> Answered<T> {
    fn note(&mut self, said: Result<T, String>, now: u64) {
        match said {
            Ok(answer) => *self = Self { answer: Some(answer), at: Some(now), problem: None },
            Err(problem) => self.problem = Some(problem),
        }
    }

    fn told(&self) -> Answers {
        Answers { at: self.at, problem: self.problem.clone() }
    }
}

impl Watch {
    pub(super) fn new(outlook: Outlook, clock: Arc<dyn Clock>) -> Self {
        Self { outlook, clock, last: Mutex::default() }
    }

    /// The cluster as JSON. Whoever asks while somebody looks waits for what that one sees.
    ///
    /// # Errors
    /// What this process waits for.
    pub(super) async fn look(&self) -> Result<Bytes, String> {
        let around = self.outlook.look().await?;
        let mut last = self.last.lock().await;
        if let Some((at, shown)) = &last.shown
            && at.elapsed() < FRESH
        {
            return Ok(shown.clone());
        }
        let (balance, elections) = tokio::join!(in_time(balance(around)), in_time(elections(&*around.kv)));
        let now = self.clock.now_millis();
        last.balance.note(balance, now);
        last.elections.note(elections, now);
        let shown = Bytes::from(draw(around, &last, now));
        last.shown = Some((Instant::now(), shown.clone()));
        Ok(shown)
    }
}

fn draw(around: &Surroundings, last: &Last, now: u64) -> Vec<u8> {
    // Copied, not summed up, while updates wait.
    let records = around.view.read(|all| Metadata {
        databases: all.databases.clone(),
        collections: all.collections.clone(),
        assignments: all.assignments.clone(),
        shards: all.shards.clone(),
        held: all.held.clone(),
        moves: all.moves.clone(),
        moved: all.moved.clone(),
        drains: all.drains.clone(),
        ..Metadata::default()
    });
    let nothing = Elections::new();
    let seen = Seen {
        now,
        node: around.node,
        records: &records,
        sessions: &around.sessions.current(),
        balance: last.balance.answer.as_ref(),
        elections: last.elections.answer.as_ref().unwrap_or(&nothing),
        coordinator: last.balance.told(),
        metastore: last.elections.told(),
    };
    serde_json::to_vec(&Picture::of(&seen)).expect("numbers, text and lists have a JSON form")
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

async fn balance(around: &Surroundings) -> Result<BalanceStatus, String> {
    // Nobody would only be waited for.
    if around.sessions.current().active(role::QUERY_COORD).is_none() {
        return Err("nobody is active".to_owned());
    }
    match around.query.balance(BalanceCommand::Status).await {
        Ok(BalanceAnswer::Status(status)) => Ok(*status),
        Ok(_) => Err("unexpected answer".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn elections(kv: &dyn Kv) -> Result<Elections, String> {
    let asked =
        role::COORDINATORS.map(|role| async move { Ok((role, election::elections(kv, role).await?)) });
    let answers: Result<Vec<_>, redkite_cluster::KvError> = try_join_all(asked).await;
    answers.map(|answers| answers.into_iter().collect()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use futures::future::{join_all, pending};
    use redkite_cluster::SessionInfo;
    use redkite_runtime::ManualClock;

    use super::*;
    use crate::surroundings::testing::{Coordinator, session, status, surroundings};

    /// Takes so many milliseconds to answer, or for ever.
    struct Scene {
        watch: Watch,
        clock: Arc<ManualClock>,
        asked: Arc<AtomicUsize>,
        takes: Arc<AtomicU64>,
        _directory: tempfile::TempDir,
    }

    const FOR_EVER: u64 = u64::MAX;

    async fn scene(sessions: &[SessionInfo]) -> Scene {
        let (asked, takes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(10)));
        let (count, pause) = (asked.clone(), takes.clone());
        let coordinator = Coordinator(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let pause = pause.load(Ordering::SeqCst);
            Box::pin(async move {
                if pause == FOR_EVER {
                    return pending().await;
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
                Ok(BalanceAnswer::Status(Box::new(status(Vec::new()))))
            }) as _
        });
        let (around, directory) = surroundings(sessions, Arc::new(coordinator)).await;
        let active = SessionInfo { server_id: 5, ..SessionInfo::default() };
        around.kv.put("session/querycoord".to_owned(), active.to_value()).await.unwrap();
        around.sessions.watch().wait_for(|now| now.active("querycoord").is_some()).await.unwrap();
        let outlook = Outlook::new(Arc::new(|| Box::pin(async { Vec::new() })));
        outlook.found(around);
        let clock = Arc::new(ManualClock::new(1_000));
        let watch = Watch::new(outlook, clock.clone());
        tokio::time::pause();
        Scene { watch, clock, asked, takes, _directory: directory }
    }

    async fn shown(watch: &Watch) -> serde_json::Value {
        serde_json::from_slice(&watch.look().await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_hundred_watchers_cost_one_call_a_second() {
        let scene = scene(&[session("querynode", 4)]).await;
        let all = join_all((0..100).map(|_| scene.watch.look())).await;
        assert!(all.iter().all(|one| one == &all[0] && one.is_ok()));
        assert_eq!(scene.asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(FRESH).await;
        join_all((0..100).map(|_| scene.watch.look())).await;
        assert_eq!(scene.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_silent_coordinator_is_told_with_the_age_of_its_last_answer() {
        let scene = scene(&[session("querynode", 4)]).await;
        assert_eq!(
            shown(&scene.watch).await["coordinator"],
            serde_json::json!({ "at": 1_000, "problem": null })
        );
        scene.takes.store(FOR_EVER, Ordering::SeqCst);
        scene.clock.set(9_000);
        tokio::time::advance(FRESH).await;
        let later = shown(&scene.watch).await;
        let silent = serde_json::json!({ "at": 1_000, "problem": "no answer within 1s" });
        assert_eq!((&later["coordinator"], &later["now"]), (&silent, &9_000.into()));
        assert_eq!(later["metastore"]["at"], 9_000);
        assert_eq!(later["balance"]["automatic"], true, "what it said last is shown on");
        assert_eq!(later["nodes"][0]["node"], "4");
    }

    #[tokio::test]
    async fn nobody_is_not_waited_for() {
        let scene = scene(&[]).await;
        let around = scene.watch.outlook.look().await.unwrap();
        around.kv.delete("session/querycoord".to_owned()).await.unwrap();
        around.sessions.watch().wait_for(|now| now.active("querycoord").is_none()).await.unwrap();
        let coordinator = &shown(&scene.watch).await["coordinator"];
        assert_eq!(coordinator, &serde_json::json!({ "at": null, "problem": "nobody is active" }));
        assert_eq!(scene.asked.load(Ordering::SeqCst), 0);
    }
}
