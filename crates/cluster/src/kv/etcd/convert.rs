//! How do keys and transactions look to etcd?

use bytes::Bytes;
use redkite_proto::etcd::{self as pb, compare, request_op, response_op};
use redkite_types::Revision;

use crate::kv::{Compare, Condition, Event, KeyValue, LeaseId, Op, Read, Txn, TxnOutcome};

/// Puts the common prefix before our keys and takes it off etcd's.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// Keys from `key` to before `end`, in etcd's notation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KeyRange {
    pub(super) key: Bytes,
    pub(super) end: Bytes,
}

/// etcd's notation for "the smallest key" and for "no end".
const ZERO: &[u8] = &[0];

impl KeyRange {
    /// Every key of the store.
    pub(super) fn everything() -> Self {
        Self { key: Bytes::from_static(ZERO), end: Bytes::from_static(ZERO) }
    }

    /// Every key that begins with `prefix`.
    fn under(prefix: &str) -> Self {
        if prefix.is_empty() {
            return Self::everything();
        }
        let mut end = prefix.as_bytes().to_vec();
        // Text ends in a byte below 0xff.
        *end.last_mut().expect("checked above") += 1;
        Self { key: Bytes::copy_from_slice(prefix.as_bytes()), end: end.into() }
    }

    /// Whether it covers `key`.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        key >= &*self.key && (self.end == ZERO || key < &*self.end)
    }
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn key(&self, key: &str) -> Bytes {
        [self.prefix.as_bytes(), key.as_bytes()].concat().into()
    }

    pub(super) fn range(&self, prefix: &str) -> KeyRange {
        KeyRange::under(&format!("{}{prefix}", self.prefix))
    }

    /// Our name of a key; none if it is not ours.
    fn strip(&self, key: &[u8]) -> Option<String> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix).map(str::to_owned)
    }

    pub(super) fn entry(&self, entry: pb::KeyValue) -> Option<KeyValue> {
        Some(KeyValue {
            key: self.strip(&entry.key)?,
            value: entry.value,
            create_revision: Revision(entry.create_revision),
            mod_revision: Revision(entry.mod_revision),
            version: entry.version.unsigned_abs(),
            lease: (entry.lease != 0).then_some(LeaseId(entry.lease)),
        })
    }

    pub(super) fn entries(&self, entries: Vec<pb::KeyValue>) -> impl Iterator<Item = KeyValue> {
        entries.into_iter().filter_map(|entry| self.entry(entry))
    }

    pub(super) fn event(&self, event: pb::Event) -> Option<Event> {
        let kind = event.r#type();
        let entry = event.kv?;
        Some(match kind {
            pb::event::EventType::Put => Event::Put(self.entry(entry)?),
            pb::event::EventType::Delete => Event::Delete { key: self.strip(&entry.key)? },
        })
    }

    pub(super) fn txn(&self, txn: &Txn) -> pb::TxnRequest {
        let mut failure: Vec<_> = txn.otherwise.iter().map(|read| self.read(read)).collect();
        if txn.then.is_empty() && failure.is_empty() {
            // etcd answers a transaction without any operation from what one member happens to know. A
            // read in the branch that is not looked at makes it linearizable.
            let key = txn.compares.first().map_or("linearizable", |compare| &compare.key);
            failure.push(self.read(&Read::Get { key: key.to_owned() }));
        }
        pb::TxnRequest {
            compare: txn.compares.iter().map(|compare| self.compare(compare)).collect(),
            success: txn.then.iter().map(|op| self.op(op)).collect(),
            failure,
        }
    }

    fn compare(&self, compare: &Compare) -> pb::Compare {
        use compare::{CompareResult, CompareTarget, TargetUnion};
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (result, target, union) = match &compare.condition {
            Condition::Exists => (CompareResult::Greater, CompareTarget::Version, TargetUnion::Version(0)),
            Condition::Absent => (CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(0)),
            Condition::CreateRevision(revision) => {
                (CompareResult::Equal, CompareTarget::Create, TargetUnion::CreateRevision(revision.0))
            }
            Condition::ModRevision(revision) => {
                (CompareResult::Equal, CompareTarget::Mod, TargetUnion::ModRevision(revision.0))
            }
            Condition::Version(version) => {
                (CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(number(*version)))
            }
            Condition::Value(value) => {
                (CompareResult::Equal, CompareTarget::Value, TargetUnion::Value(value.clone()))
            }
        };
        pb::Compare {
            result: result.into(),
            target: target.into(),
            key: self.key(&compare.key),
            target_union: Some(union),
        }
    }

    fn op(&self, op: &Op) -> pb::RequestOp {
        use request_op::Request;
        let request = match op {
            Op::Put { key, value, lease } => Request::RequestPut(pb::PutRequest {
                key: self.key(key),
                value: value.clone(),
                lease: lease.map_or(0, |lease| lease.0),
            }),
            Op::Delete { key } => Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: self.key(key),
                range_end: Bytes::new(),
            }),
            Op::DeletePrefix { prefix } => {
                let range = self.range(prefix);
                Request::RequestDeleteRange(pb::DeleteRangeRequest { key: range.key, range_end: range.end })
            }
        };
        pb::RequestOp { request: Some(request) }
    }

    fn read(&self, read: &Read) -> pb::RequestOp {
        let (key, range_end) = match read {
            Read::Get { key } => (self.key(key), Bytes::new()),
            Read::Range { prefix } => {
                let range = self.range(prefix);
                (range.key, range.end)
            }
        };
        let request = pb::RangeRequest { key, range_end, ..pb::RangeRequest::default() };
        pb::RequestOp { request: Some(request_op::Request::RequestRange(request)) }
    }

    /// `asked` is the number of reads the transaction named.
    pub(super) fn outcome(&self, answer: pb::TxnResponse, asked: usize) -> TxnOutcome {
        let revision = Revision(answer.header.map_or(0, |header| header.revision));
        let entries = |op: pb::ResponseOp| match op.response {
            Some(response_op::Response::ResponseRange(range)) => self.entries(range.kvs).collect(),
            _ => Vec::new(),
        };
        let reads = if answer.succeeded { 0 } else { asked };
        let reads = answer.responses.into_iter().take(reads).map(entries).collect();
        TxnOutcome { committed: answer.succeeded, revision, reads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_their_prefix_and_no_more() {
        let keys = Keys::new("by-dev/meta/");
        let range = keys.range("a/");
        assert_eq!((&*range.key, &*range.end), (&b"by-dev/meta/a/"[..], &b"by-dev/meta/a0"[..]));
        for (key, inside) in [("a/", true), ("a/\u{10ffff}", true), ("a", false), ("a0", false), ("b", false)]
        {
            assert_eq!(range.contains(&keys.key(key)), inside, "{key}");
        }
        assert_eq!(Keys::new("").range(""), KeyRange::everything());
        assert!(KeyRange::everything().contains(b"any") && KeyRange::everything().contains(&[0xff]));
        assert_eq!(keys.strip(b"by-dev/meta/x").as_deref(), Some("x"));
        assert_eq!(keys.strip(b"by-dev/other"), None);
        assert_eq!(Keys::new("").strip(&[0xff]), None);
    }

    #[test]
    fn a_transaction_without_operations_is_still_linearizable() {
        let keys = Keys::new("p/");
        let request = keys.txn(&Txn::new().when(Compare::exists("a")));
        assert!(request.success.is_empty());
        assert_eq!(request.failure.len(), 1);
        let request = keys.txn(&Txn::new().when(Compare::exists("a")).put("b", "1"));
        assert!(request.failure.is_empty());
    }
}
