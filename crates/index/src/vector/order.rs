//! A total order over (distance, row) that fits one integer comparison.

use redkite_types::Metric;

/// Integers that sort like the floats do; −0 equals 0 and every NaN sorts last.
#[inline(always)]
pub(crate) fn ordered(distance: f32) -> u32 {
    let bits = if distance.is_nan() { f32::NAN.to_bits() & 0x7fff_ffff } else { (distance + 0.0).to_bits() };
    bits ^ (((bits.cast_signed() >> 31).cast_unsigned()) | 0x8000_0000)
}

/// Turns [`ordered`] back.
#[inline(always)]
pub(crate) fn unordered(key: u32) -> f32 {
    f32::from_bits(if key & 0x8000_0000 != 0 { key ^ 0x8000_0000 } else { !key })
}

/// Sorts by distance, then row.
#[inline(always)]
pub(crate) fn key(distance: f32, row: u32) -> u64 {
    u64::from(ordered(distance)) << 32 | u64::from(row)
}

/// The distance in a [`key`].
#[inline(always)]
pub(crate) fn key_distance(key: u64) -> f32 {
    unordered((key >> 32) as u32)
}

/// The row in a [`key`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
pub(crate) fn key_row(key: u64) -> u32 {
    key as u32
}

/// A score as a distance, or a distance as a score: the sign turns where larger is nearer.
#[inline(always)]
pub(crate) fn turn(metric: Metric, value: f32) -> f32 {
    if metric.larger_is_nearer() { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_sort_like_floats() {
        let sorted =
            [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 1.0, 3.5, f32::MAX, f32::INFINITY, f32::NAN];
        assert!(sorted.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert_eq!(ordered(-0.0), ordered(0.0));
        assert_eq!(ordered(-f32::NAN), ordered(f32::NAN));
        assert!(sorted[..9].iter().all(|value| unordered(ordered(*value)) == *value));
        assert!(unordered(ordered(f32::NAN)).is_nan());
    }
}
