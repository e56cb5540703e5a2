//! One found row.

/// A row and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Row number within the segment.
    pub row: u32,
    /// Milvus's raw value: squared distance (L2), inner product (IP), cosine in −1..=1 (COSINE).
    pub score: f32,
}
