//! Watches: order, completeness, progress, compaction.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use redkite_types::Revision;

use super::{Harness, batches_until, get, next_events, put, texts};
use crate::kv::{Event, Kv, KvError, Txn};

pub(super) async fn check(store: &dyn Kv) {
    one_batch_per_revision(store).await;
    replays_the_past(store).await;
    waits_for_the_future(store).await;
    reports_progress(store).await;
    copy_equals_original(store).await;
}

fn after(revision: Revision) -> Revision {
    Revision(revision.0 + 1)
}

async fn one_batch_per_revision(store: &dyn Kv) {
    let start = put(store, "watch/old", "0").await;
    let mut watch = store.watch("watch/", after(start)).await.expect("watch starts");
    let txn = Txn::new().put("watch/a", "1").put("elsewhere", "x").put("watch/b", "2").delete("watch/old");
    let first = store.txn(txn).await.expect("txn succeeds").revision;
    let second = put(store, "watch/a", "3").await;
    let third = store.delete("watch/a".to_owned()).await.expect("delete succeeds");

    let batch = next_events(&mut watch).await;
    assert_eq!(batch.revision, first);
    assert_eq!(texts(&batch.events), ["watch/a=1", "watch/b=2", "watch/old deleted"]);
    let batch = next_events(&mut watch).await;
    assert_eq!(batch.revision, second);
    let Event::Put(entry) = &batch.events[0] else { panic!("a put, not {batch:?}") };
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (first, second, 2));
    let batch = next_events(&mut watch).await;
    assert_eq!((batch.revision, texts(&batch.events)), (third, vec!["watch/a deleted".to_owned()]));
}

async fn replays_the_past(store: &dyn Kv) {
    let first = put(store, "replay/a", "1").await;
    let second = put(store, "replay/a", "2").await;
    put(store, "replay", "not under the prefix").await;
    for (from, wanted) in [(first, vec![first, second]), (after(first), vec![second])] {
        let mut watch = store.watch("replay/", from).await.expect("watch starts");
        let batches = batches_until(&mut watch, second).await;
        assert_eq!(batches.iter().map(|batch| batch.revision).collect::<Vec<_>>(), wanted);
    }
}

async fn waits_for_the_future(store: &dyn Kv) {
    let now = put(store, "future/a", "1").await;
    let mut watch = store.watch("future/", Revision(now.0 + 3)).await.expect("watch starts");
    put(store, "future/a", "2").await;
    put(store, "future/a", "3").await;
    let wanted = put(store, "future/a", "4").await;
    assert_eq!(next_events(&mut watch).await.revision, wanted, "earlier revisions were not asked for");
}

async fn reports_progress(store: &dyn Kv) {
    let start = put(store, "progress/a", "1").await;
    let mut watch = store.watch("progress/", after(start)).await.expect("watch starts");
    let other = put(store, "not-watched", "1").await;
    assert_eq!(batches_until(&mut watch, other).await, []);
    let last = put(store, "progress/a", "2").await;
    assert_eq!(next_events(&mut watch).await.revision, last);
}

/// A list and a watch from the next revision reconstruct the store, whatever writers do meanwhile.
async fn copy_equals_original(store: &dyn Kv) {
    for n in 0..20 {
        put(store, &format!("copy/{n}"), "start").await;
    }
    let listed = store.range("copy/").await.expect("range succeeds");
    let mut copy: BTreeMap<_, _> =
        listed.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    let mut watch = store.watch("copy/", after(listed.revision)).await.expect("watch starts");
    let writers = (0..6).map(|writer| async move {
        for round in 0..30 {
            let key = format!("copy/{}", (writer * 7 + round * 3) % 25);
            let txn = match (writer + round) % 4 {
                0 => Txn::new().delete(key).put(format!("copy/only-{writer}"), Bytes::new()),
                1 => Txn::new().delete_prefix("copy/1"),
                _ => Txn::new().put(key, format!("{writer}/{round}")),
            };
            store.txn(txn).await.expect("txn succeeds");
        }
    });
    join_all(writers).await;
    let end = put(store, "copy/end", "end").await;
    let mut last = listed.revision;
    for batch in batches_until(&mut watch, end).await {
        assert!(batch.revision > last, "revisions arrive once and in order");
        last = batch.revision;
        for event in batch.events {
            match event {
                Event::Put(entry) => drop(copy.insert(entry.key.clone(), entry)),
                Event::Delete { key } => {
                    assert!(copy.remove(&key).is_some(), "{key} was deleted but never there");
                }
            }
        }
    }
    let original = store.range("copy/").await.expect("range succeeds");
    assert_eq!(copy.into_values().collect::<Vec<_>>(), original.entries);
}

pub(super) async fn check_compaction(harness: &dyn Harness, store: &dyn Kv) {
    let first = put(store, "compact/a", "1").await;
    let second = put(store, "compact/a", "2").await;
    let third = put(store, "compact/a", "3").await;
    harness.compact(store, second).await;
    for from in [first, second] {
        let oldest = refused(store, from).await;
        assert!(oldest > second && oldest <= third, "the oldest is kept: {oldest}");
    }
    let mut watch = store.watch("compact/", third).await.expect("what is kept can be watched");
    assert_eq!(next_events(&mut watch).await.revision, third);
    assert_eq!(get(store, "compact/a").await.expect("compaction drops no entry").version, 3);

    // A deletion leaves nothing behind that a later watch could be told: it must not be passed over.
    put(store, "compact/gone", "1").await;
    let deleted = store.delete("compact/gone".to_owned()).await.expect("delete succeeds");
    harness.compact(store, deleted).await;
    refused(store, deleted).await;
    let mut watch = store.watch("compact/", after(deleted)).await.expect("what is to come can be watched");
    let next = put(store, "compact/a", "4").await;
    assert_eq!(next_events(&mut watch).await.revision, next);
}

/// Watching from there asks for history that is gone; returns what is said to be left.
async fn refused(store: &dyn Kv, from: Revision) -> Revision {
    let refusal = match store.watch("compact/", from).await {
        Err(error) => error,
        Ok(mut watch) => watch.next().await.expect_err("the history is gone"),
    };
    let KvError::Compacted { requested, oldest } = refusal else { panic!("compacted, not {refusal}") };
    assert_eq!(requested, from);
    oldest
}
