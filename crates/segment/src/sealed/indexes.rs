//! The indexes of a segment: a set that is replaced whole, so that a search keeps the one it began with.

use std::fmt;
use std::sync::Arc;

use redkite_index::scalar::ScalarIndex;
use redkite_index::vector::{IndexError, VectorIndex};
use redkite_types::{FieldId, IndexId};

/// An open index file.
#[derive(Clone)]
pub enum AttachedIndex {
    /// Over a vector column.
    Vector(Arc<dyn VectorIndex>),
    /// Over a scalar column.
    Scalar(Arc<dyn ScalarIndex>),
}

impl AttachedIndex {
    /// Bytes held and mapped.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Vector(index) => index.memory_bytes(),
            Self::Scalar(index) => index.memory_bytes(),
        }
    }

    /// Compares what opening did not look at with its checksums.
    fn verify(&self) -> Result<(), IndexError> {
        match self {
            Self::Vector(index) => index.verify(),
            // Checked whole when it was opened.
            Self::Scalar(_) => Ok(()),
        }
    }

    fn is_vector(&self) -> bool {
        matches!(self, Self::Vector(_))
    }
}

impl fmt::Debug for AttachedIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vector(index) => index.fmt(f),
            Self::Scalar(index) => f.debug_tuple("Scalar").field(&index.kind()).finish(),
        }
    }
}

/// The attached indexes; at most one a field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Indexes(Vec<(IndexId, FieldId, AttachedIndex)>);

impl Indexes {
    pub(super) fn with(&self, id: IndexId, field: FieldId, index: AttachedIndex) -> Self {
        let others = self.0.iter().filter(|(other, on, _)| *other != id && *on != field).cloned();
        Self(others.chain([(id, field, index)]).collect())
    }

    pub(super) fn without(&self, id: IndexId) -> Self {
        Self(self.0.iter().filter(|(other, _, _)| *other != id).cloned().collect())
    }

    pub(super) fn ids(&self) -> Vec<IndexId> {
        self.0.iter().map(|(id, _, _)| *id).collect()
    }

    /// Those whose files are damaged.
    pub(super) fn damaged(&self) -> Vec<(IndexId, IndexError)> {
        let check = |(id, _, index): &(IndexId, FieldId, AttachedIndex)| Some((*id, index.verify().err()?));
        self.0.iter().filter_map(check).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, _, index)| index.memory_bytes()).sum()
    }

    /// The vector index on a field.
    pub(crate) fn vector(&self, field: FieldId) -> Option<Arc<dyn VectorIndex>> {
        self.0.iter().find_map(|(_, on, index)| match index {
            AttachedIndex::Vector(index) if *on == field => Some(index.clone()),
            _ => None,
        })
    }

    /// The scalar index on a field.
    pub(crate) fn scalar(&self, field: FieldId) -> Option<&dyn ScalarIndex> {
        self.0.iter().find_map(|(_, on, index)| match index {
            AttachedIndex::Scalar(index) if *on == field => Some(&**index),
            _ => None,
        })
    }

    /// Whether a vector field is searched through an index.
    pub(super) fn has_vector(&self, field: FieldId) -> bool {
        self.0.iter().any(|(_, on, index)| *on == field && index.is_vector())
    }
}
