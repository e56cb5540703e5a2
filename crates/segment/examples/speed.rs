//! How fast are the everyday operations of a segment? `cargo run --release -p redkite-segment --example speed`
//!
//! Prints one line per operation; rows and dimension may be given as arguments.

#![allow(clippy::unwrap_used, reason = "a measurement, not a server")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use redkite_query::{ColumnRef, LiteralSet, Plan, Predicate};
use redkite_segment::{
    GrowingSegment, RetrieveTask, SealedSegment, SearchTask, SegmentReader, compact, seal,
};
use redkite_storage::{Mapped, ObjectWriter};
use redkite_types::{
    Batch, CollectionSchema, Column, ColumnData, DataType, FieldId, FieldSchema, Metric, PartitionId,
    PrimaryKeys, SegmentId, Timestamp,
};

const KEY: FieldId = FieldId(100);
const VECTOR: FieldId = FieldId(101);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let rows = arguments.next().unwrap_or(200_000);
    let dim = arguments.next().unwrap_or(128);
    let schema = schema(dim);
    let growing = GrowingSegment::new(schema.primary_key());

    let batches: Vec<Batch> = (0..rows / 1000).map(|batch| rows_from(batch * 1000, 1000, dim)).collect();
    let started = Instant::now();
    for (at, batch) in (1..).zip(batches) {
        growing.insert(batch, Timestamp(at)).unwrap();
    }
    report("insert, 1,000 rows a batch", started.elapsed(), rows, "rows");

    let singles = GrowingSegment::new(schema.primary_key());
    let batches: Vec<Batch> = (0..20_000).map(|row| rows_from(row, 1, dim)).collect();
    let started = Instant::now();
    for (at, batch) in (1..).zip(batches) {
        singles.insert(batch, Timestamp(at)).unwrap();
    }
    report("insert, one row a batch", started.elapsed(), 20_000, "rows");

    searches("growing", &growing, &schema, rows, dim);
    let keys = PrimaryKeys::Int64((0..rows as i64).step_by(1000).collect());
    let started = Instant::now();
    growing.delete(&keys, Timestamp(1 << 40)).unwrap();
    report("delete by key, growing", started.elapsed(), keys.len(), "keys");
    searches("growing with deletes", &growing, &schema, rows, dim);

    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let sealed = file(dir.path(), "sealed", |out| seal(&growing, &schema, Timestamp::ZERO, out).unwrap());
    report("seal and open", started.elapsed(), rows, "rows");
    let started = Instant::now();
    drop(SealedSegment::open(SegmentId(1), PartitionId(1), map(dir.path(), "sealed")).unwrap());
    report("open", started.elapsed(), 1, "files");
    let started = Instant::now();
    sealed.file().verify().unwrap();
    report("verify", started.elapsed(), usize::try_from(sealed.file().bytes()).unwrap(), "bytes");
    searches("sealed", &sealed, &schema, rows, dim);
    let started = Instant::now();
    sealed.delete(&keys, Timestamp(1 << 40)).unwrap();
    report("delete by key, sealed", started.elapsed(), keys.len(), "keys");
    searches("sealed with deletes", &sealed, &schema, rows, dim);
    let started = Instant::now();
    file(dir.path(), "compacted", |out| compact(&[&sealed], &schema, Timestamp::MAX, None, out).unwrap());
    report("compact", started.elapsed(), rows, "rows");
}

fn searches(name: &str, reader: &dyn SegmentReader, schema: &CollectionSchema, rows: usize, dim: usize) {
    for (metric, queries) in [(Metric::L2, 1), (Metric::Cosine, 1), (Metric::Ip, 16)] {
        let query = vec![0.5; dim * queries];
        let task = SearchTask {
            schema,
            field: VECTOR,
            metric,
            queries: &query,
            limit: 10,
            ef: None,
            nprobe: None,
            range: None,
            filter: None,
            output: &[],
            read_timestamp: Timestamp::MAX,
            expired_before: None,
        };
        reader.search(&task).unwrap();
        let times = 10;
        let started = Instant::now();
        (0..times).for_each(|_| drop(reader.search(&task).unwrap()));
        report(
            &format!("{name}: {metric} nq {queries}"),
            started.elapsed(),
            times * queries * rows * dim * 4,
            "bytes",
        );
    }
    let column = ColumnRef { field: KEY, data_type: DataType::Int64, path: Vec::new() };
    let values = LiteralSet::from_ints((0..100).map(|key| key * 7).collect());
    let predicate = Predicate::In { column, values };
    let plan = Plan { predicate, key_field: KEY, key_type: DataType::Int64 };
    for (what, filter, limit) in [("get 100 keys", Some(&plan), None), ("first 100 rows", None, Some(100))] {
        let task = RetrieveTask {
            schema,
            filter,
            output: &[VECTOR],
            limit,
            read_timestamp: Timestamp::MAX,
            expired_before: None,
        };
        let started = Instant::now();
        (0..100).for_each(|_| drop(reader.retrieve(&task).unwrap()));
        report(&format!("{name}: {what}"), started.elapsed(), 100, "calls");
        let started = Instant::now();
        (0..100).for_each(|_| assert!(reader.count(&task).unwrap() > 0));
        report(&format!("{name}: count, {what}"), started.elapsed(), 100, "calls");
    }
}

#[allow(clippy::cast_precision_loss, reason = "a measurement")]
fn report(what: &str, took: Duration, amount: usize, unit: &str) {
    let rate = amount as f64 / took.as_secs_f64();
    println!("{what:45} {took:>12.1?} {:>14.3} million {unit}/s", rate / 1e6);
}

fn file<T>(dir: &std::path::Path, name: &str, write: impl FnOnce(&mut ObjectWriter) -> T) -> SealedSegment {
    let mut out = ObjectWriter::begin(name, dir.join(format!("{name}.tmp"))).unwrap();
    write(&mut out);
    std::fs::copy(out.temporary(), dir.join(name)).unwrap();
    SealedSegment::open(SegmentId(1), PartitionId(1), map(dir, name)).unwrap()
}

fn map(dir: &std::path::Path, name: &str) -> Arc<Mapped> {
    Arc::new(Mapped::open(&dir.join(name)).unwrap())
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn rows_from(first: usize, rows: usize, dim: usize) -> Batch {
    // Scattered keys, so that sealing has something to sort.
    let key = |row: usize| i64::try_from(row * 7919 % 10_000_019).unwrap();
    let keys = (first..first + rows).map(key).collect();
    // SplitMix64: no two rows alike, the same in every run.
    let scattered = |at: usize| {
        let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32
    };
    let values = (first * dim..(first + rows) * dim).map(|at| scattered(at) / 16_777_216.0).collect();
    Batch::new(vec![
        Column::new(KEY, ColumnData::Int64(keys)),
        Column::new(VECTOR, ColumnData::FloatVector { dim, values }),
    ])
}

fn schema(dim: usize) -> CollectionSchema {
    let field = |id: FieldId, data_type, dim| FieldSchema {
        id,
        name: format!("f{id}"),
        description: String::new(),
        data_type,
        primary_key: id == KEY,
        partition_key: false,
        clustering_key: false,
        auto_id: false,
        nullable: false,
        default_value: None,
        dynamic: false,
        dim,
        max_length: 0,
        type_params: Vec::new(),
    };
    CollectionSchema {
        description: String::new(),
        fields: vec![
            field(KEY, DataType::Int64, 0),
            field(VECTOR, DataType::FloatVector, u32::try_from(dim).unwrap()),
        ],
        enable_dynamic_field: false,
        version: 1,
    }
}
