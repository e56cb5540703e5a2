use proptest::prelude::*;
use redkite_types::{Batch, Bitmap, Column, ColumnData, FieldId, PrimaryKeys, Timestamp, VarColumn};

const ID: WriteId = WriteId { proxy: ProxyRun(0x0102_0304_0506_0708), sequence: 300, settled_below: 299 };

use super::*;

fn batch(rows: usize) -> Batch {
    let column = |field, data| Column { field: FieldId(field), data, validity: None };
    let number = |row: usize| i64::try_from(row).unwrap() - 3;
    let strings: VarColumn = (0..rows).map(|row| "x".repeat(row % 5)).collect();
    Batch {
        columns: vec![
            column(100, ColumnData::Int64((0..rows).map(number).collect())),
            column(101, ColumnData::Bool((0..rows).map(|row| row % 2 == 0).collect())),
            column(102, ColumnData::Float((0..rows).map(|row| row as f32 / 2.0).collect())),
            Column {
                field: FieldId(103),
                data: ColumnData::VarChar(strings.clone()),
                validity: Some(Bitmap::from_fn(rows, |row| row % 3 != 0)),
            },
            column(104, ColumnData::Json(strings)),
            column(105, ColumnData::FloatVector { dim: 3, values: vec![0.5; rows * 3] }),
            column(106, ColumnData::BFloat16Vector { dim: 2, values: vec![half::bf16::ONE; rows * 2] }),
        ],
        rows,
    }
}

fn round_trip(op: &WriteOp) {
    let record = EncodedWrite::new(ID, op).stamped(Timestamp(77));
    let decoded = DecodedWrite { timestamp: Timestamp(77), id: Some(ID), op: op.clone() };
    assert_eq!(decode(&record).unwrap(), decoded);
}

#[test]
fn writes_round_trip() {
    round_trip(&WriteOp::Insert(vec![(PartitionId(1), batch(70)), (PartitionId(2), batch(0))]));
    round_trip(&WriteOp::Upsert(vec![(PartitionId(1), batch(1))]));
    round_trip(&WriteOp::Delete { partition: None, keys: PrimaryKeys::Int64(vec![1, -2]) });
    round_trip(&WriteOp::Delete {
        partition: Some(PartitionId(9)),
        keys: PrimaryKeys::VarChar(["a", "", "long"].iter().collect()),
    });
}

fn delete() -> WriteOp {
    WriteOp::Delete { partition: Some(PartitionId(9)), keys: PrimaryKeys::Int64(vec![258]) }
}

fn insert() -> WriteOp {
    let texts = ColumnData::VarChar(["ab"].iter().collect());
    WriteOp::Insert(vec![(PartitionId(1), Batch::new(vec![Column::new(FieldId(100), texts)]))])
}

const DELETE_BODY: &[u8] = &[
    1, 9, 0, 0, 0, 0, 0, 0, 0, // partition
    0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, // keys
];

const INSERT_BODY: &[u8] = &[
    1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // parts, partition
    1, 0, 0, 0, 1, 0, 0, 0, // columns, rows
    100, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 0, // field, type, dim, validity
    2, 0, 0, 0, b'a', b'b', // lengths, bytes
];

/// What version 2 writes. Changing it without a new version fails here.
#[test]
fn format_is_golden() {
    for (kind, op, body) in [(3, delete(), DELETE_BODY), (1, insert(), INSERT_BODY)] {
        let golden: &[u8] = &[
            2, kind, 0, 0, 0, 0, 0, 0, // version, kind
            5, 0, 0, 0, 0, 0, 0, 0, // timestamp
            8, 7, 6, 5, 4, 3, 2, 1, // proxy
            44, 1, 0, 0, 0, 0, 0, 0, // sequence
            43, 1, 0, 0, 0, 0, 0, 0, // settled below
        ];
        let golden = [golden, body].concat();
        assert_eq!(EncodedWrite::new(ID, &op).stamped(Timestamp(5)), golden);
        assert_eq!(decode(&golden).unwrap(), DecodedWrite { timestamp: Timestamp(5), id: Some(ID), op });
    }
}

/// Logs of released versions are read for ever: these records are what version 1 wrote.
#[test]
fn records_without_an_id_are_read() {
    for (kind, op, body) in [(3, delete(), DELETE_BODY), (1, insert(), INSERT_BODY)] {
        let golden: &[u8] = &[
            1, kind, 0, 0, 0, 0, 0, 0, // version, kind
            5, 0, 0, 0, 0, 0, 0, 0, // timestamp
        ];
        let decoded = DecodedWrite { timestamp: Timestamp(5), id: None, op };
        assert_eq!(decode(&[golden, body].concat()).unwrap(), decoded);
    }
}

#[test]
fn other_versions_and_lengths_are_refused() {
    let op = WriteOp::Delete { partition: None, keys: PrimaryKeys::Int64(vec![1]) };
    let mut record = EncodedWrite::new(ID, &op).stamped(Timestamp(5));
    record.push(0);
    assert!(decode(&record).is_err());
    record.pop();
    record[0] = 3;
    assert!(decode(&record).unwrap_err().problem.contains("version 3"));
}

proptest! {
    #[test]
    fn damage_never_panics(position in 0_usize..2000, value: u8, cut in 0_usize..2000) {
        let op = WriteOp::Upsert(vec![(PartitionId(1), batch(40))]);
        let mut record = EncodedWrite::new(ID, &op).stamped(Timestamp(5));
        let position = position % record.len();
        record[position] = value;
        let _ = decode(&record);
        record.truncate(cut);
        let _ = decode(&record);
    }
}
