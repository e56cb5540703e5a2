//! How do lists of numbers travel? As byte strings, little endian: one copy instead of a call per element.
//!
//! Use with serde: `#[serde(with = "redkite_types::bulk")] values: Vec<f32>`.

use std::fmt;
use std::marker::PhantomData;

use half::{bf16, f16};
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

use crate::Timestamp;

#[cfg(not(target_endian = "little"))]
compile_error!("numbers travel as little-endian arrays that are copied as they are");

/// What may stand in such a list.
pub trait Element: Copy {
    /// The list as bytes.
    fn as_bytes(values: &[Self]) -> &[u8];
    /// The list in these bytes, `None` if they are none.
    fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>>;
}

macro_rules! plain_elements {
    ($($number:ty),*) => { $(
        impl Element for $number {
            fn as_bytes(values: &[Self]) -> &[u8] {
                bytemuck::cast_slice(values)
            }

            fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>> {
                let whole = bytes.len().is_multiple_of(size_of::<Self>());
                whole.then(|| bytemuck::pod_collect_to_vec(bytes))
            }
        }
    )* };
}

plain_elements!(u8, u32, u64, i8, i16, i32, i64, f16, bf16, f32, f64, Timestamp);

impl Element for bool {
    fn as_bytes(values: &[Self]) -> &[u8] {
        bytemuck::cast_slice(values)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>> {
        bytemuck::checked::try_cast_slice(bytes).ok().map(<[Self]>::to_vec)
    }
}

/// Writes a list.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Element, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(T::as_bytes(values))
}

/// Reads a list.
///
/// # Errors
/// If there is no byte string, or not one of whole elements.
pub fn deserialize<'de, T: Element, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_bytes(Bytes(PhantomData))
}

struct Bytes<T>(PhantomData<T>);

impl<T: Element> Visitor<'_> for Bytes<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the bytes of a list of {}", std::any::type_name::<T>())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        T::from_bytes(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_from_bytes_at_any_address() {
        let values = [1.5_f32, f32::NAN, -0.0];
        let mut shifted = vec![0];
        shifted.extend_from_slice(f32::as_bytes(&values));
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&f32::from_bytes(&shifted[1..]).unwrap()), bits(&values));
        assert_eq!(bool::from_bytes(&[0, 1]), Some(vec![false, true]));
    }

    #[test]
    fn broken_lists_are_refused() {
        assert_eq!(u32::from_bytes(&[1, 2, 3]), None);
        assert_eq!(bool::from_bytes(&[2]), None);
    }
}
