//! Human values in settings: `100ms`, `64MiB`.
//!
//! A bare number keeps Milvus's unit for the key, so that a `milvus.yaml` means the same here. Use
//! with serde: `#[serde(with = "redkite_runtime::units::seconds")] ttl: Duration`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// The text is neither a number nor a number with a known unit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a number with one of the units {units}")]
pub struct ParseUnitError {
    text: String,
    units: &'static str,
}

const SIZES: [(&str, f64); 9] = [
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
    ("kb", 1024.0),
    ("mb", 1_048_576.0),
    ("gb", 1_073_741_824.0),
    ("tb", 1_099_511_627_776.0),
    ("b", 1.0),
];
const SPANS: [(&str, f64); 6] =
    [("ms", 0.001), ("us", 0.000_001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

fn parse(text: &str, table: &[(&str, f64)], bare: f64, units: &'static str) -> Result<f64, ParseUnitError> {
    let lower = text.trim().to_ascii_lowercase();
    let error = || ParseUnitError { text: text.to_owned(), units };
    let (number, factor) = table
        .iter()
        .find_map(|(unit, factor)| lower.strip_suffix(unit).map(|number| (number.trim(), *factor)))
        .unwrap_or((&lower, bare));
    let value = number.parse::<f64>().map_err(|_| error())? * factor;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(error()) }
}

/// Bytes from text; a bare number counts `bare` bytes.
///
/// # Errors
/// If the text is no size.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked finite and not negative"
)]
pub fn parse_bytes(text: &str, bare: u64) -> Result<Bytes, ParseUnitError> {
    #[expect(clippy::cast_precision_loss, reason = "a unit is far below 2^52")]
    parse(text, &SIZES, bare as f64, "B, KiB, MiB, GiB, TiB").map(|bytes| Bytes(bytes as u64))
}

/// A duration from text; a bare number counts `bare` seconds.
///
/// # Errors
/// If the text is no duration.
pub fn parse_duration(text: &str, bare: f64) -> Result<Duration, ParseUnitError> {
    let seconds = parse(text, &SPANS, bare, "us, ms, s, m, h, d")?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| ParseUnitError { text: text.to_owned(), units: "us, ms, s, m, h, d" })
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match STEPS.iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Shortest exact text of a duration.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 && self.0.subsec_nanos() == 0 {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_millis())
        }
    }
}

/// What a setting may be written as: a number or text.
struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or text with a unit")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Text)?;
        parse_bytes(&text, 1).map_err(de::Error::custom)
    }
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $value:ty, $parse:expr, $show:expr) => {
        $(#[$doc])*
        pub mod $name {
            use super::*;

            /// For serde's `with`.
            ///
            /// # Errors
            /// Those of the serializer.
            pub fn serialize<S: Serializer>(value: &$value, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&$show(*value))
            }

            /// For serde's `with`.
            ///
            /// # Errors
            /// If the value has no or an unknown unit.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$value, D::Error> {
                let text = deserializer.deserialize_any(Text)?;
                $parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

unit!(/// Durations whose bare numbers are seconds.
    seconds, Duration, |text: &str| parse_duration(text, 1.0), Span);
unit!(/// Durations whose bare numbers are milliseconds.
    millis, Duration, |text: &str| parse_duration(text, 0.001), Span);
unit!(/// Sizes whose bare numbers are MiB.
    mebibytes, Bytes, |text: &str| parse_bytes(text, 1 << 20), std::convert::identity);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_bare_numbers() {
        assert_eq!(parse_bytes("64MiB", 1), Ok(Bytes(64 << 20)));
        assert_eq!(parse_bytes("1024", 1 << 20), Ok(Bytes(1 << 30)));
        assert_eq!(parse_duration("100ms", 1.0), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("10", 1.0), Ok(Duration::from_secs(10)));
        assert!(parse_duration("-1s", 1.0).is_err());
        assert!(parse_bytes("many", 1).is_err());
    }

    #[test]
    fn shown_text_reads_back() {
        for bytes in [0, 1, 1000, 1024, 3 << 20, 5 << 30] {
            assert_eq!(parse_bytes(&Bytes(bytes).to_string(), 1), Ok(Bytes(bytes)));
        }
    }
}
