//! Leases: end by revocation, end by silence, life by keep-alive.

use std::time::Duration;

use redkite_types::Revision;
use tokio::time::{Instant, sleep};

use super::{get, keys, next_events, put, texts};
use crate::kv::{Kv, KvError, LeaseId, Txn};

pub(super) async fn check(store: &dyn Kv, ttl: Duration) {
    revocation_deletes_at_once(store, ttl).await;
    last_put_decides_the_lease(store, ttl).await;
    silence_ends_a_lease(store, ttl).await;
    keep_alive_keeps_it(store, ttl).await;
    unknown_leases_are_refused(store).await;
}

async fn put_leased(store: &dyn Kv, key: &str, lease: LeaseId) -> Revision {
    store.txn(Txn::new().put_leased(key, "leased", lease)).await.expect("put succeeds").revision
}

async fn revocation_deletes_at_once(store: &dyn Kv, ttl: Duration) {
    let lease = store.grant_lease(ttl).await.expect("lease granted");
    let other = store.grant_lease(ttl).await.expect("lease granted");
    assert_ne!(lease, other);
    put_leased(store, "lease/other", other).await;
    put_leased(store, "lease/a", lease).await;
    let last = put_leased(store, "lease/b", lease).await;
    assert_eq!(get(store, "lease/a").await.expect("the key exists").lease, Some(lease));
    let mut watch = store.watch("lease/", Revision(last.0 + 1)).await.expect("watch starts");
    store.revoke_lease(lease).await.expect("lease revoked");
    assert_eq!(keys(store, "lease/").await, ["lease/other"]);
    assert_eq!(texts(&next_events(&mut watch).await.events), ["lease/a deleted", "lease/b deleted"]);
    let refused = store.txn(Txn::new().put("lease/c", "x").put_leased("lease/d", "x", lease)).await;
    assert!(matches!(refused, Err(KvError::LeaseNotFound { .. })), "{refused:?}");
    assert_eq!(keys(store, "lease/").await, ["lease/other"], "a refused transaction changes nothing");
    assert!(matches!(store.keep_alive(lease).await, Err(KvError::LeaseNotFound { .. })));
    assert!(matches!(store.revoke_lease(lease).await, Err(KvError::LeaseNotFound { .. })));
    store.revoke_lease(other).await.expect("lease revoked");
}

async fn last_put_decides_the_lease(store: &dyn Kv, ttl: Duration) {
    let first = store.grant_lease(ttl).await.expect("lease granted");
    let second = store.grant_lease(ttl).await.expect("lease granted");
    for key in ["move/freed", "move/moved", "move/stays"] {
        put_leased(store, key, first).await;
    }
    put(store, "move/freed", "for good").await;
    put_leased(store, "move/moved", second).await;
    store.revoke_lease(first).await.expect("lease revoked");
    assert_eq!(keys(store, "move/").await, ["move/freed", "move/moved"]);
    assert_eq!(get(store, "move/freed").await.expect("the key exists").lease, None);
    store.revoke_lease(second).await.expect("lease revoked");
    assert_eq!(keys(store, "move/").await, ["move/freed"]);
}

async fn silence_ends_a_lease(store: &dyn Kv, ttl: Duration) {
    let granted = Instant::now();
    let lease = store.grant_lease(ttl).await.expect("lease granted");
    let last = put_leased(store, "silent/a", lease).await;
    let mut watch = store.watch("silent/", Revision(last.0 + 1)).await.expect("watch starts");
    let batch = next_events(&mut watch).await;
    assert_eq!(texts(&batch.events), ["silent/a deleted"]);
    assert!(granted.elapsed() >= ttl, "not before its time: {:?}", granted.elapsed());
    assert!(matches!(store.keep_alive(lease).await, Err(KvError::LeaseNotFound { .. })));
}

async fn keep_alive_keeps_it(store: &dyn Kv, ttl: Duration) {
    let lease = store.grant_lease(ttl).await.expect("lease granted");
    put_leased(store, "alive/a", lease).await;
    for _ in 0..8 {
        // Not a wait for an event: the passing of time is what is tested.
        sleep(ttl / 3).await;
        assert!(store.keep_alive(lease).await.expect("still alive") >= ttl);
    }
    assert!(get(store, "alive/a").await.is_some());
    store.revoke_lease(lease).await.expect("lease revoked");
    assert!(get(store, "alive/a").await.is_none());
}

async fn unknown_leases_are_refused(store: &dyn Kv) {
    let unknown = LeaseId(4_711);
    assert!(matches!(store.keep_alive(unknown).await, Err(KvError::LeaseNotFound { .. })));
    let refused = store.txn(Txn::new().put_leased("unknown", "x", unknown)).await;
    let error = refused.expect_err("no such lease");
    assert!(matches!(error, KvError::LeaseNotFound { lease } if lease == unknown), "{error}");
    assert!(!error.maybe_applied());
}
