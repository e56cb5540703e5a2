//! Index definitions.

use redkite_types::{FieldId, IndexId, Metric, Timestamp};
use serde::{Deserialize, Serialize};

/// All index definitions of a collection.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct IndexesRecord {
    /// In creation order; at most one per field, of a JSON field one per path.
    pub indexes: Vec<IndexRecord>,
}

impl IndexesRecord {
    /// The index on a field.
    #[must_use]
    pub fn on_field(&self, field: FieldId) -> Option<&IndexRecord> {
        self.indexes.iter().find(|index| index.field == field)
    }

    /// The index of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&IndexRecord> {
        self.indexes.iter().find(|index| index.name == name)
    }
}

/// One index definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// Identity.
    pub id: IndexId,
    /// Unique within the collection.
    pub name: String,
    /// The indexed field.
    pub field: FieldId,
    /// Parameters as the user sent them; describe echoes them (AUTOINDEX stays AUTOINDEX).
    pub params: Vec<(String, String)>,
    /// What is built.
    pub spec: IndexSpec,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What is built, with every default and AUTOINDEX resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// How.
    pub method: IndexMethod,
    /// The metric of a vector index; `None` for scalar ones.
    pub metric: Option<Metric>,
}

impl IndexSpec {
    /// Whether it is an index on a vector field.
    #[must_use]
    pub fn is_vector(&self) -> bool {
        self.metric.is_some()
    }

    /// Whether it is a definition on a path of a JSON field: nothing is built, the path is scanned.
    #[must_use]
    pub fn is_json_path(&self) -> bool {
        self.method == IndexMethod::Flat && self.metric.is_none()
    }
}

/// The structure that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the parameters are Milvus's")]
pub enum IndexMethod {
    /// Exact scan.
    Flat,
    /// Inverted lists of raw vectors.
    IvfFlat { nlist: u32 },
    /// Inverted lists of 8-bit scalar-quantized vectors.
    IvfSq8 { nlist: u32 },
    /// Layered proximity graph.
    Hnsw { m: u32, ef_construction: u32 },
    /// Dictionary with postings.
    Inverted,
    /// Sorted values.
    StlSort,
    /// Dictionary of strings, for prefixes.
    Trie,
    /// One bitmap per value.
    Bitmap,
}

impl IndexMethod {
    /// Whether a vector field is meant.
    #[must_use]
    pub fn is_vector(self) -> bool {
        match self {
            Self::Flat | Self::IvfFlat { .. } | Self::IvfSq8 { .. } | Self::Hnsw { .. } => true,
            Self::Inverted | Self::StlSort | Self::Trie | Self::Bitmap => false,
        }
    }
}
