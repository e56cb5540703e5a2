//! In which units are loads told?
//!
//! Bytes and CPU are absolute; a [`Share`] is either of them relative to what a node has. All are integers, so
//! that plans are the same everywhere and comparisons are exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        /// What would be below nothing is nothing.
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::default(), Self::add)
            }
        }
    };
}

quantity!(/// Memory.
    Bytes);
quantity!(/// CPU time per time, in millionths of a core: 1,000,000 is one core that is always busy.
    Cpu);
quantity!(/// A part of what a node has, in thousand millionths: 1,000,000,000 is all of it.
    Share);

impl Share {
    /// Everything a node has.
    pub const WHOLE: Self = Self(1_000_000_000);

    /// So many hundredths.
    #[must_use]
    pub fn percent(percent: u64) -> Self {
        Self(percent.saturating_mul(Self::WHOLE.0 / 100))
    }

    /// `part` of `whole`, rounded down.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        match part.checked_mul(Self::WHOLE.0) {
            Some(scaled) => Self(scaled / whole.max(1)),
            None => Self(narrow(u128::from(part) * u128::from(Self::WHOLE.0) / u128::from(whole.max(1)))),
        }
    }

    /// This share of an amount, rounded down.
    #[must_use]
    pub(crate) fn amount(self, whole: u64) -> u64 {
        narrow(u128::from(whole) * u128::from(self.0) / u128::from(Self::WHOLE.0))
    }
}

/// The number, or the largest there is.
pub(crate) fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0)
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cpu({self})")
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} cores", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({self})")
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0 / (Self::WHOLE.0 / 10_000);
        write!(f, "{}.{:02} %", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_for_any_size() {
        assert_eq!(Share::of(16 << 30, 64 << 30), Share::percent(25));
        assert_eq!(Share::of(u64::MAX, u64::MAX), Share::WHOLE);
        assert_eq!(Share::percent(90).amount(1000), 900);
        assert_eq!(Share::percent(90).amount(u64::MAX), 16_602_069_666_338_596_453);
        assert_eq!(Share(1_234_567_890).to_string(), "123.45 %");
    }
}
