//! Files of every released version open for ever, and this build writes what its version says.
//!
//! After a deliberate change of a format: raise its version, keep the old files, add new ones with
//! `REDKITE_WRITE_GOLDEN=1 cargo test -p redkite-storage --test golden`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod samples;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redkite_storage::format::{
    DELETES_VERSION, KeyDeletes, RowAt, RowDeletes, SEGMENT_VERSION, SegmentFile, write_segment,
};
use redkite_storage::{Mapped, ObjectWriter};
use redkite_types::{Column, PartitionId, PrimaryKeys, Timestamp};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn assert_golden(name: &str, written: &[u8]) {
    let path = golden(name);
    if std::env::var_os("REDKITE_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, written).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert!(kept == written, "{name}: this build writes other bytes under the same version");
}

#[test]
fn segment_version_1() {
    assert_eq!(SEGMENT_VERSION, 1);
    let dir = tempfile::tempdir().unwrap();
    let (rows, stamps) = (samples::batch(70, -5), samples::timestamps(70, 3));
    let mut out = ObjectWriter::begin("segments/1/2/data.rks", dir.path().join("tmp")).unwrap();
    let order: Vec<RowAt> = (0..70).map(|row| RowAt { source: 0, row }).collect();
    write_segment(&mut out, &samples::schema(), &[samples::source(&rows, &stamps)], &order).unwrap();
    assert_golden("segment-v1.rks", &std::fs::read(out.temporary()).unwrap());

    let file = SegmentFile::open(Arc::new(Mapped::open(&golden("segment-v1.rks")).unwrap())).unwrap();
    file.verify().unwrap();
    assert_eq!(file.timestamps().unwrap(), stamps);
    for column in &rows.columns {
        let view = file.column(column.field).unwrap().unwrap();
        let mut back = Column::empty(column.field, column.data.data_type(), view.data.dim());
        back.append_rows(view, 0..70);
        assert_eq!(&back, column);
    }
}

#[test]
fn deletes_version_1() {
    assert_eq!(DELETES_VERSION, 1);
    let timestamps = vec![Timestamp(30), Timestamp(20), Timestamp(10)];
    let partitions = vec![None, Some(PartitionId(5)), None];
    let ints = KeyDeletes {
        keys: PrimaryKeys::Int64(vec![-1, 0, 7]),
        timestamps: timestamps.clone(),
        partitions: partitions.clone(),
    };
    assert_golden("keys-int64-v1.rkd", &ints.encode());
    assert_eq!(read(KeyDeletes::decode, "keys-int64-v1.rkd"), ints);

    let keys = PrimaryKeys::VarChar(["", "a", "ä"].into_iter().collect());
    let texts = KeyDeletes { keys, timestamps: timestamps.clone(), partitions };
    assert_golden("keys-varchar-v1.rkd", &texts.encode());
    assert_eq!(read(KeyDeletes::decode, "keys-varchar-v1.rkd"), texts);

    let rows = RowDeletes { rows: vec![0, 3, 69], timestamps };
    assert_golden("rows-v1.rkd", &rows.encode());
    assert_eq!(read(RowDeletes::decode, "rows-v1.rkd"), rows);
}

fn read<T>(decode: fn(&str, &[u8]) -> redkite_storage::Result<T>, name: &str) -> T {
    decode(name, &std::fs::read(golden(name)).unwrap()).unwrap()
}
