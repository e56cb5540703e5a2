use redkite_types::{Column, ColumnData};

use super::*;
use crate::read::KeyLookup;

const KEY: FieldId = FieldId(100);

fn segment() -> GrowingSegment {
    let key = FieldSchema {
        id: KEY,
        name: "id".to_owned(),
        description: String::new(),
        data_type: DataType::Int64,
        primary_key: true,
        auto_id: false,
        nullable: false,
        default_value: None,
        dynamic: false,
        partition_key: false,
        clustering_key: false,
        dim: 0,
        max_length: 0,
        type_params: Vec::new(),
    };
    GrowingSegment::new(&key)
}

fn rows(keys: impl IntoIterator<Item = i64>) -> Batch {
    Batch::new(vec![Column::new(KEY, ColumnData::Int64(keys.into_iter().collect()))])
}

#[test]
fn chunks_stay_few() {
    let segment = segment();
    for key in 0..3000 {
        segment.insert(rows([key]), Timestamp(1)).unwrap();
    }
    assert_eq!(segment.rows(), 3000);
    let chunks = segment.state.read().slots.len();
    assert!(chunks <= 12, "{chunks} chunks");
    let view = segment.view(Visibility { read: Timestamp(1), expired_before: None });
    let keys = PrimaryKeys::Int64(vec![2999, 7, 5000]);
    assert_eq!(view.rows_of(&keys).unwrap(), [7, 2999]);
}

#[test]
fn rows_of_another_shape_do_not_join() {
    let segment = segment();
    segment.insert(rows([1]), Timestamp(1)).unwrap();
    let mut wider = rows([2]);
    wider.columns.push(Column::new(FieldId(101), ColumnData::Bool(vec![true])));
    segment.insert(wider, Timestamp(2)).unwrap();
    assert_eq!(segment.state.read().slots.len(), 2);
    assert_eq!(segment.span(), Some((Timestamp(1), Timestamp(2))));
}

#[test]
fn what_does_not_fit_is_refused() {
    let segment = segment();
    let no_key = Batch::new(vec![Column::new(FieldId(101), ColumnData::Bool(vec![true]))]);
    assert!(matches!(segment.insert(no_key, Timestamp(1)), Err(Error::NoKeys { .. })));
    let text = Batch::new(vec![Column::new(KEY, ColumnData::Bool(vec![true]))]);
    assert!(matches!(segment.insert(text, Timestamp(1)), Err(Error::NoKeys { .. })));
    let unstamped = segment.insert_stamped(rows([1]), Vec::new());
    assert!(matches!(unstamped, Err(Error::Timestamps { rows: 1, timestamps: 0 })));
    let text_keys = PrimaryKeys::VarChar(["a"].into_iter().collect());
    assert!(matches!(segment.delete(&text_keys, Timestamp(1)), Err(Error::NoKeys { .. })));
    segment.insert(rows([]), Timestamp(1)).unwrap();
    assert_eq!((segment.rows(), segment.span()), (0, None));
}

#[test]
fn a_key_written_over_and_over_is_deleted_in_constant_time() {
    let segment = segment();
    let keys = PrimaryKeys::Int64(vec![1]);
    for at in 1..20_000 {
        segment.delete(&keys, Timestamp(at)).unwrap();
        segment.insert(rows([1]), Timestamp(at)).unwrap();
    }
    assert_eq!((segment.rows(), segment.deleted_rows()), (19_999, 19_998));
}

#[test]
fn readers_see_whole_batches_only() {
    let segment = std::sync::Arc::new(segment());
    let pool = redkite_runtime::CpuPool::new("test", 3).unwrap();
    pool.rayon().scope(|scope| {
        scope.spawn(|_| {
            for at in 1..=500_u64 {
                let first = i64::try_from(at).unwrap() * 10;
                segment.insert(rows(first..first + 10), Timestamp(at)).unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|_| {
                let mut seen = 0;
                while seen < 5000 {
                    let view = segment.view(Visibility { read: Timestamp::MAX, expired_before: None });
                    let rows = view.rows_of(&PrimaryKeys::Int64((10..5010).collect())).unwrap().len();
                    assert!(rows.is_multiple_of(10) && rows >= seen, "{rows} rows after {seen}");
                    seen = rows;
                }
            });
        }
    });
}
