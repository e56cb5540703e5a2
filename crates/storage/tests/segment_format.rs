//! Segment and delete files: what goes in comes out; damage is reported, never served.

#![allow(clippy::unwrap_used, reason = "a test")]

mod samples;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use redkite_storage::format::{KeyDeletes, RowAt, RowDeletes, RowSource, SegmentFile, write_segment};
use redkite_storage::{Error, Mapped, ObjectWriter};
use redkite_types::{Batch, DataType, FieldId, PrimaryKey, PrimaryKeys, Timestamp, Value};
use samples::{batch, schema, source, timestamps};

fn write(path: &Path, batches: &[(Batch, Vec<Timestamp>)], order: &[RowAt]) -> Result<(), Error> {
    let mut out = ObjectWriter::begin("segments/1/2/data.rks", path.with_extension("tmp"))?;
    let sources: Vec<RowSource<'_>> =
        batches.iter().map(|(batch, timestamps)| source(batch, timestamps)).collect();
    write_segment(&mut out, &schema(), &sources, order)?;
    std::fs::copy(out.temporary(), path).unwrap();
    Ok(())
}

fn in_order(rows: usize) -> Vec<RowAt> {
    (0..rows).map(|row| RowAt { source: 0, row: u32::try_from(row).unwrap() }).collect()
}

fn open(path: &Path) -> Result<SegmentFile, Error> {
    SegmentFile::open(Arc::new(Mapped::open(path)?))
}

#[test]
fn every_column_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.rks");
    let (rows, stamps) = (batch(1000, 0), timestamps(1000, 7));
    write(&path, &[(rows.clone(), stamps.clone())], &in_order(1000)).unwrap();

    let file = open(&path).unwrap();
    file.verify().unwrap();
    assert_eq!(file.rows(), 1000);
    assert_eq!(file.timestamps().unwrap(), stamps);
    assert_eq!(file.stats().min_key, Some(PrimaryKey::Int64(0)));
    assert_eq!(file.stats().repeated_keys, 0);
    assert_eq!(file.bounds(FieldId(104)), Some((&Value::Int64(0), &Value::Int64(999))));
    assert_eq!(file.fields().count(), schema().fields.len());
    for column in &rows.columns {
        let view = file.column(column.field).unwrap().unwrap();
        let mut back = redkite_types::Column::empty(column.field, column.data.data_type(), view.data.dim());
        back.append_rows(view, 0..1000);
        assert_eq!(&back, column);
    }
    assert!(file.column(FieldId(999)).unwrap().is_none());
}

#[test]
fn rows_of_several_sources_are_gathered_in_order_and_lacking_fields_filled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.rks");
    let (even, mut odd) = (batch(10, 0), batch(10, 0));
    odd.columns.retain(|column| ![FieldId(103), FieldId(107)].contains(&column.field));
    let order: Vec<RowAt> = (0..10).map(|row| RowAt { source: row % 2, row }).collect();
    write(&path, &[(even, timestamps(10, 1)), (odd, timestamps(10, 1))], &order).unwrap();

    let file = open(&path).unwrap();
    let ints = file.column(FieldId(103)).unwrap().unwrap();
    assert_eq!(ints.data.value(4), Value::Int64(4));
    assert_eq!(ints.data.value(5), Value::Int64(42), "the field's default");
    let texts = file.column(FieldId(107)).unwrap().unwrap();
    assert!(!texts.is_valid(5), "no default: null");
}

#[test]
fn unsorted_rows_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let order = [RowAt { source: 0, row: 1 }, RowAt { source: 0, row: 0 }];
    let refused = write(&dir.path().join("data.rks"), &[(batch(2, 0), timestamps(2, 1))], &order);
    assert!(matches!(refused, Err(Error::Mismatch { field: 100, .. })), "{refused:?}");
}

#[test]
fn no_rows_are_a_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.rks");
    write(&path, &[(batch(1, 0), timestamps(1, 1))], &[]).unwrap();
    let file = open(&path).unwrap();
    file.verify().unwrap();
    assert_eq!(file.rows(), 0);
    for (field, _, _) in file.fields() {
        assert!(file.column(field).unwrap().unwrap().data.is_empty());
    }
}

#[test]
fn every_cut_is_noticed_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.rks");
    write(&path, &[(batch(3, 0), timestamps(3, 1))], &in_order(3)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(dir.path().join("cut.rks"), &whole[..length]).unwrap();
        let error = open(&dir.path().join("cut.rks")).unwrap_err();
        assert!(error.to_string().contains("cut.rks"), "{error}");
    }
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.rks");
    write(&path, &[(batch(3, 0), timestamps(3, 1))], &in_order(3)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let flipped = dir.path().join("flipped.rks");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5a;
        std::fs::write(&flipped, &bytes).unwrap();
        match open(&flipped).and_then(|file| file.verify()) {
            Ok(()) => assert_eq!(whole[at], 0, "only padding may change unnoticed, not byte {at}"),
            Err(Error::Corrupt { path, offset, .. }) => {
                assert!(path.ends_with("flipped.rks") && offset <= whole.len() as u64);
            }
            Err(Error::UnsupportedVersion { .. }) => assert!((8..12).contains(&at)),
            Err(error) => panic!("{error}"),
        }
        std::fs::remove_file(&flipped).unwrap();
    }
}

#[test]
fn a_damaged_scalar_is_noticed_when_read_and_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.rks");
    write(&path, &[(batch(100, 0), timestamps(100, 1))], &in_order(100)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let needle: Vec<u8> = (0..100_i64).flat_map(i64::to_le_bytes).collect();
    let keys_at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[keys_at + 9] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes).unwrap();

    let file = open(&path).unwrap();
    assert!(file.column(FieldId(101)).unwrap().is_some());
    for _ in 0..2 {
        let Err(Error::Corrupt { offset, .. }) = file.keys() else { panic!("damage not noticed") };
        assert_eq!(offset, keys_at as u64);
    }
}

proptest! {
    #[test]
    fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(KeyDeletes::decode("x.rkd", &bytes).is_err());
        prop_assert!(RowDeletes::decode("x.rkd", &bytes).is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.rks");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(open(&path).is_err());
    }

    #[test]
    fn deletes_round_trip_sorted(mut deletes in proptest::collection::vec((-50_i64..50, 0_u64..100), 0..60)) {
        let stamps = |list: &[(i64, u64)]| list.iter().map(|pair| Timestamp(pair.1)).collect::<Vec<_>>();
        let ints = KeyDeletes {
            keys: PrimaryKeys::Int64(deletes.iter().map(|pair| pair.0).collect()),
            timestamps: stamps(&deletes),
            partitions: vec![None; deletes.len()],
        };
        let texts = KeyDeletes {
            keys: PrimaryKeys::VarChar(deletes.iter().map(|pair| pair.0.to_string()).collect()),
            timestamps: stamps(&deletes),
            partitions: vec![None; deletes.len()],
        };
        let back = KeyDeletes::decode("a.rkd", &ints.encode()).unwrap();
        let texts_back = KeyDeletes::decode("b.rkd", &texts.encode()).unwrap();
        deletes.sort_unstable();
        prop_assert_eq!(back.keys, PrimaryKeys::Int64(deletes.iter().map(|pair| pair.0).collect()));
        prop_assert_eq!(back.timestamps, stamps(&deletes));
        prop_assert_eq!(texts_back.len(), deletes.len());
        prop_assert!(texts_back.keys.iter().is_sorted());
    }
}

#[test]
fn row_deletes_keep_the_first_delete_of_a_row() {
    let deletes =
        RowDeletes { rows: vec![9, 2, 9], timestamps: vec![Timestamp(50), Timestamp(60), Timestamp(40)] };
    let back = RowDeletes::decode("a.rkd", &deletes.encode()).unwrap();
    assert_eq!(back, RowDeletes { rows: vec![2, 9], timestamps: vec![Timestamp(60), Timestamp(40)] });
}

#[test]
fn damaged_delete_files_are_refused() {
    let keys = PrimaryKeys::VarChar(["a", "bc", ""].into_iter().collect());
    let bytes = KeyDeletes { keys, timestamps: vec![Timestamp(3); 3], partitions: vec![None; 3] }.encode();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x40;
        assert!(KeyDeletes::decode("d.rkd", &flipped).is_err(), "byte {at}");
        assert!(KeyDeletes::decode("d.rkd", &bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(RowDeletes::decode("d.rkd", &bytes).is_err(), "another kind");
}

#[test]
fn all_types_are_in_the_sample() {
    let types: Vec<DataType> = schema().fields.iter().map(|field| field.data_type).collect();
    assert_eq!(types.len(), 13, "12 types, VarChar also nullable: {types:?}");
}
