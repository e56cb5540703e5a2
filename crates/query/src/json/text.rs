//! Strings inside JSON texts, unescaped only when they must be.

use std::borrow::Cow;

/// The text between two quotes, as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct JsonText<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> JsonText<'a> {
    pub(super) fn new(raw: &'a [u8], escaped: bool) -> Self {
        Self { raw, escaped }
    }

    pub(crate) fn equals(&self, text: &str) -> bool {
        if self.escaped { *self.text() == *text } else { self.raw == text.as_bytes() }
    }

    /// What the string says; empty if it is no valid string.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(std::str::from_utf8(self.raw).unwrap_or_default());
        }
        let mut quoted = Vec::with_capacity(self.raw.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(self.raw);
        quoted.push(b'"');
        Cow::Owned(serde_json::from_slice(&quoted).unwrap_or_default())
    }
}
