//! Parameters that travel as text.

use redkite_proto::common::KeyValuePair;

/// Parameters of a request by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyValues<'a>(pub(crate) &'a [KeyValuePair]);

impl<'a> KeyValues<'a> {
    /// The value of a parameter.
    pub(crate) fn get(self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
    }

    /// The value of a parameter that is neither missing nor blank.
    pub(crate) fn given(self, key: &str) -> Option<&'a str> {
        self.get(key).filter(|value| !value.trim().is_empty())
    }
}

/// A whole number as Go's `strconv.ParseInt(text, 0, 64)` reads it.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.as_str() {
        hex if hex.starts_with("0x") => (&hex[2..], 16),
        octal if octal.starts_with("0o") => (&octal[2..], 8),
        binary if binary.starts_with("0b") => (&binary[2..], 2),
        octal if octal.len() > 1 && octal.starts_with('0') => (&octal[1..], 8),
        decimal => (decimal, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

/// A truth value as Go's `strconv.ParseBool` reads it.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let cases = [("10", 10), ("-1", -1), ("+7", 7), ("0x10", 16), ("010", 8), ("0b11", 3), ("0", 0)];
        for (text, value) in cases {
            assert_eq!(parse_int(text), Some(value), "{text}");
        }
        for text in ["", "-", "1.0", "abc", "--1", "9223372036854775808", "0x-1"] {
            assert_eq!(parse_int(text), None, "{text}");
        }
        assert_eq!(parse_int("-9223372036854775808"), Some(i64::MIN));
    }

    #[test]
    fn truth_values_are_read_as_go_reads_them() {
        assert_eq!(parse_bool("False"), Some(false));
        assert_eq!(parse_bool("True"), Some(true));
        assert_eq!(parse_bool("yes"), None);
    }
}
