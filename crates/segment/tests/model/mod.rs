//! A segment as a list of rows: slow, obvious, right.

#![allow(dead_code, clippy::unwrap_used, reason = "a test; each test binary uses a part")]

use std::path::Path;
use std::sync::Arc;

use redkite_query::plan::CompareOp;
use redkite_query::{ColumnRef, Literal, LiteralSet, Plan, Predicate, RetrievePart, SearchPart};
use redkite_segment::{GrowingSegment, RetrieveTask, SealedSegment, SearchTask, SegmentReader};
use redkite_storage::format::SegmentStats;
use redkite_storage::{Mapped, ObjectWriter};
use redkite_types::{
    Batch, Bitmap, CollectionSchema, Column, ColumnData, DataType, FieldId, FieldSchema, Metric, PartitionId,
    PrimaryKey, PrimaryKeys, SegmentId, Timestamp, Value, VarColumn,
};

pub(crate) const KEY: FieldId = FieldId(100);
pub(crate) const NUMBER: FieldId = FieldId(101);
pub(crate) const TEXT: FieldId = FieldId(102);
pub(crate) const VECTOR: FieldId = FieldId(103);
pub(crate) const EXTRA: FieldId = FieldId(104);
pub(crate) const DIM: usize = 3;
pub(crate) const EXTRA_DEFAULT: i64 = 7;

/// A row and its fate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: u8,
    pub(crate) number: Option<i64>,
    pub(crate) vector: [i8; DIM],
    /// Rows written before there was the field have none.
    pub(crate) extra: Option<i64>,
    pub(crate) written: u64,
    pub(crate) deleted: Option<u64>,
}

impl Row {
    fn text(&self) -> String {
        "x".repeat(usize::from(self.key % 4))
    }
}

/// What a read wants.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    All,
    Keys(Vec<u8>),
    NumberAbove(i64),
    KeysAndNumberAbove(Vec<u8>, i64),
    ExtraIs(i64),
}

/// A read.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) at: u64,
    pub(crate) expired_before: Option<u64>,
    pub(crate) wanted: Wanted,
    pub(crate) limit: usize,
    pub(crate) metric: Metric,
    pub(crate) query: [i8; DIM],
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) rows: Vec<Row>,
}

impl Model {
    pub(crate) fn delete(&mut self, keys: &[u8], at: u64) {
        for row in self.rows.iter_mut().filter(|row| keys.contains(&row.key) && row.written < at) {
            row.deleted = Some(row.deleted.map_or(at, |deleted| deleted.min(at)));
        }
    }

    fn wanted(&self, read: &Read) -> Vec<&Row> {
        let matches = |row: &&Row| match &read.wanted {
            Wanted::All => true,
            Wanted::Keys(keys) => keys.contains(&row.key),
            Wanted::NumberAbove(bound) => row.number.is_some_and(|number| number > *bound),
            Wanted::KeysAndNumberAbove(keys, bound) => {
                keys.contains(&row.key) && row.number.is_some_and(|number| number > *bound)
            }
            Wanted::ExtraIs(value) => row.extra.unwrap_or(EXTRA_DEFAULT) == *value,
        };
        let seen = |row: &&Row| {
            row.written <= read.at
                && row.deleted.is_none_or(|deleted| deleted > read.at)
                && read.expired_before.is_none_or(|oldest| row.written >= oldest)
        };
        self.rows.iter().filter(seen).filter(matches).collect()
    }

    pub(crate) fn count(&self, read: &Read) -> u64 {
        self.wanted(read).len() as u64
    }

    pub(crate) fn retrieve(&self, read: &Read) -> Vec<&Row> {
        let mut rows = self.wanted(read);
        rows.sort_by_key(|row| (row.key, std::cmp::Reverse(row.written)));
        rows.dedup_by_key(|row| row.key);
        rows.truncate(read.limit);
        rows
    }

    pub(crate) fn search(&self, read: &Read) -> Vec<(&Row, f32)> {
        let score = |row: &Row| -> i32 {
            let pairs = || row.vector.iter().zip(&read.query).map(|(a, b)| (i32::from(*a), i32::from(*b)));
            match read.metric {
                Metric::L2 => pairs().map(|(a, b)| (a - b) * (a - b)).sum(),
                _ => pairs().map(|(a, b)| a * b).sum(),
            }
        };
        let nearness = |score: i32| if read.metric.larger_is_nearer() { -score } else { score };
        let mut rows: Vec<(&Row, i32)> = self.wanted(read).into_iter().map(|row| (row, score(row))).collect();
        rows.sort_by_key(|(row, score)| (nearness(*score), row.key, std::cmp::Reverse(row.written)));
        let mut seen = Vec::new();
        rows.retain(|(row, _)| {
            let new = !seen.contains(&row.key);
            seen.push(row.key);
            new
        });
        rows.truncate(read.limit);
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        rows.into_iter().map(|(row, score)| (row, score as f32)).collect()
    }
}

/// The real thing, with keys of one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kit {
    pub(crate) key_type: DataType,
}

impl Kit {
    pub(crate) fn schema(self) -> CollectionSchema {
        let field = |id: FieldId, data_type: DataType| FieldSchema {
            id,
            name: format!("f{id}"),
            description: String::new(),
            data_type,
            primary_key: id == KEY,
            partition_key: false,
            clustering_key: false,
            auto_id: false,
            nullable: id == NUMBER,
            default_value: (id == EXTRA).then_some(Value::Int64(EXTRA_DEFAULT)),
            dynamic: false,
            dim: if id == VECTOR { 3 } else { 0 },
            max_length: 0,
            type_params: Vec::new(),
        };
        CollectionSchema {
            description: String::new(),
            fields: vec![
                field(KEY, self.key_type),
                field(NUMBER, DataType::Int64),
                field(TEXT, DataType::VarChar),
                field(VECTOR, DataType::FloatVector),
                field(EXTRA, DataType::Int32),
            ],
            enable_dynamic_field: false,
            version: 1,
        }
    }

    pub(crate) fn key(self, key: u8) -> PrimaryKey {
        match self.key_type {
            DataType::Int64 => PrimaryKey::Int64(i64::from(key) - 10),
            _ => PrimaryKey::VarChar(format!("k{key:03}")),
        }
    }

    pub(crate) fn keys(self, keys: &[u8]) -> PrimaryKeys {
        let mut list = PrimaryKeys::empty(self.key_type);
        keys.iter().for_each(|key| list.push(self.key(*key).as_ref()));
        list
    }

    pub(crate) fn batch(self, rows: &[Row]) -> Batch {
        let keys = match self.keys(&rows.iter().map(|row| row.key).collect::<Vec<_>>()) {
            PrimaryKeys::Int64(keys) => ColumnData::Int64(keys),
            PrimaryKeys::VarChar(keys) => ColumnData::VarChar(keys),
        };
        let numbers = ColumnData::Int64(rows.iter().map(|row| row.number.unwrap_or(0)).collect());
        let texts: VarColumn = rows.iter().map(Row::text).collect();
        let values = rows.iter().flat_map(|row| row.vector.map(f32::from)).collect();
        let mut columns = vec![
            Column::new(KEY, keys),
            Column {
                field: NUMBER,
                data: numbers,
                validity: Some(Bitmap::from_bools(rows.iter().map(|row| row.number.is_some()))),
            },
            Column::new(TEXT, ColumnData::VarChar(texts)),
            Column::new(VECTOR, ColumnData::FloatVector { dim: DIM, values }),
        ];
        if rows.iter().all(|row| row.extra.is_some()) {
            let extra = rows.iter().map(|row| i32::try_from(row.extra.unwrap()).unwrap()).collect();
            columns.push(Column::new(EXTRA, ColumnData::Int32(extra)));
        }
        Batch::new(columns)
    }

    pub(crate) fn plan(self, wanted: &Wanted) -> Option<Plan> {
        let column = |field, data_type| ColumnRef { field, data_type, path: Vec::new() };
        let among = |keys: &[u8]| {
            let keys = keys.iter().map(|key| match self.key(*key) {
                PrimaryKey::Int64(key) => Literal::Int64(key),
                PrimaryKey::VarChar(key) => Literal::VarChar(key),
            });
            let values: LiteralSet = keys.collect();
            Predicate::In { column: column(KEY, self.key_type), values }
        };
        let above = |bound: i64| Predicate::Compare {
            column: column(NUMBER, DataType::Int64),
            op: CompareOp::Greater,
            value: Literal::Int64(bound),
        };
        let predicate = match wanted {
            Wanted::All => return None,
            Wanted::Keys(keys) => among(keys),
            Wanted::NumberAbove(bound) => above(*bound),
            Wanted::KeysAndNumberAbove(keys, bound) => Predicate::And(vec![among(keys), above(*bound)]),
            Wanted::ExtraIs(value) => Predicate::Compare {
                column: column(EXTRA, DataType::Int32),
                op: CompareOp::Equal,
                value: Literal::Int64(*value),
            },
        };
        Some(Plan { predicate, key_field: KEY, key_type: self.key_type })
    }

    pub(crate) fn retrieve(self, reader: &dyn SegmentReader, read: &Read) -> (RetrievePart, u64) {
        let (schema, plan) = (self.schema(), self.plan(&read.wanted));
        let task = RetrieveTask {
            schema: &schema,
            filter: plan.as_ref(),
            output: &[NUMBER, TEXT, EXTRA],
            limit: Some(read.limit),
            read_timestamp: Timestamp(read.at),
            expired_before: read.expired_before.map(Timestamp),
        };
        (reader.retrieve(&task).unwrap(), reader.count(&task).unwrap())
    }

    pub(crate) fn search(self, reader: &dyn SegmentReader, read: &Read, nq: usize) -> SearchPart {
        let (schema, plan) = (self.schema(), self.plan(&read.wanted));
        let task = SearchTask {
            schema: &schema,
            field: VECTOR,
            metric: read.metric,
            queries: &read.query.map(f32::from).repeat(nq),
            limit: read.limit,
            ef: None,
            nprobe: None,
            range: None,
            filter: plan.as_ref(),
            output: &[EXTRA, NUMBER, VECTOR],
            read_timestamp: Timestamp(read.at),
            expired_before: read.expired_before.map(Timestamp),
        };
        reader.search(&task).unwrap()
    }

    /// Compares all reads with the model.
    pub(crate) fn assert_same(self, reader: &dyn SegmentReader, model: &Model, read: &Read) {
        let (part, count) = self.retrieve(reader, read);
        assert_eq!(count, model.count(read), "count of {read:?}");
        let rows = model.retrieve(read);
        let keys: Vec<u8> = rows.iter().map(|row| row.key).collect();
        assert_eq!(part.ids, self.keys(&keys), "keys of {read:?}");
        let written: Vec<Timestamp> = rows.iter().map(|row| Timestamp(row.written)).collect();
        assert_eq!(part.timestamps, written, "timestamps of {read:?}");
        for (position, row) in rows.iter().enumerate() {
            let [number, text, extra] = &part.columns[..] else { panic!("three columns") };
            assert_eq!(
                number.view().is_valid(position).then(|| number.data.view().value(position)),
                row.number.map(Value::Int64)
            );
            assert_eq!(text.data.view().value(position), Value::VarChar(row.text()));
            let wanted = row.extra.unwrap_or(EXTRA_DEFAULT);
            assert_eq!(extra.data.view().value(position), Value::Int64(wanted));
        }

        let hits = model.search(read);
        for nq in [1, 3] {
            let part = self.search(reader, read, nq);
            assert_eq!(part.topks, vec![u32::try_from(hits.len()).unwrap(); nq], "hits of {read:?}");
            for query in 0..nq {
                for (position, (row, score)) in hits.iter().enumerate() {
                    let at = query * hits.len() + position;
                    assert_eq!(part.ids.get(at), self.key(row.key).as_ref(), "hit {position} of {read:?}");
                    assert!((part.scores[at] - score).abs() < f32::EPSILON);
                    assert_eq!(part.timestamps[at], Timestamp(row.written));
                    let extra = part.columns[0].data.view().value(at);
                    assert_eq!(extra, Value::Int64(row.extra.unwrap_or(EXTRA_DEFAULT)));
                }
            }
        }
    }

    /// Writes a segment file with `write` and opens it.
    pub(crate) fn file(
        self,
        dir: &Path,
        id: i64,
        write: impl FnOnce(&mut ObjectWriter) -> redkite_segment::Result<SegmentStats>,
    ) -> (SealedSegment, SegmentStats) {
        let path = dir.join(format!("{id}.rks"));
        let mut out = ObjectWriter::begin("segments/1/1/data.rks", dir.join(format!("{id}.tmp"))).unwrap();
        let stats = write(&mut out).unwrap();
        std::fs::copy(out.temporary(), &path).unwrap();
        let map = Arc::new(Mapped::open(&path).unwrap());
        let segment = SealedSegment::open(SegmentId(id), PartitionId(1), map).unwrap();
        segment.file().verify().unwrap();
        assert_eq!(segment.stats(), &stats);
        (segment, stats)
    }

    pub(crate) fn growing(self) -> GrowingSegment {
        GrowingSegment::new(self.schema().primary_key())
    }
}
