//! Elections on a store that fails on demand, in paused time.

use redkite_runtime::ManualClock;
use tokio::time::{sleep, timeout};

use super::*;
use crate::SessionsView;
use crate::unreliable::{Trouble, Unreliable};

async fn candidate(kv: &Arc<Unreliable>, id: i64, tasks: &Tasks) -> Candidate {
    of_version(kv, id, "", tasks).await
}

async fn of_version(kv: &Arc<Unreliable>, id: i64, version: &str, tasks: &Tasks) -> Candidate {
    let info = SessionInfo {
        server_id: id,
        server_name: "rootcoord".to_owned(),
        address: format!("host:{id}"),
        version: version.to_owned(),
        exclusive: true,
        ..SessionInfo::default()
    };
    let clock = Arc::new(ManualClock::new(1000));
    Candidate::start(kv.clone(), info, &SessionSettings::default(), clock, tasks).await.unwrap()
}

async fn past(kv: &Unreliable) -> Vec<ElectionRecord> {
    elections(&**kv.inner(), "rootcoord").await.unwrap()
}

async fn active(kv: &Unreliable) -> Option<NodeId> {
    let entry = kv.inner().get("session/rootcoord").await.unwrap()?;
    Some(SessionInfo::from_value("session/rootcoord", &entry.value).unwrap().node())
}

fn write(value: &str) -> Txn {
    Txn::new().put("written", value.to_owned())
}

#[tokio::test(start_paused = true)]
async fn one_is_active_and_hands_over_when_it_resigns() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let (one, two) = (candidate(&kv, 1, &tasks).await, candidate(&kv, 2, &tasks).await);
    let first = one.campaign().await.unwrap();
    assert_eq!(active(&kv).await, Some(NodeId(1)));
    assert!(timeout(Duration::from_secs(60), two.campaign()).await.is_err(), "the role is taken");
    first.txn(write("one")).await.unwrap();

    let standby = two.clone();
    let (second, resigned) = tokio::join!(standby.campaign(), first.resign());
    let second = second.unwrap();
    resigned.unwrap();
    assert_eq!(active(&kv).await, Some(NodeId(2)));
    assert!(second.revision() > first.revision());
    first.lost().await;
    let error = first.txn(write("too late")).await.unwrap_err();
    assert!(matches!(error, LeadershipError::Fenced { .. }), "{error}");
    second.txn(write("two")).await.unwrap();
    first.resign().await.unwrap();
    assert_eq!(active(&kv).await, Some(NodeId(2)), "resigning twice takes nothing from another");
}

#[tokio::test(start_paused = true)]
async fn a_failed_compare_is_not_a_lost_role() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let leader = candidate(&kv, 1, &tasks).await.campaign().await.unwrap();
    leader.txn(write("once")).await.unwrap();
    let txn = write("twice").when(Compare::absent("written")).otherwise_get("written");
    let outcome = leader.txn(txn).await.unwrap();
    assert!(!outcome.committed);
    assert_eq!(outcome.reads.len(), 1, "the fence's own read is not shown");
    assert_eq!(&*outcome.into_read().unwrap().value, b"once");
}

/// The active one is cut off, as if paused; when it comes back, it can write nothing.
#[tokio::test(start_paused = true)]
async fn a_cut_off_leader_is_replaced_and_fenced() {
    let (kv, _directory) = Unreliable::start().await;
    let cut = Unreliable::over(kv.inner().clone());
    let tasks = Tasks::new("test");
    let one = candidate(&cut, 1, &tasks).await;
    let two = candidate(&kv, 2, &tasks).await;
    let first = one.campaign().await.unwrap();
    cut.set(Trouble::Hang);
    let began = Instant::now();
    let second = two.campaign().await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
    timeout(Duration::from_secs(1), first.lost()).await.expect("it knows by itself");
    second.txn(write("two")).await.unwrap();
    cut.set(Trouble::None);
    let error = first.txn(write("one")).await.unwrap_err();
    assert!(matches!(error, LeadershipError::Fenced { .. }), "{error}");
    assert_eq!(&*kv.get("written").await.unwrap().unwrap().value, b"two");

    second.resign().await.unwrap();
    let third = one.campaign().await.unwrap();
    third.txn(write("three")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_loses_the_role() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let one = candidate(&kv, 1, &tasks).await;
    let first = one.campaign().await.unwrap();
    kv.revoke_lease(one.session().current_lease().await.unwrap()).await.unwrap();
    first.lost().await;
    let again = one.campaign().await.unwrap();
    again.txn(write("again")).await.unwrap();
    assert!(first.txn(write("before")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_key_loses_the_role() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let leader = candidate(&kv, 1, &tasks).await.campaign().await.unwrap();
    kv.delete("session/rootcoord".to_owned()).await.unwrap();
    leader.lost().await;
    assert!(leader.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_does_not_hide_a_victory() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let one = candidate(&kv, 1, &tasks).await;
    kv.set(Trouble::LoseAnswers(1));
    let leader = one.campaign().await.unwrap();
    let key = kv.get("session/rootcoord").await.unwrap().unwrap();
    assert_eq!(key.create_revision, leader.revision());
    leader.txn(write("won")).await.unwrap();
}

/// Strictly before another may be active, by its own clock alone.
#[tokio::test(start_paused = true)]
async fn a_cut_off_leader_demotes_itself_before_another_can_begin() {
    let (kv, _directory) = Unreliable::start().await;
    let cut = Unreliable::over(kv.inner().clone());
    let tasks = Tasks::new("test");
    let (one, two) = (candidate(&cut, 1, &tasks).await, candidate(&kv, 2, &tasks).await);
    let first = one.campaign().await.unwrap();
    for pause in [0, 1500, 3333, 5000] {
        sleep(Duration::from_millis(pause)).await;
        assert!(!first.is_lost());
    }
    cut.set(Trouble::Hang);
    let lost = async {
        first.lost().await;
        Instant::now()
    };
    let taken = async {
        two.campaign().await.unwrap();
        Instant::now()
    };
    let (lost, taken) = tokio::join!(lost, taken);
    assert!(lost + Duration::from_millis(900) <= taken, "{:?} before", taken - lost);
    let began = Instant::now();
    assert!(first.txn(write("one")).await.is_err());
    assert_eq!(began, Instant::now(), "it does not even ask");
}

/// A process that was stopped and goes on: its timers have not run yet when it is called.
#[tokio::test(start_paused = true)]
async fn a_leader_that_was_paused_knows_before_it_speaks() {
    let (kv, _directory) = Unreliable::start().await;
    let (tasks, others) = (Tasks::new("test"), Tasks::new("others"));
    let leader = candidate(&kv, 1, &tasks).await.campaign().await.unwrap();
    tasks.stop(Duration::from_secs(1)).await;
    sleep(Duration::from_secs(8)).await;
    assert!(!leader.is_lost());
    sleep(Duration::from_secs(2)).await;
    assert!(leader.is_lost());
    let other = candidate(&kv, 2, &others).await.campaign().await.unwrap();
    assert!(leader.txn(write("paused")).await.is_err());
    other.txn(write("other")).await.unwrap();
}

/// The lease lives after all: what it demoted itself for was a slow metastore.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_ended_reign_is_no_new_one() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let one = candidate(&kv, 1, &tasks).await;
    let first = one.campaign().await.unwrap();
    kv.set(Trouble::Hang);
    first.lost().await;
    sleep(Duration::from_millis(500)).await;
    kv.set(Trouble::None);
    let second = one.campaign().await.unwrap();
    assert!(second.revision() > first.revision());
    assert_eq!((first.epoch(), second.epoch()), (1, 2));
    assert!(first.txn(write("first")).await.is_err());
    second.txn(write("second")).await.unwrap();
    assert_eq!(past(&kv).await[1].reason, Reason::LeaseEnded);
}

#[tokio::test(start_paused = true)]
async fn every_election_is_recorded_with_its_reason() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let (one, two) = (candidate(&kv, 1, &tasks).await, candidate(&kv, 2, &tasks).await);
    let sessions = SessionsView::start(kv.clone(), &tasks).await.unwrap();
    let first = one.campaign().await.unwrap();
    let (second, resigned) = tokio::join!(two.campaign(), first.resign());
    resigned.unwrap();
    let second = second.unwrap();
    let (third, asked) = tokio::join!(one.campaign(), second.hand_over("ctl", Some(NodeId(1))));
    asked.unwrap();
    let third = third.unwrap();

    sessions.wait_for(third.revision()).await;
    let now = sessions.current();
    let dead = now.node("rootcoord", NodeId(1)).unwrap();
    let witness =
        Witness { reason: Reason::Died, by: "node 2".to_owned(), noticed: Duration::from_millis(60) };
    let (fourth, buried) = tokio::join!(two.campaign(), bury(&*kv, &now, dead, &witness));
    buried.unwrap();
    let fourth = fourth.unwrap();
    assert!(fourth.since_vacant() >= Duration::from_millis(60));
    assert!(third.txn(write("buried")).await.is_err());
    kv.revoke_lease(two.session().current_lease().await.unwrap()).await.unwrap();
    let fifth = two.campaign().await.unwrap();
    assert_eq!(fifth.epoch(), 5);

    let told: Vec<_> = past(&kv).await.into_iter().map(|r| (r.epoch, r.server_id, r.reason, r.by)).collect();
    let told: Vec<_> = told.iter().map(|(e, n, r, by)| (*e, *n, r.as_str(), by.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, 1, "first_start", ""),
            (2, 2, "stopped", ""),
            (3, 1, "handed_over", "ctl"),
            (4, 2, "died", "node 2"),
            (5, 2, "lease_ended", ""),
        ]
    );
    let last = past(&kv).await.pop().unwrap();
    assert_eq!((last.previous, last.at, last.address.as_str()), (Some(2), 1000, "host:2"));
}

#[tokio::test(start_paused = true)]
async fn only_the_last_elections_are_kept() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let one = candidate(&kv, 1, &tasks).await;
    for epoch in 1..=KEPT + 5 {
        let leader = one.campaign().await.unwrap();
        assert_eq!(leader.epoch(), epoch);
        leader.resign().await.unwrap();
    }
    let epochs: Vec<_> = past(&kv).await.iter().map(|record| record.epoch).collect();
    assert_eq!(epochs, (6..=KEPT + 5).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_named_successor_comes_first_and_the_others_if_it_does_not_come() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let mut all = Vec::new();
    for id in 1..=4 {
        all.push(candidate(&kv, id, &tasks).await);
    }
    let first = all[0].campaign().await.unwrap();
    let began = Instant::now();
    let (second, third, fourth, resigned) = tokio::join!(
        timeout(Duration::from_millis(900), all[1].campaign()),
        all[2].campaign(),
        timeout(Duration::from_millis(900), all[3].campaign()),
        first.hand_over("test", Some(NodeId(3))),
    );
    resigned.unwrap();
    assert!(second.is_err() && fourth.is_err(), "they leave it the first move");
    let third = third.unwrap();
    assert_eq!(active(&kv).await, Some(NodeId(3)));
    assert!(began.elapsed() < Duration::from_secs(1));

    // Number 4 has a session, but does not stand.
    let began = Instant::now();
    let (second, resigned) = tokio::join!(all[1].campaign(), third.hand_over("test", Some(NodeId(4))));
    resigned.unwrap();
    let waited = began.elapsed();
    assert!(waited >= FIRST_MOVE && waited < 2 * FIRST_MOVE, "{waited:?}");

    // Nobody is waited for who has no session.
    let second = second.unwrap();
    let began = Instant::now();
    let (again, resigned) = tokio::join!(all[0].campaign(), second.hand_over("test", Some(NodeId(99))));
    resigned.unwrap();
    assert!(began.elapsed() < FIRST_MOVE);

    // Whoever hands over is not the next one itself, but comes back if nobody else does.
    let again = again.unwrap();
    again.hand_over("test", None).await.unwrap();
    let began = Instant::now();
    all[0].campaign().await.unwrap();
    assert!(began.elapsed() >= FIRST_MOVE);
}

#[tokio::test(start_paused = true)]
async fn an_older_version_than_was_active_does_not_become_active() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let old = of_version(&kv, 1, "0.9.4", &tasks).await;
    let (new, newer) =
        (of_version(&kv, 2, "0.10.0", &tasks).await, of_version(&kv, 3, "0.10.1", &tasks).await);
    old.campaign().await.unwrap().resign().await.unwrap();
    assert_eq!(*old.hindrance().borrow(), None);
    new.campaign().await.unwrap().resign().await.unwrap();
    assert!(timeout(Duration::from_secs(60), old.campaign()).await.is_err());
    let why = old.hindrance().borrow().clone().unwrap();
    assert!(why.contains("0.9.4") && why.contains("0.10"), "{why}");
    newer.campaign().await.unwrap().resign().await.unwrap();
    new.campaign().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn five_at_once_are_active_one_after_another() {
    let (kv, _directory) = Unreliable::start().await;
    let tasks = Tasks::new("test");
    let candidates = futures::future::join_all((1..=5).map(|id| candidate(&kv, id, &tasks))).await;
    let reigns = candidates.iter().map(|candidate| async {
        let leader = candidate.campaign().await.unwrap();
        leader.txn(write("mine")).await.unwrap();
        leader.resign().await.unwrap();
        leader.epoch()
    });
    let mut epochs = futures::future::join_all(reigns).await;
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3, 4, 5]);
}
