use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use super::*;
use crate::kv::contract::{Harness, assert_kv_contract};
use crate::kv::{Compare, Event};

struct Embedded {
    path: PathBuf,
    current: parking_lot::Mutex<Option<Arc<EmbeddedKv>>>,
}

async fn open(path: &Path) -> Result<Arc<EmbeddedKv>, KvError> {
    EmbeddedKv::open(path, &EmbeddedSettings::default(), &Tasks::new("test")).await
}

#[async_trait]
impl Harness for Embedded {
    async fn open(&self) -> Arc<dyn Kv> {
        let store = open(&self.path).await.unwrap();
        *self.current.lock() = Some(store.clone());
        store
    }

    async fn reopen(&self, store: Arc<dyn Kv>) -> Arc<dyn Kv> {
        let current = self.current.lock().take().unwrap();
        current.close().await;
        assert!(matches!(store.get("any").await, Err(KvError::Closed)));
        assert!(matches!(store.put("any".into(), Bytes::new()).await, Err(KvError::Closed)));
        self.open().await
    }

    async fn compact(&self, _: &dyn Kv, through: Revision) {
        self.current.lock().as_ref().unwrap().compact(through);
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta/metadata.redb");
    assert_kv_contract(&Embedded { path, current: parking_lot::Mutex::new(None) }).await;
}

#[tokio::test]
async fn second_opening_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    let store = open(&path).await.unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(&error, KvError::InUse { path: named } if *named == path), "{error}");
    store.close().await;
    open(&path).await.unwrap();
}

#[tokio::test]
async fn dropping_releases_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    let store = open(&path).await.unwrap();
    store.put("a".into(), Bytes::from("1")).await.unwrap();
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    watch.next().await.unwrap();
    let committing = store.committing.clone();
    drop(store);
    assert!(matches!(watch.next().await, Err(KvError::Closed)));
    committing.stop(Duration::from_secs(60)).await;
    let store = open(&path).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().value, Bytes::from("1"));
}

#[tokio::test]
async fn history_is_bounded_and_slow_watches_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    let settings = EmbeddedSettings { history_revisions: 10, ..EmbeddedSettings::default() };
    let store = EmbeddedKv::open(&path, &settings, &Tasks::new("test")).await.unwrap();
    let start = store.put("a".into(), Bytes::new()).await.unwrap();
    let mut slow = store.watch("a", start).await.unwrap();
    slow.next().await.unwrap();
    for _ in 0..50 {
        store.put("a".into(), Bytes::new()).await.unwrap();
    }
    let error = slow.next().await.unwrap_err();
    assert!(
        matches!(error, KvError::Compacted { requested, oldest }
            if requested.0 == start.0 + 1 && oldest.0 == start.0 + 41),
        "{error}"
    );
    assert!(matches!(slow.next().await, Err(KvError::Closed)), "nothing after an error");
}

#[tokio::test]
async fn damaged_files_are_refused_with_their_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    let store = open(&path).await.unwrap();
    for n in 0..200 {
        store.put(format!("key/{n}"), Bytes::from(vec![7; 1000])).await.unwrap();
    }
    store.close().await;
    let good = std::fs::read(&path).unwrap();

    type Damage = (&'static str, fn(&mut Vec<u8>));
    let damages: [Damage; 5] = [
        ("emptied", |bytes| bytes.clear()),
        ("not a database", |bytes| *bytes = b"something else entirely".to_vec()),
        ("cut in half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("overwritten head", |bytes| bytes[..64].fill(0)),
        ("overwritten values", |bytes| overwrite_values(bytes)),
    ];
    for (name, damage) in damages {
        let mut bytes = good.clone();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let error = open(&path).await.expect_err(name);
        assert!(matches!(error, KvError::Corrupt { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{name}: {error}");
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(open(&path).await.unwrap().range("key/").await.unwrap().entries.len(), 200);
}

/// Every page that holds one of the test's values: the newest copy is among them.
fn overwrite_values(bytes: &mut [u8]) {
    for page in bytes.chunks_mut(4096) {
        if let Some(at) = page.windows(100).position(|window| window == [7; 100]) {
            page[at + 50] ^= 1;
        }
    }
}

#[tokio::test]
async fn unfinished_creation_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    std::fs::write(directory.path().join("metadata.new"), b"half a database").unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn unwritable_place_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let path = file.join("metadata.redb");
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, KvError::Storage { maybe_applied: false, .. }), "{error:?}");
    assert!(error.to_string().contains("metadata.redb"));
}

#[tokio::test]
async fn later_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    open(&path).await.unwrap().close().await;
    database::tests::set_format(&path, 2);
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, KvError::Format { found: 2, supported: 1, .. }), "{error:?}");
}

/// Not a benchmark, but ten thousand transactions and a large range must be nothing special.
#[tokio::test]
async fn many_transactions_and_a_large_range() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("metadata.redb")).await.unwrap();
    let started = tokio::time::Instant::now();
    for group in 0..20 {
        join_all((0..500).map(|n| {
            let key = format!("segment/{group}/{n:04}");
            store.txn(Txn::new().when(Compare::absent(&*key)).put(key, vec![b'x'; 200]))
        }))
        .await
        .into_iter()
        .for_each(|outcome| assert!(outcome.unwrap().committed));
    }
    println!("10,000 transactions, 500 at a time: {:?}", started.elapsed());

    let started = tokio::time::Instant::now();
    for n in 0..800 {
        let txn = (0..128).fold(Txn::new(), |txn, m| txn.put(format!("wide/{n:04}/{m:03}"), "value"));
        store.txn(txn).await.unwrap();
    }
    println!("102,400 keys in 800 transactions: {:?}", started.elapsed());
    let started = tokio::time::Instant::now();
    assert_eq!(store.range("wide/").await.unwrap().entries.len(), 102_400);
    println!("range over 102,400 keys: {:?}", started.elapsed());
    let started = tokio::time::Instant::now();
    for n in 0..1000 {
        store.put("one".to_owned(), Bytes::from(n.to_string())).await.unwrap();
    }
    println!("1,000 puts one by one: {:?}", started.elapsed());
}

#[tokio::test]
async fn a_dropped_caller_does_not_stop_its_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("metadata.redb")).await.unwrap();
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    {
        let put = store.put("a".to_owned(), Bytes::from("1"));
        tokio::pin!(put);
        assert!(futures::poll!(&mut put).is_pending());
    }
    let batch = watch.next().await.unwrap();
    assert!(matches!(&batch.events[..], [Event::Put(entry)] if entry.key == "a"));
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    open(&path).await.unwrap().close().await;
    let full = Arc::new(AtomicBool::new(false));
    let (database, opening) = database::tests::open_on_failing_disk(&path, full.clone());
    let store =
        EmbeddedKv::start(&path, database, opening, &EmbeddedSettings::default(), &Tasks::new("test"));
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        let key = format!("key/{n:02}");
        store.put(key.clone(), Bytes::from(vec![b'x'; 5000])).await.unwrap();
        acknowledged.push(key);
    }
    let lease = store.grant_lease(Duration::from_secs(3600)).await.unwrap();
    store.txn(Txn::new().put_leased("leased", "x", lease)).await.unwrap();
    let last = store.range("").await.unwrap().revision;
    let mut watch = store.watch("", Revision(last.0 + 1)).await.unwrap();
    full.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = store.put("key/lost".to_owned(), Bytes::from(vec![b'x'; 500_000])).await.unwrap_err();
    assert!(matches!(&error, KvError::Storage { path: named, .. } if *named == path), "{error:?}");
    let lost_for_sure = !error.maybe_applied();
    let error = store.put("key/late".to_owned(), Bytes::new()).await.unwrap_err();
    assert!(matches!(error, KvError::ReadOnly { .. }), "{error:?}");
    assert!(futures::poll!(std::pin::pin!(watch.next())).is_pending(), "what failed is not watched");
    let error = store.revoke_lease(lease).await.unwrap_err();
    assert!(matches!(error, KvError::ReadOnly { .. }), "{error:?}");

    // Where there is room again, the store comes back by itself.
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    let next = loop {
        match store.put("key/new".to_owned(), Bytes::new()).await {
            Ok(revision) => break revision,
            Err(error) => assert!(matches!(error, KvError::ReadOnly { .. }), "{error:?}"),
        }
    };
    assert!(next > last);
    acknowledged.push("key/new".to_owned());
    assert_eq!(store.get("leased").await.unwrap(), None, "the lease had ended");
    let check = async |store: &EmbeddedKv| {
        let range = store.range("key/").await.unwrap();
        let mut found: Vec<_> = range.entries.into_iter().map(|entry| entry.key).collect();
        let lost = found.iter().any(|key| key == "key/lost");
        assert!(!(lost && lost_for_sure), "an error that says so means that nothing was applied");
        found.retain(|key| key != "key/lost");
        assert_eq!(found, acknowledged);
    };
    check(&store).await;
    match watch.next().await {
        Ok(batch) => assert!(batch.revision > last),
        Err(error) => assert!(matches!(error, KvError::Compacted { .. }), "{error}"),
    }
    store.close().await;
    check(&*open(&path).await.unwrap()).await;
}
