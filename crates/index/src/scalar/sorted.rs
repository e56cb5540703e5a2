//! Values in sort order: numbers as keys that sort like them, texts as they are.

use redkite_types::{DataType, Value};

/// The key of an integer.
pub(super) fn int_key(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

/// The key of a float; `None` for NaN, which has no place in an order. Both zeros are one value.
pub(super) fn float_key(value: f64) -> Option<u64> {
    if value.is_nan() {
        return None;
    }
    let bits = (value + 0.0).to_bits();
    Some(if bits >> 63 == 1 { !bits } else { bits | 1 << 63 })
}

/// A value as it is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe<'a> {
    Key(u64),
    Text(&'a [u8]),
}

impl<'a> Probe<'a> {
    /// `None` where the value is of another class than the column, or NaN.
    pub(super) fn of(value: &'a Value, data_type: DataType) -> Option<Self> {
        match (value, data_type) {
            (Value::Bool(value), DataType::Bool) => Some(Self::Key(int_key((*value).into()))),
            (Value::Int64(value), data_type) if data_type.is_integer() => Some(Self::Key(int_key(*value))),
            (Value::Double(value), data_type) if data_type.is_floating() => float_key(*value).map(Self::Key),
            (Value::VarChar(value), DataType::VarChar) => Some(Self::Text(value.as_bytes())),
            _ => None,
        }
    }
}

/// Sorted values, read in place.
#[derive(Clone, Copy)]
pub(super) enum Sorted<'a> {
    Keys(&'a [u64]),
    Texts { offsets: &'a [u64], bytes: &'a [u8] },
}

impl<'a> Sorted<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Texts { offsets, .. } => offsets.len() - 1,
        }
    }

    /// Offsets were checked when the index was opened.
    #[expect(clippy::cast_possible_truncation, reason = "offsets into a mapped file")]
    pub(super) fn text(self, entry: usize) -> &'a [u8] {
        match self {
            Self::Keys(_) => &[],
            Self::Texts { offsets, bytes } => &bytes[offsets[entry] as usize..offsets[entry + 1] as usize],
        }
    }

    /// Number of entries before the probe, counting equal ones in if `inclusive`.
    pub(super) fn rank(self, probe: Probe<'_>, inclusive: bool) -> usize {
        match (self, probe) {
            (Self::Keys(keys), Probe::Key(probe)) => {
                keys.partition_point(|key| *key < probe || (inclusive && *key == probe))
            }
            (Self::Texts { .. }, Probe::Text(probe)) => self.partition(|text| {
                let order = text.cmp(probe);
                order.is_lt() || (inclusive && order.is_eq())
            }),
            _ => 0,
        }
    }

    /// Number of texts before the first for which `before` does not hold.
    pub(super) fn partition(self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.text(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }
}
