//! Vector and scalar indexes over the immutable rows of one segment.
//!
//! Which rows are nearest to a query vector ([`vector`]), which rows have a scalar value
//! ([`scalar`]), and how fast can one compare two vectors on this processor ([`kernel`])?
//! Everything here is synchronous and does no I/O of its own: an index is built into bytes, and
//! opened from bytes, which the caller usually memory-maps.

pub mod kernel;
pub mod scalar;
pub mod vector;
