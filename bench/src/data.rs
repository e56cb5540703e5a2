//! Vectors, queries and their exact neighbours.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use half::f16;

/// Neighbours kept per query.
pub(crate) const K: usize = 10;

/// A set of vectors with queries.
pub(crate) struct Dataset {
    pub(crate) dim: usize,
    pub(crate) vectors: Vec<f32>,
    pub(crate) queries: Vec<f32>,
    metric_l2: bool,
}

impl Dataset {
    /// Reads half-precision arrays written by numpy.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let (dim, vectors) = read_f16(&folder.join("vectors.f16.npy"))?;
        let (query_dim, queries) = read_f16(&folder.join("queries.f16.npy"))?;
        ensure!(dim == query_dim, "vectors have {dim} dimensions, queries {query_dim}");
        Ok(Self { dim, vectors, queries, metric_l2: false })
    }

    /// Rows around random centres, the same for the same arguments.
    pub(crate) fn generate(rows: usize, dim: usize, metric: &str) -> Self {
        let mut random = Random(0x5eed);
        let centres: Vec<f32> = (0..1000 * dim).map(|_| random.normal()).collect();
        let mut points = |count: usize| -> Vec<f32> {
            (0..count)
                .flat_map(|_| {
                    let centre = random.below(1000) * dim;
                    (0..dim).map(|i| centres[centre + i] + 0.35 * random.normal()).collect::<Vec<_>>()
                })
                .collect()
        };
        Self { dim, vectors: points(rows), queries: points(500), metric_l2: metric == "L2" }
    }

    pub(crate) fn rows(&self) -> usize {
        self.vectors.len() / self.dim
    }

    pub(crate) fn nq(&self) -> usize {
        self.queries.len() / self.dim
    }

    pub(crate) fn query(&self, index: usize) -> &[f32] {
        &self.queries[index * self.dim..(index + 1) * self.dim]
    }

    /// A value in 0..100 per row, unrelated to its vector; what filters compare.
    pub(crate) fn bucket(row: usize) -> i64 {
        let mut hash = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
        i64::try_from(hash % 100).expect("below 100")
    }

    /// The exact `K` nearest rows of every query among those with `bucket < below`.
    pub(crate) fn neighbours(&self, below: i64) -> Vec<Vec<i64>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let each = self.nq().div_ceil(threads);
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..threads)
                .map(|part| {
                    let queries = (part * each).min(self.nq())..((part + 1) * each).min(self.nq());
                    scope.spawn(move || queries.map(|query| self.nearest(query, below)).collect::<Vec<_>>())
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
        })
    }

    fn nearest(&self, query: usize, below: i64) -> Vec<i64> {
        let query = self.query(query);
        let mut scored: Vec<(f32, i64)> = self
            .vectors
            .chunks_exact(self.dim)
            .enumerate()
            .filter(|(row, _)| Self::bucket(*row) < below)
            .map(|(row, vector)| (self.distance(query, vector), i64::try_from(row).expect("few rows")))
            .collect();
        let k = K.min(scored.len());
        if k < scored.len() {
            scored.select_nth_unstable_by(k, |a, b| a.0.total_cmp(&b.0));
        }
        scored.truncate(k);
        scored.into_iter().map(|(_, row)| row).collect()
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0_f32; 16];
        for (a, b) in a.chunks(16).zip(b.chunks(16)) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += if self.metric_l2 { (a - b) * (a - b) } else { -(a * b) };
            }
        }
        sums.iter().sum()
    }
}

/// Mean share of the exact neighbours that were found.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
pub(crate) fn recall(found: &[Vec<i64>], exact: &[Vec<i64>]) -> f64 {
    let shares = found.iter().zip(exact).filter(|(_, exact)| !exact.is_empty()).map(|(found, exact)| {
        exact.iter().filter(|id| found.contains(id)).count() as f64 / exact.len() as f64
    });
    let shares: Vec<f64> = shares.collect();
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
}

/// A two-dimensional `<f2` array in numpy's format version 1 or 2.
fn read_f16(path: &Path) -> anyhow::Result<(usize, Vec<f32>)> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(bytes.starts_with(b"\x93NUMPY") && bytes.len() > 12, "{}: no numpy array", path.display());
    let (length, start) = match bytes[6] {
        1 => (usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), 10),
        2 => (u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize, 12),
        version => bail!("{}: numpy format {version}", path.display()),
    };
    let header = std::str::from_utf8(bytes.get(start..start + length).context("short header")?)?;
    ensure!(header.contains("'<f2'"), "{}: not float16: {header}", path.display());
    let shape = header.split('(').nth(1).and_then(|rest| rest.split(')').next()).context("no shape")?;
    let dim: usize = shape.split(',').nth(1).context("not two-dimensional")?.trim().parse()?;
    let values =
        bytes[start + length..].chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32());
    Ok((dim, values.collect()))
}

/// SplitMix64; data must be the same everywhere, for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.next() % bound).expect("below a small bound")
    }

    /// Sum of uniforms: near enough to a normal distribution for test data.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
    fn normal(&mut self) -> f32 {
        (0..4).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5).sum::<f32>() * 1.732
    }
}
