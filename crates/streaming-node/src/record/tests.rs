use proptest::prelude::*;
use redkite_types::{Batch, Bitmap, Column, ColumnData, FieldId, PrimaryKeys, Timestamp, VarColumn};

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
    let record = EncodedWrite::new(op).stamped(Timestamp(77));
    assert_eq!(decode(&record).unwrap(), (Timestamp(77), op.clone()));
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

/// Logs of released versions are read for ever: this record is what version 1 writes.
#[test]
fn format_is_golden() {
    let op = WriteOp::Delete { partition: Some(PartitionId(9)), keys: PrimaryKeys::Int64(vec![258]) };
    let record = EncodedWrite::new(&op).stamped(Timestamp(5));
    let golden: &[u8] = &[
        1, 3, 0, 0, 0, 0, 0, 0, // version, kind
        5, 0, 0, 0, 0, 0, 0, 0, // timestamp
        1, 9, 0, 0, 0, 0, 0, 0, 0, // partition
        0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, // keys
    ];
    assert_eq!(record, golden);
    let op = WriteOp::Insert(vec![(
        PartitionId(1),
        Batch::new(vec![Column::new(FieldId(100), ColumnData::VarChar(["ab"].iter().collect()))]),
    )]);
    let golden: &[u8] = &[
        1, 1, 0, 0, 0, 0, 0, 0, // version, kind
        6, 0, 0, 0, 0, 0, 0, 0, // timestamp
        1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // parts, partition
        1, 0, 0, 0, 1, 0, 0, 0, // columns, rows
        100, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 0, // field, type, dim, validity
        2, 0, 0, 0, b'a', b'b', // lengths, bytes
    ];
    assert_eq!(EncodedWrite::new(&op).stamped(Timestamp(6)), golden);
}

#[test]
fn other_versions_and_lengths_are_refused() {
    let op = WriteOp::Delete { partition: None, keys: PrimaryKeys::Int64(vec![1]) };
    let mut record = EncodedWrite::new(&op).stamped(Timestamp(5));
    record.push(0);
    assert!(decode(&record).is_err());
    record.pop();
    record[0] = 2;
    assert!(decode(&record).unwrap_err().problem.contains("version 2"));
}

proptest! {
    #[test]
    fn damage_never_panics(position in 0_usize..2000, value: u8, cut in 0_usize..2000) {
        let op = WriteOp::Upsert(vec![(PartitionId(1), batch(40))]);
        let mut record = EncodedWrite::new(&op).stamped(Timestamp(5));
        let position = position % record.len();
        record[position] = value;
        let _ = decode(&record);
        record.truncate(cut);
        let _ = decode(&record);
    }
}
