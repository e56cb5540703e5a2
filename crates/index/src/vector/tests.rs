//! Every kind of index keeps the laws of [`VectorIndex`] on generated data.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use half::{bf16, f16};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const KINDS: [VectorIndexKind; 4] = [
    VectorIndexKind::Flat,
    VectorIndexKind::IvfFlat { nlist: 32 },
    VectorIndexKind::IvfSq8 { nlist: 32 },
    VectorIndexKind::Hnsw { m: 12, ef_construction: 100 },
];
const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

/// Rows in 16 clusters of different widths that are flat in most directions, as embeddings are. The clusters
/// depend on the dimension only, so that rows of one seed are queries for rows of another.
fn clustered(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
    const CLUSTERS: usize = 16;
    const FLAT: usize = 8;
    let mut rng = StdRng::seed_from_u64(dim as u64);
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let (centres, axes) = (draw(CLUSTERS * dim), draw(CLUSTERS * FLAT * dim));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(rows * dim);
    for _ in 0..rows {
        let cluster = rng.random_range(0..CLUSTERS);
        let width = 0.1 + cluster as f32 * 0.03;
        let along: [f32; FLAT] = std::array::from_fn(|_| rng.random_range(-width..width));
        for place in 0..dim {
            let axis = |number: usize| axes[(cluster * FLAT + number) * dim + place];
            let spread: f32 = along.iter().enumerate().map(|(number, along)| along * axis(number)).sum();
            values.push(centres[cluster * dim + place] + spread + rng.random_range(-0.02..0.02));
        }
    }
    values
}

fn view(dim: usize, values: &[f32]) -> VectorsView<'_> {
    VectorsView::new(dim, Elements::F32(values)).unwrap()
}

fn spec(kind: VectorIndexKind, metric: Metric) -> VectorIndexSpec {
    VectorIndexSpec { kind, metric }
}

fn build_bytes(spec: VectorIndexSpec, vectors: VectorsView<'_>) -> Vec<u8> {
    let progress = AtomicU64::new(0);
    let context = BuildContext { pool: None, progress: &progress, cancel: &AtomicBool::new(false), seed: 42 };
    let artifact = build(spec, vectors, &context).unwrap();
    assert_eq!(progress.load(Ordering::Relaxed), vectors.rows() as u64);
    artifact.to_bytes()
}

fn built(spec: VectorIndexSpec, vectors: VectorsView<'_>) -> Box<dyn VectorIndex> {
    open(Arc::new(build_bytes(spec, vectors))).unwrap()
}

fn exact(
    vectors: VectorsView<'_>,
    query: &[f32],
    metric: Metric,
    params: &SearchParams,
    filter: Option<&Bitmap>,
) -> Vec<Hit> {
    let mut top = TopK::new(params.k, metric, params.range);
    brute_force(vectors, None, query, metric, filter, &mut top).unwrap();
    top.into_hits()
}

fn recall(found: &[Hit], truth: &[Hit]) -> f64 {
    let truth: HashSet<u32> = truth.iter().map(|hit| hit.row).collect();
    let hit = found.iter().filter(|hit| truth.contains(&hit.row)).count();
    hit as f64 / truth.len().max(1) as f64
}

/// Mean recall over some queries, after checking the laws for each.
fn mean_recall(
    index: &dyn VectorIndex,
    vectors: VectorsView<'_>,
    params: &SearchParams,
    filter: Option<&Bitmap>,
) -> f64 {
    let (metric, dim) = (index.spec().metric, vectors.dim());
    let queries = clustered(40, dim, 99);
    let mut scratch = Scratch::default();
    let recalls = queries.chunks(dim).map(|query| {
        let hits = index.search(vectors, query, params, filter, &mut scratch).unwrap();
        let truth = exact(vectors, query, metric, params, filter);
        check_laws(&hits, &truth, metric, params, filter);
        check_scores(&hits, vectors, query, metric);
        recall(&hits, &truth)
    });
    recalls.sum::<f64>() / 40.0
}

fn check_laws(hits: &[Hit], truth: &[Hit], metric: Metric, params: &SearchParams, filter: Option<&Bitmap>) {
    assert_eq!(hits.len(), truth.len(), "as many hits as rows qualify, up to k");
    let rows: HashSet<u32> = hits.iter().map(|hit| hit.row).collect();
    assert_eq!(rows.len(), hits.len(), "no row twice");
    assert!(hits.iter().all(|hit| filter.is_none_or(|filter| filter.get(hit.row as usize))));
    assert!(hits.iter().all(|hit| params.range.is_none_or(|range| range.contains(metric, hit.score))));
    let distances: Vec<f32> = hits.iter().map(|hit| order::turn(metric, hit.score)).collect();
    assert!(distances.is_sorted(), "best first");
}

fn check_scores(hits: &[Hit], vectors: VectorsView<'_>, query: &[f32], metric: Metric) {
    let mut row = vec![0.0; vectors.dim()];
    for hit in hits {
        vectors.read_row(hit.row as usize, &mut row);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let expected = match metric {
            Metric::L2 => query.iter().zip(&row).map(|(q, r)| f64::from(q - r).powi(2)).sum(),
            Metric::Ip => dot(query, &row),
            Metric::Cosine => dot(query, &row) / (dot(query, query) * dot(&row, &row)).sqrt(),
        };
        assert!((f64::from(hit.score) - expected).abs() < 1e-3 * expected.abs().max(1.0));
    }
}

#[test]
fn recall_of_every_kind_and_metric() {
    for dim in [8, 96] {
        let values = clustered(4000, dim, 1);
        let vectors = view(dim, &values);
        for (kind, metric) in KINDS.iter().flat_map(|kind| METRICS.map(|metric| (*kind, metric))) {
            let index = built(spec(kind, metric), vectors);
            index.verify().unwrap();
            let params = SearchParams { ef: 64, nprobe: 16, ..SearchParams::default() };
            let recall = mean_recall(&*index, vectors, &params, None);
            assert!(recall >= 0.95, "{kind:?} {metric} {dim}: recall {recall}");
        }
    }
}

#[test]
fn recall_under_filters() {
    let dim = 48;
    let values = clustered(20_000, dim, 2);
    let vectors = view(dim, &values);
    for kind in KINDS {
        let index = built(spec(kind, Metric::L2), vectors);
        for percent in [0, 1, 5, 10, 20, 50, 90] {
            let mut rng = StdRng::seed_from_u64(5);
            let filter = Bitmap::from_fn(vectors.rows(), |_| rng.random_range(0..100) < percent);
            let params = SearchParams { ef: 64, nprobe: 16, ..SearchParams::default() };
            let recall = mean_recall(&*index, vectors, &params, Some(&filter));
            assert!(recall >= 0.95 || percent == 0, "{kind:?}, {percent} %: recall {recall}");
        }
    }
}

/// Most queries lie far from every row that passes, where all of those look alike.
#[test]
fn filters_that_go_with_the_vectors() {
    let dim = 40;
    let values = clustered(20_000, dim, 2);
    let vectors = view(dim, &values);
    let index = built(spec(KINDS[3], Metric::Cosine), vectors);
    for bound in [-0.2, 0.0, 0.3] {
        let filter = Bitmap::from_fn(vectors.rows(), |row| values[row * dim] < bound);
        let recall = mean_recall(&*index, vectors, &SearchParams::default(), Some(&filter));
        assert!(recall >= 0.9, "bound {bound}: recall {recall}");
    }
}

#[test]
fn ranges_are_filled_however_much_lies_before_them() {
    let dim = 32;
    let values = clustered(6000, dim, 3);
    let vectors = view(dim, &values);
    for (kind, metric) in KINDS.iter().flat_map(|kind| METRICS.map(|metric| (*kind, metric))) {
        let index = built(spec(kind, metric), vectors);
        let query = clustered(1, dim, 98);
        let everything = SearchParams { k: 6000, ..SearchParams::default() };
        let all = exact(vectors, &query, metric, &everything, None);
        for skipped in [0, 10, 100, 1000, 5900] {
            let range = Some(Range::worse_than(all[skipped].score));
            let params = SearchParams { k: 20, ef: 32, nprobe: 4, range };
            let recall = mean_recall(&*index, vectors, &params, None);
            assert!(
                recall >= 0.9
                    || matches!(kind, VectorIndexKind::IvfFlat { .. } | VectorIndexKind::IvfSq8 { .. })
            );
        }
        let range = Some(Range::radius(all[300].score, Some(all[200].score)));
        let params = SearchParams { k: 500, ef: 500, nprobe: 32, range };
        let hits = index.search(vectors, &query, &params, None, &mut Scratch::default()).unwrap();
        let truth = exact(vectors, &query, metric, &params, None);
        assert_eq!(truth.len(), 100);
        assert!(recall(&hits, &truth) > 0.95, "{kind:?} {metric}: {} hits", hits.len());
    }
}

/// Goes through all rows page by page, as an iterator does.
#[test]
fn pages_visit_every_row_once() {
    let dim = 33;
    let values = clustered(2000, dim, 4);
    let vectors = view(dim, &values);
    for kind in [KINDS[0], KINDS[3]] {
        let index = built(spec(kind, Metric::L2), vectors);
        let mut seen = HashSet::new();
        let mut range = None;
        loop {
            let params = SearchParams { k: 64, ef: 64, nprobe: 32, range };
            let hits = index.search(vectors, &values[..dim], &params, None, &mut Scratch::default()).unwrap();
            let Some(last) = hits.last() else { break };
            range = Some(Range::worse_than(last.score));
            assert!(hits.iter().all(|hit| seen.insert(hit.row)));
        }
        assert!(seen.len() > 1980, "{kind:?}: {} rows", seen.len());
    }
}

#[test]
fn half_precision_columns() {
    let dim = 64;
    let values = clustered(3000, dim, 6);
    let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
    let brains: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
    for elements in [Elements::F16(&halves), Elements::BF16(&brains)] {
        let vectors = VectorsView::new(dim, elements).unwrap();
        for (kind, metric) in KINDS.iter().flat_map(|kind| METRICS.map(|metric| (*kind, metric))) {
            let index = built(spec(kind, metric), vectors);
            let params = SearchParams { nprobe: 16, ..SearchParams::default() };
            let recall = mean_recall(&*index, vectors, &params, None);
            assert!(recall >= 0.95, "{kind:?} {metric}: recall {recall}");
        }
    }
}

#[test]
fn small_and_degenerate_sets() {
    let mut scratch = Scratch::default();
    for (kind, metric) in KINDS.iter().flat_map(|kind| METRICS.map(|metric| (*kind, metric))) {
        for (rows, dim) in [(0, 4), (1, 2), (2, 1), (3, 40), (50, 3)] {
            for value in [0.0, 1.0] {
                let values = vec![value; rows * dim];
                let vectors = view(dim, &values);
                let index = built(spec(kind, metric), vectors);
                let query = vec![1.0; dim];
                let params = SearchParams { k: 7, ..SearchParams::default() };
                let hits = index.search(vectors, &query, &params, None, &mut scratch).unwrap();
                assert_eq!(hits.len(), rows.min(7), "{kind:?} {metric} {rows} x {dim} of {value}");
                if metric == Metric::Cosine {
                    assert!(hits.iter().all(|hit| (hit.score - value).abs() < 1e-6), "cosine of zero is 0");
                }
                let none = Bitmap::filled(rows, false);
                assert!(
                    index.search(vectors, &query, &params, Some(&none), &mut scratch).unwrap().is_empty()
                );
            }
        }
    }
}

#[test]
fn many_copies_of_few_vectors() {
    let dim = 36;
    let distinct = clustered(5, dim, 7);
    let values: Vec<f32> =
        (0..5000).flat_map(|row| distinct[row % 5 * dim..(row % 5 + 1) * dim].to_vec()).collect();
    let vectors = view(dim, &values);
    for kind in KINDS {
        let index = built(spec(kind, Metric::L2), vectors);
        let params = SearchParams { k: 100, ef: 128, ..SearchParams::default() };
        let hits =
            index.search(vectors, &distinct[dim..2 * dim], &params, None, &mut Scratch::default()).unwrap();
        assert_eq!(hits.len(), 100);
        assert!(hits.iter().all(|hit| hit.row % 5 == 1 && hit.score == 0.0), "{kind:?}");
    }
}

#[test]
fn values_that_are_not_finite_do_not_panic() {
    let dim = 34;
    let mut values = clustered(1500, dim, 8);
    for (place, value) in [(3, f32::NAN), (400, f32::INFINITY), (9000, f32::MAX), (9001, f32::MIN)] {
        values[place] = value;
    }
    let vectors = view(dim, &values);
    for (kind, metric) in KINDS.iter().flat_map(|kind| METRICS.map(|metric| (*kind, metric))) {
        let index = built(spec(kind, metric), vectors);
        for odd in [f32::NAN, f32::INFINITY, 0.0, f32::MAX] {
            let query = vec![odd; dim];
            let hits = index
                .search(vectors, &query, &SearchParams::default(), None, &mut Scratch::default())
                .unwrap();
            assert_eq!(hits.len(), 10);
        }
    }
}

#[test]
fn the_widest_vectors() {
    let dim = 32_768;
    let values = clustered(40, dim, 9);
    let vectors = view(dim, &values);
    for kind in KINDS {
        let index = built(spec(kind, Metric::Cosine), vectors);
        let hits = index
            .search(vectors, &values[..dim], &SearchParams::default(), None, &mut Scratch::default())
            .unwrap();
        assert_eq!(hits[0].row, 0);
        assert!((hits[0].score - 1.0).abs() < 1e-5);
    }
}

#[test]
fn one_thread_and_one_seed_make_one_file() {
    let values = clustered(1000, 40, 10);
    for kind in KINDS {
        let one = build_bytes(spec(kind, Metric::L2), view(40, &values));
        assert_eq!(one, build_bytes(spec(kind, Metric::L2), view(40, &values)), "{kind:?}");
    }
}

#[test]
fn many_threads_build_as_well() {
    let dim = 40;
    let values = clustered(5000, dim, 11);
    let vectors = view(dim, &values);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    for kind in KINDS {
        let context = BuildContext {
            pool: Some(&pool),
            progress: &AtomicU64::new(0),
            cancel: &AtomicBool::new(false),
            seed: 1,
        };
        let bytes = build(spec(kind, Metric::L2), vectors, &context).unwrap().to_bytes();
        let index = open(Arc::new(bytes)).unwrap();
        let params = SearchParams { nprobe: 16, ..SearchParams::default() };
        assert!(mean_recall(&*index, vectors, &params, None) > 0.95);
    }
}

#[test]
fn cancelled_builds_stop() {
    let values = clustered(2000, 40, 12);
    for kind in KINDS {
        let context = BuildContext {
            pool: None,
            progress: &AtomicU64::new(0),
            cancel: &AtomicBool::new(true),
            seed: 1,
        };
        let result = build(spec(kind, Metric::L2), view(40, &values), &context);
        assert!(matches!(result, Err(IndexError::Cancelled)), "{kind:?}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let values = clustered(100, 8, 13);
    let mut scratch = Scratch::default();
    for kind in KINDS {
        let index = built(spec(kind, Metric::L2), view(8, &values));
        let params = SearchParams::default();
        let mut search = |vectors, query: &[f32], filter: Option<&Bitmap>| {
            index.search(vectors, query, &params, filter, &mut scratch).unwrap_err()
        };
        assert!(matches!(search(view(4, &values), &[0.0; 4], None), IndexError::Shape { .. }));
        assert!(matches!(search(view(8, &values), &[0.0; 7], None), IndexError::QueryDimension { .. }));
        let short = Bitmap::filled(99, true);
        assert!(matches!(search(view(8, &values), &[0.0; 8], Some(&short)), IndexError::Length { .. }));
    }
    let data = redkite_types::DataView::Int64(&[1, 2]);
    assert!(matches!(VectorsView::try_from(data), Err(IndexError::NotVectors { .. })));
    let wrong = spec(VectorIndexKind::Hnsw { m: 1, ef_construction: 10 }, Metric::L2);
    assert!(matches!(wrong.validate(), Err(IndexError::Parameter { name: "M", value: 1, .. })));
}

#[test]
fn queries_together_equal_queries_alone() {
    let values = clustered(700, 20, 14);
    let vectors = view(20, &values);
    let queries = clustered(9, 20, 15);
    let queries: Vec<&[f32]> = queries.chunks(20).collect();
    let filter = Bitmap::from_fn(700, |row| row % 3 != 0);
    for (metric, filter) in METRICS.iter().flat_map(|metric| [(*metric, None), (*metric, Some(&filter))]) {
        let norms = inverse_norms(vectors);
        let mut tops = vec![TopK::new(5, metric, None); 9];
        brute_force_many(vectors, Some(&norms), &queries, metric, filter, &mut tops).unwrap();
        for (query, top) in queries.iter().zip(tops) {
            let alone =
                exact(vectors, query, metric, &SearchParams { k: 5, ..SearchParams::default() }, filter);
            assert_eq!(top.into_hits(), alone);
        }
    }
}

/// Flips bits anywhere: opening fails, or searching gives something, but nothing panics.
#[test]
fn damaged_files_do_no_harm() {
    let dim = 36;
    let values = clustered(600, dim, 16);
    let vectors = view(dim, &values);
    let filter = Bitmap::from_fn(600, |row| row % 4 == 0);
    let mut rng = StdRng::seed_from_u64(17);
    for (kind, metric) in KINDS.iter().flat_map(|kind| METRICS.map(|metric| (*kind, metric))) {
        let whole = build_bytes(spec(kind, metric), vectors);
        for _ in 0..100 {
            let mut bytes = whole.clone();
            for _ in 0..rng.random_range(1..200) {
                let place = rng.random_range(0..bytes.len());
                bytes[place] ^= 1 << rng.random_range(0..8);
            }
            let Ok(index) = open(Arc::new(bytes)) else { continue };
            assert!(index.verify().is_err());
            for filter in [None, Some(&filter)] {
                let params = SearchParams { ef: 12, ..SearchParams::default() };
                let hits = index.search(vectors, &values[..dim], &params, filter, &mut Scratch::default());
                assert!(hits.unwrap().iter().all(|hit| hit.row < 600));
            }
        }
    }
}

/// Damage that the header's checksum vouches for: section contents are turned over entirely.
#[test]
fn nonsense_sections_do_no_harm() {
    let dim = 36;
    let values = clustered(3000, dim, 18);
    let vectors = view(dim, &values);
    let filter = Bitmap::from_fn(3000, |row| row % 5 == 0);
    let mut rng = StdRng::seed_from_u64(19);
    for kind in KINDS {
        let whole = build_bytes(spec(kind, Metric::Cosine), vectors);
        let header = u32::from_le_bytes(whole[16..20].try_into().unwrap()) as usize;
        for fill in 0..4_u8 {
            let mut bytes = whole.clone();
            bytes[header..].iter_mut().for_each(|byte| {
                *byte = match fill {
                    0 => 0,
                    1 => 0xff,
                    2 => rng.random(),
                    // Row numbers slightly too large, now and then.
                    _ => {
                        if rng.random_range(0..5) == 0 {
                            rng.random_range(0..16)
                        } else {
                            *byte
                        }
                    }
                }
            });
            let index = open(Arc::new(bytes)).unwrap();
            for filter in [None, Some(&filter)] {
                let params = SearchParams { ef: 20, ..SearchParams::default() };
                let _ =
                    index.search(vectors, &values[..dim], &params, filter, &mut Scratch::default()).unwrap();
            }
        }
    }
}

#[test]
fn cut_and_foreign_files_do_not_open() {
    let values = clustered(300, 8, 20);
    let whole = build_bytes(spec(KINDS[3], Metric::L2), view(8, &values));
    for len in (0..whole.len()).step_by(97) {
        assert!(matches!(open(Arc::new(whole[..len].to_vec())), Err(IndexError::Damaged { .. })));
    }
    let mut newer = whole.clone();
    newer[8] += 1;
    assert!(matches!(open(Arc::new(newer)), Err(IndexError::Version { found: 2, supported: 1 })));
    let mut odd = vec![0_u8];
    odd.extend(&whole);
    struct Shifted(Vec<u8>);
    impl AsRef<[u8]> for Shifted {
        fn as_ref(&self) -> &[u8] {
            &self.0[1..]
        }
    }
    open(Arc::new(Shifted(odd))).unwrap().verify().unwrap();
}

/// Small whole numbers, so that every processor computes the same.
fn whole_numbers() -> Vec<f32> {
    (0..40 * 32_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as f32 - 128.0).collect()
}

const GOLDEN: [(&str, VectorIndexKind, Metric); 4] = [
    ("v1_flat_cosine", VectorIndexKind::Flat, Metric::Cosine),
    ("v1_ivf_flat_ip", VectorIndexKind::IvfFlat { nlist: 4 }, Metric::Ip),
    ("v1_ivf_sq8_l2", VectorIndexKind::IvfSq8 { nlist: 4 }, Metric::L2),
    ("v1_hnsw_l2", VectorIndexKind::Hnsw { m: 4, ef_construction: 40 }, Metric::L2),
];

fn golden_path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/vector/golden")
        .join(name)
        .with_extension("rkvi")
}

/// Files of version 1 open for ever, and what is built today is laid out like them.
#[test]
fn version_1_is_golden() {
    let values = whole_numbers();
    let vectors = view(32, &values);
    for (name, kind, metric) in GOLDEN {
        let golden = std::fs::read(golden_path(name)).unwrap();
        let fresh = build_bytes(spec(kind, metric), vectors);
        let layout = |bytes: &[u8]| file::File::open(Arc::new(bytes.to_vec())).unwrap().layout();
        assert_eq!(layout(&golden), layout(&fresh), "{name}: a new layout takes a new version");
        let index = open(Arc::new(golden)).unwrap();
        index.verify().unwrap();
        assert_eq!(*index.spec(), spec(kind, metric));
        let params = SearchParams { k: 5, ef: 40, nprobe: 4, range: None };
        for query in values.chunks(32) {
            let hits = index.search(vectors, query, &params, None, &mut Scratch::default()).unwrap();
            assert_eq!(hits, exact(vectors, query, metric, &params, None), "{name}");
        }
    }
}

/// Run by hand when a new version of the format gets its files.
#[test]
#[ignore = "writes the golden files"]
fn write_golden_files() {
    let values = whole_numbers();
    for (name, kind, metric) in GOLDEN {
        std::fs::write(golden_path(name), build_bytes(spec(kind, metric), view(32, &values))).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any shape, any metric, any filter: the laws hold.
    #[test]
    fn laws_hold(
        rows in 0_usize..300,
        dim in 1_usize..70,
        seed in any::<u64>(),
        kind in 0_usize..4,
        metric in 0_usize..3,
        k in 0_usize..40,
        ef in 0_usize..40,
        percent in 0_u32..=100,
    ) {
        let values = clustered(rows, dim, seed);
        let vectors = view(dim, &values);
        let (kind, metric) = (KINDS[kind], METRICS[metric]);
        let index = built(spec(kind, metric), vectors);
        let mut rng = StdRng::seed_from_u64(seed);
        let filter = Bitmap::from_fn(rows, |_| rng.random_range(0..100) < percent);
        let params = SearchParams { k, ef, nprobe: 2, range: None };
        let query = clustered(1, dim, seed ^ 1);
        let hits = index.search(vectors, &query, &params, Some(&filter), &mut Scratch::default()).unwrap();
        let truth = exact(vectors, &query, metric, &params, Some(&filter));
        check_laws(&hits, &truth, metric, &params, Some(&filter));
    }
}
