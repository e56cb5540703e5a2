//! Growing, sealed and compacted segments answer as a plain list of rows does.

#![allow(clippy::unwrap_used, reason = "a test")]

mod model;

use model::{DIM, Kit, Model, Read, Row, Wanted};
use proptest::prelude::*;
use redkite_segment::{GrowingSegment, SealedSegment, compact, seal};
use redkite_storage::format::KeyDeletes;
use redkite_types::{DataType, Metric, PartitionId, Timestamp};

/// One record of a shard's log; the timestamp is ten times its position.
#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<(u8, Option<i64>, [i8; DIM])>, bool),
    Upsert(Vec<(u8, Option<i64>, [i8; DIM])>),
    Delete(Vec<u8>),
}

const KEYS: u8 = 12;

fn values() -> impl Strategy<Value = Vec<(u8, Option<i64>, [i8; DIM])>> {
    let row = (0..KEYS, proptest::option::weighted(0.8, -5_i64..5), proptest::array::uniform3(-2_i8..3));
    proptest::collection::vec(row, 1..12)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (values(), any::<bool>()).prop_map(|(rows, extra)| Op::Insert(rows, extra)),
        2 => values().prop_map(Op::Upsert),
        2 => proptest::collection::vec(0..KEYS, 1..4).prop_map(Op::Delete),
    ]
}

fn read(last: u64) -> impl Strategy<Value = Read> {
    let keys = || proptest::collection::vec(0..KEYS + 2, 0..4);
    let wanted = prop_oneof![
        Just(Wanted::All),
        keys().prop_map(Wanted::Keys),
        (-5_i64..5).prop_map(Wanted::NumberAbove),
        (keys(), -5_i64..5).prop_map(|(keys, bound)| Wanted::KeysAndNumberAbove(keys, bound)),
        (5_i64..9).prop_map(Wanted::ExtraIs),
    ];
    let metric = prop_oneof![Just(Metric::L2), Just(Metric::Ip)];
    let span = (0..last + 20, proptest::option::weighted(0.3, 0..last));
    (span, wanted, 0..15_usize, metric, proptest::array::uniform3(-2_i8..3)).prop_map(
        |((at, expired_before), wanted, limit, metric, query)| Read {
            at,
            expired_before,
            wanted,
            limit,
            metric,
            query,
        },
    )
}

fn rows(values: &[(u8, Option<i64>, [i8; DIM])], extra: bool, written: u64) -> Vec<Row> {
    values
        .iter()
        .map(|(key, number, vector)| {
            let extra = extra.then_some(i64::from(*key % 3) + 5);
            Row { key: *key, number: *number, vector: *vector, extra, written, deleted: None }
        })
        .collect()
}

/// Rows of one insert with one key count once in an upsert, as the proxy sees to.
fn once_each(values: &[(u8, Option<i64>, [i8; DIM])]) -> Vec<(u8, Option<i64>, [i8; DIM])> {
    let mut seen = Vec::new();
    let mut values = values.to_vec();
    values.retain(|value| {
        let new = !seen.contains(&value.0);
        seen.push(value.0);
        new
    });
    values
}

/// Equal rows of one key and timestamp would leave open which of them is answered.
fn distinct(values: &[(u8, Option<i64>, [i8; DIM])]) -> Vec<(u8, Option<i64>, [i8; DIM])> {
    once_each(values)
}

fn apply(kit: Kit, op: &Op, at: u64, growing: &GrowingSegment, model: &mut Model) {
    let (inserted, deleted) = match op {
        Op::Insert(values, extra) => (rows(&distinct(values), *extra, at), Vec::new()),
        Op::Upsert(values) => {
            let values = once_each(values);
            (rows(&values, true, at), values.iter().map(|value| value.0).collect())
        }
        Op::Delete(keys) => (Vec::new(), keys.clone()),
    };
    if !deleted.is_empty() {
        growing.delete(&kit.keys(&deleted), Timestamp(at)).unwrap();
        model.delete(&deleted, at);
    }
    if !inserted.is_empty() {
        growing.insert(kit.batch(&inserted), Timestamp(at)).unwrap();
        model.rows.extend(inserted);
    }
}

/// The deletes among some records, as a delta file holds them.
fn deltas(kit: Kit, ops: &[Op], first: usize) -> KeyDeletes {
    let mut deltas = KeyDeletes::empty(kit.key_type);
    for (op, at) in ops.iter().zip(first as u64 * 10..) {
        let at = Timestamp((at - first as u64 * 10) * 10 + first as u64 * 10);
        let keys: Vec<u8> = match op {
            Op::Insert(..) => continue,
            Op::Upsert(values) => values.iter().map(|value| value.0).collect(),
            Op::Delete(keys) => keys.clone(),
        };
        keys.iter().for_each(|key| deltas.push(kit.key(*key).as_ref(), at, None));
    }
    KeyDeletes::decode("deltas/1-0/1-2.rkd", &deltas.encode()).unwrap()
}

fn grow(kit: Kit, ops: &[Op], first: usize) -> (GrowingSegment, Model) {
    let (growing, mut model) = (kit.growing(), Model::default());
    for (position, op) in ops.iter().enumerate() {
        apply(kit, op, (first + position) as u64 * 10, &growing, &mut model);
    }
    (growing, model)
}

fn kits() -> impl Strategy<Value = Kit> {
    prop_oneof![Just(DataType::Int64), Just(DataType::VarChar)].prop_map(|key_type| Kit { key_type })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn growing_rows(
        kit in kits(),
        ops in proptest::collection::vec(op(), 1..30),
        reads in proptest::collection::vec(read(300), 1..6),
    ) {
        let (growing, model) = grow(kit, &ops, 1);
        prop_assert_eq!(growing.rows(), model.rows.len());
        for read in &reads {
            kit.assert_same(&growing, &model, read);
        }
    }

    #[test]
    fn sealed_rows_with_later_deletes(
        kit in kits(),
        ops in proptest::collection::vec(op(), 1..20),
        later in proptest::collection::vec(op(), 0..10),
        reads in proptest::collection::vec(read(300), 1..6),
    ) {
        let (growing, mut model) = grow(kit, &ops, 1);
        let sealed_at = ops.len() as u64 * 10;
        let dir = tempfile::tempdir().unwrap();
        let (sealed, stats) = kit.file(dir.path(), 1, |out| {
            seal(&growing, &kit.schema(), Timestamp(sealed_at), out)
        });
        model.rows.retain(|row| row.deleted.is_none());
        prop_assert_eq!(stats.rows, model.rows.len() as u64);

        let first = ops.len() + 1;
        let deltas = deltas(kit, &later, first);
        sealed.apply_deltas(&deltas).unwrap();
        for (key, at, _) in deltas.iter() {
            let key = (0..KEYS).find(|candidate| kit.key(*candidate).as_ref() == key).unwrap();
            model.delete(&[key], at.0);
        }
        // As after a restart: from the folded deletes.
        let through = sealed_at + later.len() as u64 * 5;
        let (reopened, _) = kit.file(dir.path(), 2, |out| {
            seal(&growing, &kit.schema(), Timestamp(sealed_at), out)
        });
        reopened.apply_row_deletes(&sealed.fold_deletes(Timestamp(through)));
        prop_assert!(reopened.deleted_rows() <= sealed.deleted_rows());
        reopened.apply_deltas(&deltas).unwrap();
        prop_assert_eq!(reopened.deleted_rows(), sealed.deleted_rows());

        for read in &reads {
            let mut read = read.clone();
            read.at = read.at.max(sealed_at);
            kit.assert_same(&sealed, &model, &read);
            kit.assert_same(&reopened, &model, &read);
        }
    }

    #[test]
    fn compacted_rows(
        kit in kits(),
        first in proptest::collection::vec(op(), 1..15),
        second in proptest::collection::vec(op(), 1..15),
        reads in proptest::collection::vec(read(400), 1..6),
        expired_before in proptest::option::weighted(0.3, 0..200_u64),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let end = (first.len() + second.len()) as u64 * 10;
        let mut model = Model::default();
        let mut segments: Vec<SealedSegment> = Vec::new();
        for (ops, start) in [(&first, 1), (&second, first.len() + 1)] {
            let (growing, part) = grow(kit, ops, start);
            let through = Timestamp((start + ops.len() - 1) as u64 * 10);
            let id = i64::try_from(segments.len()).unwrap();
            segments.push(kit.file(dir.path(), id, |out| seal(&growing, &kit.schema(), through, out)).0);
            model.rows.extend(part.rows);
        }
        let deltas = deltas(kit, &second, first.len() + 1);
        segments[0].apply_deltas(&deltas).unwrap();
        for (key, at, _) in deltas.iter() {
            let key = (0..KEYS).find(|candidate| kit.key(*candidate).as_ref() == key).unwrap();
            model.delete(&[key], at.0);
        }
        let sources: Vec<&SealedSegment> = segments.iter().collect();
        let expired = expired_before.map(Timestamp);
        let (compacted, stats) = kit.file(dir.path(), 9, |out| {
            compact(&sources, &kit.schema(), Timestamp(end), expired, out)
        });
        model.rows.retain(|row| row.deleted.is_none() && expired_before.is_none_or(|oldest| row.written >= oldest));
        prop_assert_eq!(stats.rows, model.rows.len() as u64);
        for read in &reads {
            let mut read = read.clone();
            read.at = read.at.max(end);
            kit.assert_same(&compacted, &model, &read);
        }
    }
}

#[test]
fn a_delete_of_another_partition_is_none_of_ours() {
    let kit = Kit { key_type: DataType::Int64 };
    let (growing, _) = grow(kit, &[Op::Insert(vec![(1, None, [0; DIM]), (2, None, [0; DIM])], true)], 1);
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = kit.file(dir.path(), 1, |out| seal(&growing, &kit.schema(), Timestamp(10), out));
    let mut deltas = KeyDeletes::empty(DataType::Int64);
    deltas.push(kit.key(1).as_ref(), Timestamp(20), Some(PartitionId(2)));
    deltas.push(kit.key(2).as_ref(), Timestamp(20), Some(PartitionId(1)));
    assert_eq!(sealed.apply_deltas(&deltas).unwrap(), 1);
    assert_eq!(sealed.fold_deletes(Timestamp::MAX).rows, [1]);
}
