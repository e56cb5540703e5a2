use proptest::prelude::*;
use redkite_types::{Column, ColumnData, FieldId, PrimaryKeys, Timestamp, VarColumn};

use super::*;

/// (key, score, timestamp)
type Hit = (i64, f32, u64);

fn hits() -> impl Strategy<Value = Vec<Hit>> {
    let score = prop::sample::select(vec![0.0_f32, -0.0, 0.25, 0.5, 1.0, -1.0, f32::INFINITY]);
    prop::collection::vec((0..20_i64, score, 1..5_u64), 0..12)
}

fn sort(hits: &mut [Hit], larger_is_nearer: bool) {
    hits.sort_by(|a, b| {
        let scores = if larger_is_nearer { b.1.partial_cmp(&a.1) } else { a.1.partial_cmp(&b.1) };
        scores.unwrap().then(a.0.cmp(&b.0)).then(b.2.cmp(&a.2))
    });
}

fn texts(keys: impl Iterator<Item = i64>) -> VarColumn {
    keys.map(|key| format!("k{key:03}")).collect()
}

/// A part whose output field repeats the key and the timestamp, so that mixed-up rows show.
fn search_part(queries: &[Vec<Hit>], varchar: bool) -> SearchPart {
    let all: Vec<Hit> = queries.iter().flatten().copied().collect();
    let keys: Vec<i64> = all.iter().map(|hit| hit.0).collect();
    SearchPart {
        nq: u32::try_from(queries.len()).unwrap(),
        topks: queries.iter().map(|hits| u32::try_from(hits.len()).unwrap()).collect(),
        ids: if varchar {
            PrimaryKeys::VarChar(texts(keys.iter().copied()))
        } else {
            PrimaryKeys::Int64(keys)
        },
        scores: all.iter().map(|hit| hit.1).collect(),
        timestamps: all.iter().map(|hit| Timestamp(hit.2)).collect(),
        columns: output(&all.iter().map(|hit| (hit.0, hit.2)).collect::<Vec<_>>()),
    }
}

fn output(rows: &[(i64, u64)]) -> Vec<Column> {
    let numbers = rows.iter().map(|(key, written)| key * 100 + i64::try_from(*written).unwrap()).collect();
    let names = rows.iter().map(|(key, written)| format!("{key}@{written}")).collect();
    vec![
        Column::new(FieldId(101), ColumnData::Int64(numbers)),
        Column::new(FieldId(102), ColumnData::VarChar(names)),
    ]
}

proptest! {
    #[test]
    fn search_equals_sorting_everything(
        parts in prop::collection::vec([hits(), hits()], 1..5),
        larger_is_nearer: bool, varchar: bool, offset in 0..4_usize, limit in 0..8_usize,
    ) {
        let mut expected: [Vec<Hit>; 2] = [Vec::new(), Vec::new()];
        let mut sorted = parts;
        for part in &mut sorted {
            for (query, hits) in part.iter_mut().enumerate() {
                sort(hits, larger_is_nearer);
                expected[query].extend(hits.iter());
            }
        }
        let expected = expected.map(|mut hits| {
            sort(&mut hits, larger_is_nearer);
            let mut seen = std::collections::HashSet::new();
            hits.retain(|hit| seen.insert(hit.0));
            hits.into_iter().skip(offset).take(limit).collect::<Vec<_>>()
        });
        let parts: Vec<SearchPart> = sorted.iter().map(|part| search_part(part, varchar)).collect();
        let merged = merge_search(parts.clone(), larger_is_nearer, offset, limit).unwrap();
        prop_assert_eq!(&merged, &search_part(&expected, varchar));
        prop_assert_eq!(&merge_search(vec![merged.clone()], larger_is_nearer, 0, limit).unwrap(), &merged);

        // Merging in two steps is merging at once.
        let steps: Vec<SearchPart> = parts
            .chunks(2)
            .map(|some| merge_search(some.to_vec(), larger_is_nearer, 0, offset + limit).unwrap())
            .collect();
        prop_assert_eq!(merge_search(steps, larger_is_nearer, offset, limit).unwrap(), merged);
    }

    #[test]
    fn retrieve_keeps_the_latest_of_each_key(
        parts in prop::collection::vec(prop::collection::vec((0..20_i64, 1..5_u64), 0..15), 1..5),
        varchar: bool, offset in 0..4_usize, limit in prop::option::of(0..10_usize),
    ) {
        let part = |rows: &[(i64, u64)]| RetrievePart {
            ids: if varchar {
                PrimaryKeys::VarChar(texts(rows.iter().map(|row| row.0)))
            } else {
                PrimaryKeys::Int64(rows.iter().map(|row| row.0).collect())
            },
            timestamps: rows.iter().map(|row| Timestamp(row.1)).collect(),
            columns: output(rows),
        };
        let mut latest = std::collections::BTreeMap::new();
        for (key, written) in parts.iter().flatten() {
            let newest = latest.entry(*key).or_insert(*written);
            *newest = (*newest).max(*written);
        }
        let expected: Vec<(i64, u64)> =
            latest.into_iter().skip(offset).take(limit.unwrap_or(usize::MAX)).collect();
        let merged = merge_retrieve(parts.iter().map(|rows| part(rows)).collect(), offset, limit).unwrap();
        prop_assert_eq!(merged, part(&expected));
    }
}

#[test]
fn empty_parts_without_columns_do_not_matter() {
    let full = search_part(&[vec![(1, 0.5, 1)]], false);
    let empty = SearchPart::empty(1, redkite_types::DataType::VarChar);
    assert_eq!(merge_search(vec![empty.clone(), full.clone()], true, 0, 10), Ok(full));
    assert_eq!(merge_search(vec![empty.clone()], true, 0, 10), Ok(empty));
    assert_eq!(merge_retrieve(Vec::new(), 0, None).map(|part| part.len()), Ok(0));
}

#[test]
fn parts_that_do_not_belong_together_are_errors() {
    let int = search_part(&[vec![(1, 0.5, 1)]], false);
    let text = search_part(&[vec![(1, 0.5, 1)]], true);
    assert_eq!(merge_search(vec![int.clone(), text], true, 0, 10), Err(ReduceError::KeyType));
    let two = SearchPart::empty(2, redkite_types::DataType::Int64);
    assert_eq!(
        merge_search(vec![int.clone(), two], true, 0, 10),
        Err(ReduceError::Queries { left: 1, right: 2 })
    );
    let mut bare = search_part(&[vec![(2, 0.5, 1)]], false);
    bare.columns.pop();
    let missing = ReduceError::Column { field: FieldId(102) };
    assert_eq!(merge_search(vec![int.clone(), bare], true, 0, 10).map(|part| part.len()), Err(missing));
    let mut short = int;
    short.scores.clear();
    assert!(matches!(
        merge_search(vec![short], true, 0, 10),
        Err(ReduceError::Length { what: "scores", .. })
    ));
}

#[test]
fn nan_is_farthest() {
    let part = search_part(&[vec![(1, 0.5, 1), (2, f32::NAN, 1)]], false);
    for larger_is_nearer in [true, false] {
        let merged = merge_search(vec![part.clone()], larger_is_nearer, 0, 1).unwrap();
        assert_eq!(merged.ids, PrimaryKeys::Int64(vec![1]));
    }
}

#[test]
fn rounding_is_to_decimals() {
    let mut scores = [0.12345, -2.5, 1e30, f32::INFINITY];
    round_decimal(&mut scores, 2);
    assert_eq!(scores, [0.12, -2.5, 1e30, f32::INFINITY]);
    round_decimal(&mut scores, 0);
    assert_eq!(scores, [0.0, -3.0, 1e30, f32::INFINITY]);
    round_decimal(&mut scores, -1);
    assert_eq!(scores, [0.0, -3.0, 1e30, f32::INFINITY]);
}
