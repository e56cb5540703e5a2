//! Numbers of any kind, compared by their exact value.

use std::cmp::Ordering;

/// A number as it is written: whole if it has no fraction and fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    /// A whole number beyond `i64::MAX`.
    Large(u64),
    Double(f64),
}

impl Number {
    /// Reads a JSON number; numbers too large for a double are infinite.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            if let Ok(int) = text.parse() {
                return Some(Self::Int(int));
            }
            if let Ok(large) = text.parse() {
                return Some(Self::Large(large));
            }
        }
        text.parse().ok().map(Self::Double)
    }

    #[expect(clippy::cast_precision_loss, reason = "arithmetic with doubles is in doubles")]
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Large(large) => large as f64,
            Self::Double(double) => double,
        }
    }

    /// How two numbers stand by value, not by their nearest doubles; `None` for NaN.
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right),
            (Self::Double(left), right) => {
                right.whole().map(|right| order_whole(right, left))?.map(Ordering::reverse)
            }
            (left, Self::Double(right)) => left.whole().and_then(|left| order_whole(left, right)),
            (left, right) => Some(left.whole()?.cmp(&right.whole()?)),
        }
    }

    fn whole(self) -> Option<i128> {
        match self {
            Self::Int(int) => Some(int.into()),
            Self::Large(large) => Some(large.into()),
            Self::Double(_) => None,
        }
    }
}

/// A whole number of at most 65 bits against a double.
fn order_whole(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Casting saturates, and every double has its floor as an exact i128 within these 65 bits.
    #[expect(clippy::cast_possible_truncation, reason = "saturates far beyond any whole number")]
    let floor = double.floor() as i128;
    Some(whole.cmp(&floor).then(if double > double.floor() { Ordering::Less } else { Ordering::Equal }))
}

/// How an integer and a double stand by value.
pub(crate) fn order_int_double(int: i64, double: f64) -> Option<Ordering> {
    order_whole(int.into(), double)
}
