use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;
use redkite_types::{Bitmap, Column, ColumnData, ColumnView, DataType, FieldId, Value, VarColumn};

use super::*;

const TYPES: [DataType; 8] = [
    DataType::Bool,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::Float,
    DataType::Double,
    DataType::VarChar,
];

/// Columns with many repetitions, extremes, nulls, NaN and both zeros.
fn column(data_type: DataType) -> impl Strategy<Value = Column> {
    prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.8)), 0..300).prop_map(
        move |rows| {
            let pool = pool(data_type);
            let mut data = ColumnData::empty(data_type, 0);
            rows.iter().for_each(|(index, _)| data.push_value(index.get(&pool)));
            let valid = Bitmap::from_bools(rows.iter().map(|(_, valid)| *valid));
            Column { field: FieldId(100), data, validity: (!valid.all()).then_some(valid) }
        },
    )
}

fn pool(data_type: DataType) -> Vec<Value> {
    match data_type {
        DataType::Bool => vec![Value::Bool(false), Value::Bool(true)],
        DataType::Int8 => [-128, -3, 0, 1, 2, 127].map(Value::Int64).to_vec(),
        DataType::Int16 => [-32_768, -3, 0, 1, 2, 32_767].map(Value::Int64).to_vec(),
        DataType::Int32 => [i64::from(i32::MIN), -3, 0, 1, 2, i64::from(i32::MAX)].map(Value::Int64).to_vec(),
        DataType::Int64 => [i64::MIN, -3, 0, 1, 2, 7, 8, 9, i64::MAX].map(Value::Int64).to_vec(),
        DataType::Float | DataType::Double => {
            [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 0.5, 2.0, 1e30, f64::INFINITY, f64::NAN]
                .map(|value| Value::Double(f64::from(value as f32)))
                .to_vec()
        }
        _ => ["", "a", "ab", "abc", "b", "é", "éa", "\u{10ffff}"]
            .map(|text| Value::VarChar(text.into()))
            .to_vec(),
    }
}

/// Values to look for: all in the pool, and some that are in no column.
fn probes(data_type: DataType) -> Vec<Value> {
    let mut probes = pool(data_type);
    probes.extend([Value::Int64(5), Value::Double(0.25), Value::VarChar("aa".into()), Value::Null]);
    probes
}

fn scan(column: ColumnView<'_>, wanted: impl Fn(&Value) -> bool) -> Bitmap {
    Bitmap::from_fn(column.data.len(), |row| column.is_valid(row) && wanted(&column.data.value(row)))
}

fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Int64(a), Value::Int64(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::VarChar(a), Value::VarChar(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn check(kind: ScalarIndexKind, column: &Column) {
    let view = column.view();
    let index = open(Arc::new(build(kind, view).unwrap())).unwrap();
    let probes = probes(view.data.data_type());
    assert_eq!((index.kind(), index.rows()), (kind, column.len()));
    assert_eq!(index.valid_rows(), Bitmap::from_fn(column.len(), |row| view.is_valid(row)));
    for probe in &probes {
        let equal = scan(view, |value| order(value, probe).is_some_and(std::cmp::Ordering::is_eq));
        assert_eq!(index.equals(probe), equal, "{kind} == {probe:?}");
        for (bound, test) in [
            (
                Bound::Included(probe),
                Box::new(std::cmp::Ordering::is_ge) as Box<dyn Fn(std::cmp::Ordering) -> bool>,
            ),
            (Bound::Excluded(probe), Box::new(std::cmp::Ordering::is_gt)),
        ] {
            let above = scan(view, |value| order(value, probe).is_some_and(&test));
            assert_eq!(index.range(bound, Bound::Unbounded), Some(above), "{kind} from {bound:?}");
        }
        for other in &probes {
            let inside = scan(view, |value| {
                order(value, probe).is_some_and(std::cmp::Ordering::is_ge)
                    && order(value, other).is_some_and(std::cmp::Ordering::is_lt)
            });
            assert_eq!(index.range(Bound::Included(probe), Bound::Excluded(other)), Some(inside));
        }
    }
    let any = scan(view, |value| {
        probes.iter().any(|probe| order(value, probe).is_some_and(std::cmp::Ordering::is_eq))
    });
    assert_eq!(index.any_of(&probes), any);
    check_texts(index.as_ref(), view);
}

fn check_texts(index: &dyn ScalarIndex, view: ColumnView<'_>) {
    let text_is =
        |test: &dyn Fn(&str) -> bool| scan(view, |value| matches!(value, Value::VarChar(text) if test(text)));
    let is_text = index.data_type() == DataType::VarChar;
    for prefix in ["", "a", "ab", "é", "zz"] {
        let expected = is_text.then(|| text_is(&|text| text.starts_with(prefix)));
        assert_eq!(index.prefix(prefix), expected);
    }
    let expected = is_text.then(|| text_is(&|text| text.contains('b')));
    assert_eq!(index.matching(&|text| text.contains('b')), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_index_equals_a_scan(columns in TYPES.map(column).into_iter().collect::<Vec<_>>()) {
        for column in &columns {
            let supported = |kind: &ScalarIndexKind| kind.supports(column.data.data_type());
            ScalarIndexKind::ALL.into_iter().filter(supported).for_each(|kind| check(kind, column));
        }
    }

    #[test]
    fn damage_is_an_error_or_harmless(column in column(DataType::VarChar), kind in 0..4_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8, cut in any::<prop::sample::Index>()) {
        let bytes = build(ScalarIndexKind::ALL[kind], column.view()).unwrap();
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= flip;
        // Only padding between sections is not covered by a checksum.
        if let Ok(index) = open(Arc::new(flipped)) {
            prop_assert_eq!(index.valid_rows(), open(Arc::new(bytes.clone())).unwrap().valid_rows());
        }
        let cut = cut.index(bytes.len());
        if let Ok(index) = open(Arc::new(bytes[..cut].to_vec())) {
            // Cutting nothing but an empty last section leaves a whole index.
            prop_assert_eq!(index.rows(), column.len());
        }
    }

    #[test]
    fn random_bytes_do_not_open(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(Arc::new(bytes)).is_err());
    }

    /// Checksums guard against damage; the checks behind them against files written wrongly.
    #[test]
    fn nonsense_with_right_checksums_does_not_panic(
        kind in 0..6_u32, rows in 0..200_u64, entries in 0..20_u64, wire in prop::sample::select(vec![1, 5, 11, 21, 99]),
        lengths in prop::collection::vec(0..160_usize, 6), fill in any::<u8>(),
    ) {
        let header = format::Header { kind, data_type: wire, rows, entries };
        let sections: Vec<Vec<u8>> = lengths.iter().map(|len| vec![fill; *len]).collect();
        let sections: Vec<&[u8]> = sections.iter().map(Vec::as_slice).collect();
        let bytes = format::encode(header, sections.try_into().unwrap());
        if let Ok(index) = open(Arc::new(bytes)) {
            let _ = index.equals(&Value::Int64(1));
            let _ = index.range(Bound::Unbounded, Bound::Unbounded);
            let _ = index.prefix("");
            let _ = index.valid_rows();
        }
    }
}

#[test]
fn unaligned_bytes_are_read_too() {
    struct Shifted(Vec<u8>);
    impl AsRef<[u8]> for Shifted {
        fn as_ref(&self) -> &[u8] {
            &self.0[1..]
        }
    }
    let column = Column::new(FieldId(100), ColumnData::Int64(vec![3, 1, 3]));
    let mut bytes = vec![0];
    bytes.extend(build(ScalarIndexKind::Inverted, column.view()).unwrap());
    let index = open(Arc::new(Shifted(bytes))).unwrap();
    assert_eq!(index.equals(&Value::Int64(3)), Bitmap::from_bools([true, false, true]));
}

#[test]
fn kinds_index_what_milvus_lets_them() {
    let refused =
        |kind: ScalarIndexKind| TYPES.into_iter().filter(move |data_type| !kind.supports(*data_type));
    assert_eq!(refused(ScalarIndexKind::Inverted).count(), 0);
    assert_eq!(refused(ScalarIndexKind::StlSort).collect::<Vec<_>>(), [DataType::Bool]);
    assert_eq!(refused(ScalarIndexKind::Bitmap).collect::<Vec<_>>(), [DataType::Float, DataType::Double]);
    assert_eq!(refused(ScalarIndexKind::Trie).count(), 7);
    assert!(ScalarIndexKind::ALL.iter().all(|kind| !kind.supports(DataType::Json)));
    assert_eq!("TRIE".parse(), Ok(ScalarIndexKind::Trie));
    assert!("HNSW".parse::<ScalarIndexKind>().is_err());
}

/// Files of version 1 open for ever: these bytes were written by the first release.
#[test]
fn version_1_is_golden() {
    let mut texts = VarColumn::new();
    ["b", "a", "", "b"].iter().for_each(|text| texts.push(text.as_bytes()));
    let validity = Some(Bitmap::from_bools([true, true, false, true]));
    let column = Column { field: FieldId(100), data: ColumnData::VarChar(texts), validity };
    for (kind, golden) in GOLDEN {
        let built = build(kind, column.view()).unwrap();
        assert!(built == golden, "{kind}: a new layout takes a new version");
        let index = open(Arc::new(golden.to_vec())).unwrap();
        assert_eq!(index.equals(&Value::VarChar("b".into())), Bitmap::from_bools([true, false, false, true]));
    }
}

const GOLDEN: [(ScalarIndexKind, &[u8]); 4] = [
    (ScalarIndexKind::Inverted, include_bytes!("golden/v1_inverted.rksi")),
    (ScalarIndexKind::StlSort, include_bytes!("golden/v1_stl_sort.rksi")),
    (ScalarIndexKind::Trie, include_bytes!("golden/v1_trie.rksi")),
    (ScalarIndexKind::Bitmap, include_bytes!("golden/v1_bitmap.rksi")),
];
