//! What survives a restart of the store.

use std::sync::Arc;
use std::time::Duration;

use super::{Harness, get, put};
use crate::kv::{Kv, KvError, Txn};

pub(super) async fn check(harness: &dyn Harness, store: Arc<dyn Kv>) {
    let first = put(&*store, "restart/a", "1").await;
    let last = put(&*store, "restart/a", "2").await;
    put(&*store, "restart/gone", "x").await;
    let deleted = store.delete("restart/gone".to_owned()).await.expect("delete succeeds");
    let lease = store.grant_lease(Duration::from_secs(3600)).await.expect("lease granted");
    let txn = Txn::new().put_leased("restart/leased", "x", lease);
    let leased = store.txn(txn).await.expect("put succeeds").revision;

    let store = harness.reopen(store).await;
    let entry = get(&*store, "restart/a").await.expect("acknowledged writes survive");
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (first, last, 2));
    assert_eq!(&*entry.value, b"2");
    assert_eq!(get(&*store, "restart/gone").await, None, "deleted at {deleted}");

    match store.keep_alive(lease).await {
        Ok(_) => assert!(get(&*store, "restart/leased").await.is_some(), "the lease lives, so do its keys"),
        Err(KvError::LeaseNotFound { .. }) => {
            assert_eq!(get(&*store, "restart/leased").await, None, "the lease ended, so did its keys");
        }
        Err(error) => panic!("alive or not found, not {error}"),
    }
    let listed = store.range("").await.expect("range succeeds").revision;
    assert!(listed >= leased, "the revision does not fall back");
    let next = put(&*store, "restart/a", "3").await;
    assert!(next > listed, "revisions rise across restarts");
    match store.watch("restart/", first).await {
        Err(KvError::Compacted { .. }) => {}
        Err(error) => panic!("history or compacted, not {error}"),
        Ok(mut watch) => {
            let begin = watch.next().await;
            match begin {
                Ok(batch) => assert_eq!(batch.revision, first, "no gap after a restart"),
                Err(KvError::Compacted { .. }) => {}
                Err(error) => panic!("history or compacted, not {error}"),
            }
        }
    }
}
