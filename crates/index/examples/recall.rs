//! Recall and speed of an index on real data.
//!
//! `recall DIR [--metric IP|L2|COSINE] [--index HNSW|IVF_FLAT|IVF_SQ8|FLAT] [--m 16] [--efc 200]
//! [--nlist 1024] [--threads 2] [--rows N] [--element f32|f16] [--repeat 3] [--no-filters]
//! [--file PATH]` (opens the index if the file exists, else builds and writes it)
//!
//! `DIR` holds `vectors.f16.npy` (rows × dim) and `queries.f16.npy`. The truth is computed by brute force.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use half::f16;
use redkite_index::kernel::Kernels;
use redkite_index::vector::{
    BuildContext, Elements, Metric, Scratch, SearchParams, TopK, VectorIndex, VectorIndexKind,
    VectorIndexSpec, VectorsView, brute_force_many, build, open,
};
use redkite_types::Bitmap;

const K: usize = 10;

type Failure = Box<dyn std::error::Error>;

struct Arguments(HashMap<String, String>);

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut map = HashMap::new();
        let mut key = "dir".to_owned();
        for argument in arguments {
            match argument.strip_prefix("--") {
                Some(name) => {
                    key = name.to_owned();
                    map.insert(key.clone(), String::new());
                }
                None => {
                    map.insert(key.clone(), argument);
                }
            }
        }
        Self(map)
    }

    fn get<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

/// The values of a two-dimensional half-float `.npy` file and its row length.
fn read_npy(path: &Path) -> Result<(Vec<f16>, usize), Failure> {
    let bytes = std::fs::read(path)?;
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len])?;
    if !header.contains("'<f2'") || !header.contains("'fortran_order': False") {
        return Err(format!("{}: not row-major half floats: {header}", path.display()).into());
    }
    let shape =
        header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).ok_or("no shape")?;
    let dim = shape.split(',').nth(1).ok_or("one dimension")?.trim().parse()?;
    let values = bytes[10 + header_len..].chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
    Ok((values, dim))
}

fn truth(
    vectors: VectorsView<'_>,
    queries: &[&[f32]],
    metric: Metric,
    filter: Option<&Bitmap>,
) -> Result<Vec<HashSet<u32>>, Failure> {
    let mut tops = vec![TopK::new(K, metric, None); queries.len()];
    brute_force_many(vectors, None, queries, metric, filter, &mut tops)?;
    Ok(tops.into_iter().map(|top| top.into_hits().iter().map(|hit| hit.row).collect()).collect())
}

struct Measured {
    recall: f64,
    qps: f64,
    p50: Duration,
    p99: Duration,
}

fn measure(
    index: &dyn VectorIndex,
    vectors: VectorsView<'_>,
    queries: &[&[f32]],
    params: &SearchParams,
    filter: Option<&Bitmap>,
    truth: &[HashSet<u32>],
    repeat: usize,
) -> Result<Measured, Failure> {
    let mut scratch = Scratch::default();
    let mut found = 0;
    let mut best = Duration::MAX;
    let mut times = Vec::new();
    for round in 0..=repeat {
        times.clear();
        let start = thread_cpu();
        for (query, truth) in queries.iter().zip(truth) {
            let one = Instant::now();
            let hits = index.search(vectors, query, params, filter, &mut scratch)?;
            times.push(one.elapsed());
            if round == 0 {
                found += hits.iter().filter(|hit| truth.contains(&hit.row)).count();
            }
        }
        best = best.min(thread_cpu() - start);
    }
    times.sort_unstable();
    let wanted: usize = truth.iter().map(HashSet::len).sum();
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    Ok(Measured {
        recall: found as f64 / wanted as f64,
        qps: queries.len() as f64 / best.as_secs_f64(),
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    })
}

/// CPU time of this thread, so that other load on the machine disturbs less.
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// CPU time of this process so far, where the system tells.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let dir = arguments.get("dir", String::from("."));
    let (halves, dim) = read_npy(&Path::new(&dir).join("vectors.f16.npy"))?;
    let (query_halves, _) = read_npy(&Path::new(&dir).join("queries.f16.npy"))?;
    let rows = arguments.get("rows", halves.len() / dim).min(halves.len() / dim);
    let halves = &halves[..rows * dim];
    let floats: Vec<f32> = halves.iter().map(|value| value.to_f32()).collect();
    let elements = match arguments.get("element", String::from("f32")).as_str() {
        "f16" => Elements::F16(halves),
        _ => Elements::F32(&floats),
    };
    let vectors = VectorsView::new(dim, elements).ok_or("no whole rows")?;
    let queries: Vec<f32> = query_halves.iter().map(|value| value.to_f32()).collect();
    let queries: Vec<&[f32]> = queries.chunks_exact(dim).collect();
    let metric: Metric = arguments.get("metric", String::from("COSINE")).parse()?;
    let nlist = arguments.get("nlist", 1024);
    let kind = match arguments.get("index", String::from("HNSW")).as_str() {
        "FLAT" => VectorIndexKind::Flat,
        "IVF_FLAT" => VectorIndexKind::IvfFlat { nlist },
        "IVF_SQ8" => VectorIndexKind::IvfSq8 { nlist },
        _ => VectorIndexKind::Hnsw { m: arguments.get("m", 16), ef_construction: arguments.get("efc", 200) },
    };
    let threads = arguments.get("threads", 2);
    println!("{rows} x {dim}, {metric}, {kind:?}, {threads} threads, {:?} kernels", Kernels::get().isa);

    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let context = BuildContext {
        pool: (threads > 1).then_some(&pool),
        progress: &AtomicU64::new(0),
        cancel: &AtomicBool::new(false),
        seed: 1,
    };
    let start = Instant::now();
    let file = arguments.get("file", String::new());
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(_) => {
            let artifact = build(VectorIndexSpec { kind, metric }, vectors, &context)?;
            println!("built in {:.2?}, {:.1} s of CPU", start.elapsed(), cpu_seconds());
            if !file.is_empty() {
                artifact.write_to(&mut std::fs::File::create(&file)?)?;
            }
            artifact.to_bytes()
        }
    };
    let start = Instant::now();
    let index = open(Arc::new(bytes))?;
    println!("{} MB, opened in {:.2?}", index.memory_bytes() >> 20, start.elapsed());

    let repeat = arguments.get("repeat", 3);
    let ivf = matches!(kind, VectorIndexKind::IvfFlat { .. } | VectorIndexKind::IvfSq8 { .. });
    let sweep: &[usize] = if ivf {
        &[1, 4, 8, 16, 32, 64, 96, 128]
    } else {
        &[10, 16, 24, 32, 40, 48, 64, 96, 128, 160, 200, 256, 400]
    };
    let filters = if arguments.0.contains_key("no-filters") {
        vec![100.0]
    } else {
        vec![100.0, 90.0, 50.0, 30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.1]
    };
    for percent in filters {
        // Multiplicative hashing: which rows pass has nothing to do with the vectors.
        let passes = |row: usize| {
            let hash = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (hash >> 40) as f64 / f64::from(1 << 24) * 100.0 < percent
        };
        let filter = (percent < 100.0).then(|| Bitmap::from_fn(rows, passes));
        let truth = truth(vectors, &queries, metric, filter.as_ref())?;
        println!("{percent} % pass");
        for effort in if percent < 100.0 { &[32, 64, 128][..] } else { sweep } {
            let params = SearchParams { k: K, ef: *effort, nprobe: *effort, range: None };
            let measured = measure(&*index, vectors, &queries, &params, filter.as_ref(), &truth, repeat)?;
            let Measured { recall, qps, p50, p99 } = measured;
            println!("  {effort:>4}  recall {recall:.4}  {qps:>7.0} qps  p50 {p50:.1?}  p99 {p99:.1?}");
        }
    }
    Ok(())
}
