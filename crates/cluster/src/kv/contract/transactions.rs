//! Reads, writes, compares, limits.

use bytes::Bytes;
use futures::future::join_all;
use redkite_types::Revision;

use super::{get, keys, put};
use crate::kv::{Compare, Kv, KvError, MAX_TXN_BYTES, MAX_TXN_OPS, Txn};

pub(super) async fn check(store: &dyn Kv) {
    history_of_a_key(store).await;
    range_is_sorted_and_exact(store).await;
    compares(store).await;
    all_or_nothing(store).await;
    reads_when_not_committed(store).await;
    no_change_no_revision(store).await;
    limits(store).await;
    concurrent_increments(store).await;
}

async fn history_of_a_key(store: &dyn Kv) {
    assert_eq!(get(store, "key/a").await, None);
    let created = put(store, "key/a", "one").await;
    let changed = put(store, "key/a", "two").await;
    assert!(changed > created, "revisions rise");
    let entry = get(store, "key/a").await.expect("the key exists");
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (created, changed, 2));
    assert_eq!((&*entry.value, entry.lease), (&b"two"[..], None));

    let deleted = store.delete("key/a".to_owned()).await.expect("delete succeeds");
    assert!(deleted > changed);
    assert_eq!(get(store, "key/a").await, None);
    let again = put(store, "key/a", "three").await;
    let entry = get(store, "key/a").await.expect("the key exists again");
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (again, again, 1));
    put(store, "key/empty", "").await;
    assert_eq!(get(store, "key/empty").await.expect("an empty value is a value").value, Bytes::new());
}

async fn range_is_sorted_and_exact(store: &dyn Kv) {
    let wanted = ["range/", "range/1", "range/10", "range/2", "range/a/b", "range/ä", "range/\u{10ffff}"];
    for key in wanted.iter().rev() {
        put(store, key, key).await;
    }
    put(store, "range", "before").await;
    let last = put(store, "range0", "after").await;
    assert_eq!(keys(store, "range/").await, wanted);
    assert_eq!(keys(store, "range/1").await, ["range/1", "range/10"]);
    assert_eq!(keys(store, "range/none").await, Vec::<String>::new());
    assert!(store.range("range/none").await.expect("range succeeds").revision >= last);
    let all = keys(store, "").await;
    assert!(all.is_sorted() && all.contains(&"range0".to_owned()) && all.contains(&"key/a".to_owned()));
}

async fn compares(store: &dyn Kv) {
    let created = put(store, "compare/a", "one").await;
    let changed = put(store, "compare/a", "two").await;
    let hold = [
        Compare::exists("compare/a"),
        Compare::absent("compare/b"),
        Compare::create_revision("compare/a", created),
        Compare::create_revision("compare/b", Revision(0)),
        Compare::mod_revision("compare/a", changed),
        Compare::mod_revision("compare/b", Revision(0)),
        Compare::version("compare/a", 2),
        Compare::version("compare/b", 0),
        Compare::value("compare/a", "two"),
        Compare::unchanged("compare/b", None),
        Compare::unchanged("compare/a", get(store, "compare/a").await.as_ref()),
    ];
    let fail = [
        Compare::exists("compare/b"),
        Compare::absent("compare/a"),
        Compare::create_revision("compare/a", changed),
        Compare::mod_revision("compare/a", created),
        Compare::mod_revision("compare/b", created),
        Compare::version("compare/a", 1),
        Compare::value("compare/a", "one"),
        Compare::value("compare/b", ""),
        Compare::unchanged("compare/a", None),
    ];
    for compare in hold {
        let outcome = store.txn(Txn::new().when(compare.clone())).await.expect("txn succeeds");
        assert!(outcome.committed, "{compare:?} holds");
    }
    for compare in fail {
        let txn = Txn::new().when(Compare::exists("compare/a")).when(compare.clone());
        assert!(!store.txn(txn).await.expect("txn succeeds").committed, "{compare:?} does not hold");
    }
}

async fn all_or_nothing(store: &dyn Kv) {
    put(store, "atomic/old", "x").await;
    put(store, "atomic/tree/1", "x").await;
    put(store, "atomic/tree/2", "x").await;
    let change = Txn::new()
        .put("atomic/new", "y")
        .delete("atomic/old")
        .delete("atomic/never")
        .delete_prefix("atomic/tree/");
    let refused = change.clone().when(Compare::exists("atomic/never"));
    assert!(!store.txn(refused).await.expect("txn succeeds").committed);
    assert_eq!(keys(store, "atomic/").await, ["atomic/old", "atomic/tree/1", "atomic/tree/2"]);

    let outcome = store.txn(change).await.expect("txn succeeds");
    assert!(outcome.committed);
    assert_eq!(keys(store, "atomic/").await, ["atomic/new"]);
    let entry = get(store, "atomic/new").await.expect("the key exists");
    assert_eq!(entry.mod_revision, outcome.revision);
}

async fn reads_when_not_committed(store: &dyn Kv) {
    put(store, "reads/a", "1").await;
    put(store, "reads/b", "2").await;
    let txn = Txn::new()
        .when(Compare::absent("reads/a"))
        .put("reads/c", "3")
        .otherwise_get("reads/b")
        .otherwise_get("reads/none")
        .otherwise_range("reads/");
    let outcome = store.txn(txn).await.expect("txn succeeds");
    assert!(!outcome.committed);
    let found: Vec<Vec<&str>> = outcome
        .reads
        .iter()
        .map(|entries| entries.iter().map(|entry| entry.key.as_str()).collect())
        .collect();
    assert_eq!(found, [vec!["reads/b"], vec![], vec!["reads/a", "reads/b"]]);
}

async fn no_change_no_revision(store: &dyn Kv) {
    let before = put(store, "still/a", "1").await;
    let idle = [
        Txn::new(),
        Txn::new().when(Compare::exists("still/a")),
        Txn::new().delete("still/none"),
        Txn::new().delete_prefix("still/none"),
        Txn::new().when(Compare::absent("still/a")).put("still/b", "2"),
    ];
    for txn in idle {
        let outcome = store.txn(txn.clone()).await.expect("txn succeeds");
        assert_eq!(outcome.revision, before, "{txn:?} changes nothing");
    }
}

async fn limits(store: &dyn Kv) {
    let puts = |count: usize| (0..count).fold(Txn::new(), |txn, n| txn.put(format!("limit/{n:03}"), "x"));
    assert!(store.txn(puts(MAX_TXN_OPS)).await.expect("the most operations allowed").committed);
    let error = store.txn(puts(MAX_TXN_OPS + 1)).await.expect_err("one operation too many");
    assert!(matches!(error, KvError::TooManyOps { .. }), "{error}");
    let many = (0..=MAX_TXN_OPS).fold(Txn::new(), |txn, _| txn.when(Compare::absent("limit/none")));
    let error = store.txn(many).await.expect_err("one compare too many");
    assert!(matches!(error, KvError::TooManyOps { .. }), "{error}");
    assert_eq!(keys(store, "limit/").await.len(), MAX_TXN_OPS);

    let value = |bytes: usize| Bytes::from(vec![b'v'; bytes]);
    let room = MAX_TXN_BYTES - "limit/big".len();
    store.put("limit/big".to_owned(), value(room)).await.expect("the largest value allowed");
    assert_eq!(get(store, "limit/big").await.expect("the key exists").value, value(room));
    let error = store.put("limit/big".to_owned(), value(room + 1)).await.expect_err("one byte too many");
    assert!(matches!(error, KvError::TooLarge { .. }), "{error}");
    assert!(!error.maybe_applied() && !error.retryable());

    for txn in [Txn::new().put("", "x"), Txn::new().delete(""), Txn::new().delete_prefix("")] {
        let error = store.txn(txn).await.expect_err("no empty keys");
        assert!(matches!(error, KvError::EmptyKey), "{error}");
    }
    let twice = [
        Txn::new().put("limit/a", "1").put("limit/a", "2"),
        Txn::new().put("limit/a", "1").delete("limit/a"),
        Txn::new().delete_prefix("limit/").put("limit/a", "1"),
    ];
    for txn in twice {
        let error = store.txn(txn).await.expect_err("no key twice");
        assert!(matches!(error, KvError::DuplicateKey { .. }), "{error}");
    }
    let txn = Txn::new().delete_prefix("limit/").delete("limit/big");
    store.txn(txn).await.expect("deletes may overlap");
    assert_eq!(keys(store, "limit/").await, Vec::<String>::new());
}

/// Lost updates show as a wrong sum, shared revisions as duplicates.
async fn concurrent_increments(store: &dyn Kv) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 25;
    let increments = (0..WRITERS).map(|_| async {
        let mut revisions = Vec::new();
        while revisions.len() < ROUNDS {
            let old = get(store, "counter").await;
            let count = old.as_ref().map_or(0, |entry| parse(&entry.value));
            let txn = Txn::new()
                .when(Compare::unchanged("counter", old.as_ref()))
                .put("counter", (count + 1).to_string());
            let outcome = store.txn(txn).await.expect("txn succeeds");
            if outcome.committed {
                let seen = get(store, "counter").await.expect("the key exists");
                assert!(seen.mod_revision >= outcome.revision, "a read sees what was acknowledged");
                revisions.push(outcome.revision);
            }
        }
        revisions
    });
    let mut revisions: Vec<_> = join_all(increments).await.into_iter().flatten().collect();
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), WRITERS * ROUNDS, "every commit has a revision of its own");
    let entry = get(store, "counter").await.expect("the key exists");
    assert_eq!(parse(&entry.value), WRITERS * ROUNDS);
    assert_eq!(entry.version, (WRITERS * ROUNDS) as u64);
}

fn parse(value: &[u8]) -> usize {
    std::str::from_utf8(value).expect("a number").parse().expect("a number")
}
