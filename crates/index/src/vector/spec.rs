//! Which index is wanted, and how thoroughly it is searched.

use redkite_types::Metric;
use serde::{Deserialize, Serialize};

use super::{IndexError, Range};

/// What AUTOINDEX stands for: Milvus's own default HNSW parameters.
pub const AUTOINDEX: VectorIndexKind = VectorIndexKind::Hnsw { m: 18, ef_construction: 240 };

/// The structure of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VectorIndexKind {
    /// All rows are compared. Exact.
    Flat,
    /// Rows in `nlist` lists around k-means centres; the nearest `nprobe` lists are compared exactly.
    IvfFlat {
        /// Number of lists, 1..=65536; no more than there are rows are made.
        nlist: usize,
    },
    /// As `IvfFlat`, but comparing 8-bit codes first and only the best of them exactly.
    IvfSq8 {
        /// Number of lists, 1..=65536.
        nlist: usize,
    },
    /// Hierarchical navigable small world graph (Malkov & Yashunin 2018, arXiv:1603.09320).
    Hnsw {
        /// Links a new node gets per level, 2..=2048; level 0 holds up to twice as many.
        m: usize,
        /// Candidates considered for a new node's links, 1..=i32::MAX.
        ef_construction: usize,
    },
}

/// An index to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorIndexSpec {
    /// The structure.
    pub kind: VectorIndexKind,
    /// What nearness means.
    pub metric: Metric,
}

impl VectorIndexSpec {
    /// Checks the parameters against Milvus's limits.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn validate(&self) -> Result<(), IndexError> {
        match self.kind {
            VectorIndexKind::Flat => Ok(()),
            VectorIndexKind::IvfFlat { nlist } | VectorIndexKind::IvfSq8 { nlist } => {
                within("nlist", nlist, 1, 65_536)
            }
            VectorIndexKind::Hnsw { m, ef_construction } => {
                within("M", m, 2, 2048)?;
                within("efConstruction", ef_construction, 1, i32::MAX as usize)
            }
        }
    }
}

fn within(name: &'static str, value: usize, least: usize, most: usize) -> Result<(), IndexError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(IndexError::Parameter { name, value, least, most })
    }
}

/// How many rows to return and how hard to look for them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchParams {
    /// Rows wanted.
    pub k: usize,
    /// HNSW: candidates kept while the graph is walked; at least `k` are.
    pub ef: usize,
    /// IVF: lists compared.
    pub nprobe: usize,
    /// Scores wanted.
    pub range: Option<Range>,
}

impl Default for SearchParams {
    fn default() -> Self {
        Self { k: 10, ef: 64, nprobe: 8, range: None }
    }
}
