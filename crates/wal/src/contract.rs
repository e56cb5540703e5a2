//! Does an implementation keep the laws of [`Log`] and [`LogProvider`]?
//!
//! A test builds a [`Harness`] over an implementation and calls [`assert_log_contract`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use redkite_types::{CollectionId, Epoch, Lsn, ShardId};

use crate::{Entry, Log, LogProvider, Record, WalError};

/// Logs under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A provider over the harness's data: called again, it plays a restart. Earlier ones are dropped first.
    async fn provider(&self) -> Arc<dyn LogProvider>;
}

/// Runs every check, each on a shard of its own.
///
/// # Panics
/// If a law is broken.
pub async fn assert_log_contract(harness: &dyn Harness) {
    appends_are_dense_and_read_back(harness, shard(1)).await;
    order_is_that_of_the_calls(harness, shard(2)).await;
    truncation_keeps_positions(harness, shard(3)).await;
    later_epochs_fence(harness, shard(4)).await;
    closed_and_removed(harness, shard(5)).await;
    refusals(harness, shard(6)).await;
    shards_are_apart(harness, shard(7), shard(8)).await;
}

fn shard(collection: i64) -> ShardId {
    ShardId { collection: CollectionId(collection), ordinal: 0 }
}

async fn open(harness: &dyn Harness, shard: ShardId, epoch: u64) -> Arc<dyn Log> {
    harness.provider().await.open(shard, Epoch(epoch)).await.expect("log opens")
}

async fn append(log: &dyn Log, payload: &str) -> Lsn {
    let record = Record::from(payload.to_owned());
    log.append(vec![record]).expect("append begins").await.expect("append succeeds")
}

async fn texts(log: &dyn Log, from: Lsn) -> Vec<(u64, String)> {
    let entries = log.read(from).collect().await.expect("log reads");
    let text = |entry: Entry| (entry.lsn.0, String::from_utf8_lossy(&entry.payload).into_owned());
    entries.into_iter().map(text).collect()
}

fn pair(lsn: u64, text: &str) -> (u64, String) {
    (lsn, text.to_owned())
}

async fn appends_are_dense_and_read_back(harness: &dyn Harness, shard: ShardId) {
    let log = open(harness, shard, 1).await;
    assert_eq!((log.shard(), log.epoch()), (shard, Epoch(1)));
    assert_eq!((log.first_lsn(), log.last_lsn()), (Lsn(1), Lsn(0)));
    assert_eq!(texts(&*log, Lsn(1)).await, []);
    assert_eq!(append(&*log, "one").await, Lsn(1));
    let scattered = Record::new(vec![Bytes::from("t"), Bytes::new(), Bytes::from("wo")]);
    let batch = log.append(vec![scattered, Record::from("three")]).expect("append begins");
    assert_eq!((batch.first, batch.last), (Lsn(2), Lsn(3)));
    assert_eq!(batch.await.expect("append succeeds"), Lsn(3));
    assert_eq!(log.last_lsn(), Lsn(3));
    let wanted = [pair(1, "one"), pair(2, "two"), pair(3, "three")];
    assert_eq!(texts(&*log, Lsn(0)).await, wanted);
    assert_eq!(texts(&*log, Lsn(3)).await, wanted[2..]);
    assert_eq!(texts(&*log, Lsn(4)).await, []);
    drop(log);

    let log = open(harness, shard, 1).await;
    assert_eq!(log.last_lsn(), Lsn(3));
    assert_eq!(texts(&*log, Lsn(1)).await, wanted);
    assert_eq!(append(&*log, "four").await, Lsn(4));
    assert_eq!(texts(&*log, Lsn(4)).await, [pair(4, "four")]);
    let large = Bytes::from(vec![b'l'; 5 << 20]);
    log.append(vec![large.clone().into()]).expect("append begins").await.expect("append succeeds");
    drop(log);

    let log = open(harness, shard, 2).await;
    let entries = log.read(Lsn(4)).collect().await.expect("log reads");
    assert_eq!(entries.len(), 2);
    assert!(entries[1].payload == large, "a large record comes back whole");
}

async fn order_is_that_of_the_calls(harness: &dyn Harness, shard: ShardId) {
    let log = open(harness, shard, 1).await;
    let appends: Vec<_> =
        (0..500u64).map(|n| log.append(vec![Record::from(n.to_string())]).expect("append begins")).collect();
    for (position, append) in (1..).zip(&appends) {
        assert_eq!((append.first, append.last), (Lsn(position), Lsn(position)));
    }
    // Awaited in the other order: the calls have decided.
    for end in join_all(appends.into_iter().rev()).await {
        end.expect("append succeeds");
    }
    drop(log.append(vec![Record::from("500")]).expect("append begins"));
    append(&*log, "501").await;
    let read = texts(&*log, Lsn(1)).await;
    assert_eq!(read, (0..502u64).map(|n| (n + 1, n.to_string())).collect::<Vec<_>>());
}

async fn truncation_keeps_positions(harness: &dyn Harness, shard: ShardId) {
    let log = open(harness, shard, 1).await;
    for n in 1..=20 {
        append(&*log, &n.to_string()).await;
    }
    log.truncate(Lsn(10)).await.expect("log truncates");
    assert!(log.first_lsn() <= Lsn(11), "no more than asked for is forgotten");
    assert_eq!(texts(&*log, Lsn(11)).await.len(), 10);
    log.truncate(Lsn(20)).await.expect("log truncates");
    log.truncate(Lsn(5)).await.expect("truncating less is no change");
    log.truncate(Lsn(1_000)).await.expect("truncating beyond the end truncates all");
    assert_eq!(log.last_lsn(), Lsn(20));
    if log.first_lsn() > Lsn(1) {
        let error = log.read(Lsn(1)).next().await.expect_err("the record is gone");
        assert!(matches!(error, WalError::Truncated { requested: Lsn(1), .. }), "{error}");
    }
    assert_eq!(append(&*log, "21").await, Lsn(21));
    drop(log);

    let log = open(harness, shard, 1).await;
    assert_eq!(texts(&*log, Lsn(21)).await, [pair(21, "21")]);
    log.truncate(Lsn(21)).await.expect("log truncates");
    drop(log);
    let log = open(harness, shard, 1).await;
    assert_eq!(log.last_lsn(), Lsn(21), "an emptied log knows its position");
    assert_eq!(append(&*log, "22").await, Lsn(22));
}

async fn later_epochs_fence(harness: &dyn Harness, shard: ShardId) {
    let provider = harness.provider().await;
    let open = |epoch| provider.open(shard, Epoch(epoch));
    let old = open(3).await.expect("log opens");
    append(&*old, "old").await;
    let new = open(5).await.expect("log opens");
    let refused = match old.append(vec![Record::from("late")]) {
        Ok(append) => append.await.map(drop),
        Err(error) => Err(error),
    };
    assert!(refused.as_ref().is_err_and(WalError::is_fenced), "{refused:?}");
    let error = open(4).await.expect_err("a lower epoch is refused");
    assert!(matches!(error, WalError::Fenced { epoch: Epoch(4), current: Epoch(5), .. }), "{error}");
    append(&*new, "new").await;
    drop((old, new, provider));

    let provider = harness.provider().await;
    let error = provider.open(shard, Epoch(4)).await.expect_err("also after a restart");
    assert!(matches!(error, WalError::Fenced { current: Epoch(5), .. }), "{error}");
    let log = provider.open(shard, Epoch(5)).await.expect("log opens");
    assert_eq!(texts(&*log, Lsn(1)).await, [pair(1, "old"), pair(2, "new")]);
}

async fn closed_and_removed(harness: &dyn Harness, shard: ShardId) {
    let provider = harness.provider().await;
    let log = provider.open(shard, Epoch(1)).await.expect("log opens");
    let under_way = log.append(vec![Record::from("under way")]).expect("append begins");
    log.close().await.expect("log closes");
    assert_eq!(under_way.await.expect("append succeeds"), Lsn(1));
    let refused = log.append(vec![Record::from("late")]);
    assert!(matches!(refused, Err(WalError::Closed { .. })), "{refused:?}");

    let log = provider.open(shard, Epoch(1)).await.expect("log opens");
    assert_eq!(texts(&*log, Lsn(1)).await, [pair(1, "under way")]);
    assert!(provider.list().await.expect("logs are listed").contains(&shard));
    provider.remove(shard).await.expect("log is removed");
    provider.remove(shard).await.expect("removing twice is no error");
    assert!(!provider.list().await.expect("logs are listed").contains(&shard));
    let refused = log.append(vec![Record::from("late")]);
    assert!(matches!(refused, Err(WalError::Closed { .. })), "{refused:?}");
    let log = provider.open(shard, Epoch(1)).await.expect("log opens");
    assert_eq!(log.last_lsn(), Lsn(0), "a removed log begins anew");
}

async fn refusals(harness: &dyn Harness, shard: ShardId) {
    let log = open(harness, shard, 1).await;
    for records in [vec![], vec![Record::default()], vec![Record::from("x"), Record::from("")]] {
        let refused = log.append(records);
        assert!(matches!(refused, Err(WalError::Empty)), "{refused:?}");
    }
    assert_eq!(append(&*log, "first").await, Lsn(1), "a refused append takes no position");
}

async fn shards_are_apart(harness: &dyn Harness, one: ShardId, other: ShardId) {
    let provider = harness.provider().await;
    let first = provider.open(one, Epoch(1)).await.expect("log opens");
    let second = provider.open(other, Epoch(9)).await.expect("log opens");
    for n in 0..5 {
        append(&*first, &format!("first {n}")).await;
        append(&*second, &format!("second {n}")).await;
    }
    second.truncate(Lsn(5)).await.expect("log truncates");
    let listed = provider.list().await.expect("logs are listed");
    assert!(listed.is_sorted() && listed.contains(&one) && listed.contains(&other));
    provider.remove(other).await.expect("log is removed");
    assert_eq!(texts(&*first, Lsn(5)).await, [pair(5, "first 4")]);
    provider.remove(one).await.expect("log is removed");
}
