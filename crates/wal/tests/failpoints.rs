//! What does a log do when writing fails at each step?
//!
//! Failpoints are global: each test holds a scenario, which serialises them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fail::FailScenario;
use futures::future::{join_all, try_join_all};
use redkite_types::{CollectionId, Epoch, Lsn, ShardId};
use redkite_wal::{Append, LocalLogs, Log, LogProvider, Record, WalError, WalSettings};
use tempfile::TempDir;

const SHARD: ShardId = ShardId { collection: CollectionId(1), ordinal: 0 };

struct Place {
    directory: TempDir,
    rotate_bytes: u64,
    _scenario: FailScenario<'static>,
}

impl Place {
    fn new(rotate_bytes: u64) -> Self {
        let scenario = FailScenario::setup();
        Self { directory: tempfile::tempdir().unwrap(), rotate_bytes, _scenario: scenario }
    }

    async fn open(&self) -> Arc<dyn Log> {
        let settings = WalSettings { rotate_bytes: self.rotate_bytes, ..WalSettings::default() };
        let logs = LocalLogs::open(self.directory.path(), settings).await.unwrap();
        logs.open(SHARD, Epoch(1)).await.unwrap()
    }
}

fn begin(log: &dyn Log, payload: &str) -> Append {
    log.append(vec![Record::from(payload.to_owned())]).unwrap()
}

async fn texts(log: &dyn Log) -> Vec<String> {
    let entries = log.read(log.first_lsn()).collect().await.unwrap();
    entries.into_iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_writes_are_cut_off_and_the_log_goes_on() {
    for point in ["wal::before-write", "wal::after-write"] {
        let place = Place::new(64 << 20);
        let log = place.open().await;
        begin(&*log, "one").await.unwrap();
        fail::cfg(point, "return(enospc)").unwrap();
        let appends: Vec<_> = (0..10).map(|n| begin(&*log, &format!("lost {n}"))).collect();
        for end in join_all(appends).await {
            let error = end.unwrap_err();
            assert!(matches!(error, WalError::Io { action: "write", .. }), "{error}");
            assert!(!error.maybe_applied(), "{error}");
        }
        assert_eq!(texts(&*log).await, ["one"], "reading goes on");
        fail::remove(point);
        assert_eq!(begin(&*log, "two").await.unwrap(), Lsn(2), "lost positions are taken anew");
        drop(log);
        assert_eq!(texts(&*place.open().await).await, ["one", "two"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_poisons_the_log_until_it_is_opened_anew() {
    let place = Place::new(64 << 20);
    let log = place.open().await;
    begin(&*log, "one").await.unwrap();
    fail::cfg("wal::after-sync", "1*return").unwrap();
    let error = begin(&*log, "maybe").await.unwrap_err();
    assert!(error.maybe_applied() && error.to_string().contains("failpoint wal::after-sync"), "{error}");
    let error = log.append(vec![Record::from("late")]).unwrap_err();
    assert!(
        matches!(&error, WalError::Poisoned { cause, .. } if cause.contains("failpoint wal::after-sync")),
        "{error}"
    );
    let error = log.truncate(Lsn(1)).await.unwrap_err();
    assert!(matches!(error, WalError::Poisoned { .. }), "{error}");
    assert_eq!(texts(&*log).await, ["one"], "reading goes on");
    log.close().await.unwrap();
    drop(log);

    let log = place.open().await;
    assert_eq!(texts(&*log).await, ["one", "maybe"], "here the sync had worked");
    assert_eq!(begin(&*log, "three").await.unwrap(), Lsn(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_writing_poisons_the_log() {
    let place = Place::new(64 << 20);
    let log = place.open().await;
    begin(&*log, "one").await.unwrap();
    fail::cfg("wal::after-write", "1*panic").unwrap();
    let error = begin(&*log, "maybe").await.unwrap_err();
    assert!(error.maybe_applied(), "{error}");
    assert!(matches!(log.append(vec![Record::from("late")]), Err(WalError::Poisoned { .. })));
    drop(log);
    let log = place.open().await;
    assert_eq!(texts(&*log).await, ["one", "maybe"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_a_new_file_is_an_error_and_the_log_goes_on() {
    let place = Place::new(100);
    let log = place.open().await;
    begin(&*log, "one, which fills the file").await.unwrap();
    fail::cfg("wal::before-rotate", "return(enospc)").unwrap();
    let error = begin(&*log, "lost").await.unwrap_err();
    assert!(matches!(error, WalError::Io { action: "create", .. }) && !error.maybe_applied(), "{error}");
    fail::remove("wal::before-rotate");
    assert_eq!(begin(&*log, "two, which needs the next").await.unwrap(), Lsn(2));
    drop(log);
    assert_eq!(texts(&*place.open().await).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_truncation_leaves_a_log_without_gaps() {
    let place = Place::new(100);
    let log = place.open().await;
    for n in 0..10 {
        begin(&*log, &format!("record {n}, which fills a file")).await.unwrap();
    }
    fail::cfg("wal::before-truncate", "3*off->return(no)").unwrap();
    let error = log.truncate(Lsn(8)).await.unwrap_err();
    assert!(matches!(error, WalError::Io { action: "remove", .. }), "{error}");
    assert_eq!(log.first_lsn(), Lsn(4));
    fail::remove("wal::before-truncate");
    begin(&*log, "the log goes on").await.unwrap();
    drop(log);
    let log = place.open().await;
    assert_eq!((log.first_lsn(), texts(&*log).await.len()), (Lsn(4), 8));
    log.truncate(Lsn(8)).await.unwrap();
    assert_eq!(log.first_lsn(), Lsn(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_appends_share_syncs() {
    let place = Place::new(64 << 20);
    let log = place.open().await;
    let writes = Arc::new(AtomicUsize::new(0));
    let counter = writes.clone();
    fail::cfg_callback("wal::before-write", move || {
        counter.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
    let appends: Vec<_> = (0..1000).map(|n| begin(&*log, &n.to_string())).collect();
    try_join_all(appends).await.unwrap();
    let writes = writes.load(Ordering::SeqCst);
    assert!(writes < 500, "1000 appends in {writes} writes");
}
