//! Dense vectors where they lie.

use std::ops::Range;

use half::{bf16, f16};
use redkite_types::DataView;

use super::IndexError;
use crate::kernel::Kernels;

/// Row-major elements of dense vectors.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "variants are named like the element types")]
pub enum Elements<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

/// `rows × dim` borrowed vectors.
#[derive(Clone, Copy, Debug)]
pub struct VectorsView<'a> {
    dim: usize,
    rows: usize,
    elements: Elements<'a>,
}

impl<'a> VectorsView<'a> {
    /// A view of whole rows; `None` if `dim` is 0 or the elements are not whole rows.
    #[must_use]
    pub fn new(dim: usize, elements: Elements<'a>) -> Option<Self> {
        let len = match elements {
            Elements::F32(values) => values.len(),
            Elements::F16(values) => values.len(),
            Elements::BF16(values) => values.len(),
        };
        (dim > 0 && len.is_multiple_of(dim)).then(|| Self { dim, rows: len / dim, elements })
    }

    /// Dimension of each vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The elements, row after row.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        self.elements
    }

    /// Bytes of one vector.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.dim * if matches!(self.elements, Elements::F32(_)) { 4 } else { 2 }
    }

    /// The view of some consecutive rows.
    ///
    /// # Panics
    /// If the range reaches past the rows.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let range = rows.start * self.dim..rows.end * self.dim;
        let elements = match self.elements {
            Elements::F32(values) => Elements::F32(&values[range]),
            Elements::F16(values) => Elements::F16(&values[range]),
            Elements::BF16(values) => Elements::BF16(&values[range]),
        };
        Self { dim: self.dim, rows: rows.len(), elements }
    }

    /// Writes one row as f32 into `out`, which has `dim` elements.
    ///
    /// # Panics
    /// If the row does not exist or `out` has another length.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let range = row * self.dim..(row + 1) * self.dim;
        match self.elements {
            Elements::F32(values) => out.copy_from_slice(&values[range]),
            Elements::F16(values) => {
                out.iter_mut().zip(&values[range]).for_each(|(out, value)| *out = value.to_f32());
            }
            Elements::BF16(values) => {
                out.iter_mut().zip(&values[range]).for_each(|(out, value)| *out = value.to_f32());
            }
        }
    }

    /// Asks the processor to fetch one row.
    #[inline]
    pub(crate) fn prefetch(&self, row: u32) {
        let start = (row as usize).wrapping_mul(self.dim);
        match self.elements {
            Elements::F32(values) => crate::kernel::prefetch(values, start, self.dim),
            Elements::F16(values) => crate::kernel::prefetch(values, start, self.dim),
            Elements::BF16(values) => crate::kernel::prefetch(values, start, self.dim),
        }
    }

    /// 1 / Euclidean norm of one row; 0 for a zero (or not finite) vector, so that its cosine is 0.
    pub(crate) fn inverse_norm(&self, row: usize) -> f32 {
        let (kernels, range) = (Kernels::get(), row * self.dim..(row + 1) * self.dim);
        inverse_root(match self.elements {
            Elements::F32(values) => (kernels.f32.squared_norm)(&values[range]),
            Elements::F16(values) => (kernels.f16.squared_norm)(&values[range]),
            Elements::BF16(values) => (kernels.bf16.squared_norm)(&values[range]),
        })
    }
}

impl<'a> TryFrom<DataView<'a>> for VectorsView<'a> {
    type Error = IndexError;

    fn try_from(data: DataView<'a>) -> Result<Self, IndexError> {
        let (view, elements) = match data {
            DataView::FloatVector { dim, values } => (Self::new(dim, Elements::F32(values)), values.len()),
            DataView::Float16Vector { dim, values } => (Self::new(dim, Elements::F16(values)), values.len()),
            DataView::BFloat16Vector { dim, values } => {
                (Self::new(dim, Elements::BF16(values)), values.len())
            }
            _ => (None, 0),
        };
        view.ok_or(IndexError::NotVectors { data_type: data.data_type(), dim: data.dim(), elements })
    }
}

/// `1 / √x`, and 0 where that is not a finite number.
pub(crate) fn inverse_root(squared: f32) -> f32 {
    let inverse = 1.0 / squared.sqrt();
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// 1 / Euclidean norm of every row, 0 for zero vectors: what cosine searches want cached.
#[must_use]
pub fn inverse_norms(vectors: VectorsView<'_>) -> Vec<f32> {
    (0..vectors.rows()).map(|row| vectors.inverse_norm(row)).collect()
}
