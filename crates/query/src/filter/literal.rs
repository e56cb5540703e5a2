//! Reading number and string literals.

use super::token::TokenKind;

/// Bytes of the number at the start: everything a number can be made of, so that `1x` is one bad
/// number rather than a good one and a name.
pub(super) fn number_length(text: &[u8]) -> usize {
    let hex = matches!(text, [b'0', b'x' | b'X', ..]);
    let mut len = 0;
    while let Some(byte) = text.get(len) {
        let sign_of_exponent = matches!(byte, b'+' | b'-')
            && len > 0
            && match text[len - 1] {
                b'e' | b'E' => !hex,
                b'p' | b'P' => hex,
                _ => false,
            };
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || sign_of_exponent) {
            break;
        }
        len += 1;
    }
    len
}

/// A plain decimal integer of up to 18 digits and its length: nearly every number of a long list.
pub(super) fn short_decimal(text: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0_i64;
    let mut len = 0;
    while let Some(digit @ b'0'..=b'9') = text.get(len) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        len += 1;
    }
    let octal = len > 1 && text.first() == Some(&b'0');
    let goes_on =
        text.get(len).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
    ((1..=18).contains(&len) && !octal && !goes_on).then_some((value, len))
}

/// The value of a number.
pub(super) fn number(text: &str) -> Result<TokenKind, String> {
    let bytes = text.as_bytes();
    let malformed = || format!("malformed number: {text}");
    let radix = |digits: &str, radix| integer(text, digits, radix);
    match bytes {
        [b'0', b'x' | b'X', digits @ ..] if digits.iter().any(|byte| matches!(byte, b'.' | b'p' | b'P')) => {
            hex_float(&text[2..]).map(TokenKind::Float).ok_or_else(malformed)
        }
        [b'0', b'x' | b'X', ..] => radix(&text[2..], 16),
        [b'0', b'b' | b'B', ..] => radix(&text[2..], 2),
        [b'0', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            radix(&text[1..], 8)
        }
        _ if bytes.iter().all(u8::is_ascii_digit) => radix(text, 10),
        _ if bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) => {
            let value: f64 = text.parse().map_err(|_| malformed())?;
            if value.is_finite() { Ok(TokenKind::Float(value)) } else { Err(out_of_range(text)) }
        }
        _ => Err(malformed()),
    }
}

fn integer(text: &str, digits: &str, radix: u32) -> Result<TokenKind, String> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(format!("malformed number: {text}"));
    }
    match u64::from_str_radix(digits, radix) {
        Ok(value) if value == 1 << 63 && radix == 10 => Ok(TokenKind::IntMinMagnitude),
        Ok(value) => i64::try_from(value).map(TokenKind::Int).map_err(|_| out_of_range(text)),
        Err(_) => Err(out_of_range(text)),
    }
}

fn out_of_range(text: &str) -> String {
    format!("parsing \"{text}\": value out of range")
}

/// `1.8p3` of `0x1.8p3`: hexadecimal digits with a binary exponent.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(places)?;
    let value = value * 2.0_f64.powi(exponent);
    value.is_finite().then_some(value)
}

/// Bytes of the quoted string at the start, both quotes included; `None` if it does not end.
pub(super) fn string_length(text: &[u8]) -> Option<usize> {
    let quote = *text.first()?;
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            b'\r' | b'\n' => return None,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The text between quotes with its C escapes resolved.
///
/// `\%` and `\_` keep their backslash: it is the escape of `like`.
pub(super) fn unescape(inner: &str) -> Result<String, String> {
    if !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], &mut bytes).ok_or_else(|| "invalid syntax".to_owned())?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "string literal is not UTF-8".to_owned())
}

/// Resolves one escape, without its backslash; what comes after it.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let simple = |byte: u8| Some((vec![byte], 1));
    let (resolved, len): (Vec<u8>, usize) = match *text.as_bytes().first()? {
        b'a' => simple(0x07),
        b'b' => simple(0x08),
        b'f' => simple(0x0c),
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'v' => simple(0x0b),
        quoted @ (b'\\' | b'\'' | b'"' | b'?') => simple(quoted),
        wildcard @ (b'%' | b'_') => Some((vec![b'\\', wildcard], 1)),
        b'\n' => Some((Vec::new(), 1)),
        b'\r' => Some((Vec::new(), if text.as_bytes().get(1) == Some(&b'\n') { 2 } else { 1 })),
        b'0'..=b'7' => {
            let len = text.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            let value = u8::from_str_radix(&text[..len], 8).ok()?;
            Some((vec![value], len))
        }
        b'x' => code(text, 2).and_then(|(value, len)| Some((vec![u8::try_from(value).ok()?], len))),
        b'u' => unicode(text, 4),
        b'U' => unicode(text, 8),
        _ => None,
    }?;
    bytes.extend_from_slice(&resolved);
    text.get(len..)
}

fn unicode(text: &str, digits: usize) -> Option<(Vec<u8>, usize)> {
    let (value, len) = code(text, digits)?;
    Some((char::from_u32(value)?.to_string().into_bytes(), len))
}

/// The number after the letter at the start, and the length of letter and digits.
fn code(text: &str, digits: usize) -> Option<(u32, usize)> {
    let hex = text.get(1..1 + digits)?;
    hex.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    Some((u32::from_str_radix(hex, 16).ok()?, 1 + digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_base() {
        let int = |text: &str| match number(text) {
            Ok(TokenKind::Int(value)) => Some(value),
            _ => None,
        };
        assert_eq!(int("0"), Some(0));
        assert_eq!(int("017"), Some(15));
        assert_eq!(int("0xfF"), Some(255));
        assert_eq!(int("0b101"), Some(5));
        assert_eq!(int("9223372036854775807"), Some(i64::MAX));
        assert_eq!(number("9223372036854775808"), Ok(TokenKind::IntMinMagnitude));
        assert_eq!(number("1.5e3"), Ok(TokenKind::Float(1500.0)));
        assert_eq!(number(".5"), Ok(TokenKind::Float(0.5)));
        assert_eq!(number("2."), Ok(TokenKind::Float(2.0)));
        assert_eq!(number("0x1.8p3"), Ok(TokenKind::Float(12.0)));
        for bad in ["08", "0x", "1x", "1.2.3", "9223372036854775809", "0b2", "1e", "1e999"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escapes_are_those_of_c() {
        assert_eq!(unescape(r"a\tb\x41\101\u00e9\U0001F600\'\\"), Ok("a\tbAA\u{e9}\u{1F600}'\\".to_owned()));
        assert_eq!(unescape(r"50\%"), Ok(r"50\%".to_owned()));
        for bad in [r"\", r"\q", r"\x4", r"\ud800", r"\u00", r"\xff"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }
}
