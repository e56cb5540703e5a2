//! A place in a JSON text, and the ways to move it.

use super::{JsonText, JsonValue, Number};

/// What a byte can end: looked up, because every byte of every row passes here.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' => BLANK | ENDS_SCALAR,
            b'"' => ENDS_SCALAR | ENDS_TEXT | ENDS_SKIP,
            b'\\' => ENDS_TEXT,
            b'{' | b'[' => ENDS_SKIP,
            b'}' | b']' => ENDS_SKIP | ENDS_SCALAR,
            b',' | b':' => ENDS_SCALAR,
            _ => 0,
        };
        byte += 1;
    }
    classes
};
const BLANK: u8 = 1;
/// Ends a number or word.
const ENDS_SCALAR: u8 = 2;
/// Ends a stretch of plain text inside a string.
const ENDS_TEXT: u8 = 4;
/// Needs a look while a container is skipped.
const ENDS_SKIP: u8 = 8;

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no blank.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !is(*byte, BLANK) {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Moves past this byte if it comes next.
    pub(super) fn accept(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Moves past an opening bracket; false if the array is empty, or none.
    pub(super) fn enter_array(&mut self) -> bool {
        self.accept(b'[') && self.peek().is_some_and(|byte| byte != b']')
    }

    /// Moves to the value of a key of the object here.
    pub(super) fn enter_member(&mut self, wanted: &str) -> Option<()> {
        if !self.accept(b'{') {
            return None;
        }
        loop {
            let key = self.string()?;
            if !self.accept(b':') {
                return None;
            }
            if key.equals(wanted) {
                return Some(());
            }
            self.skip_value()?;
            if !self.accept(b',') {
                return None;
            }
        }
    }

    /// Moves to an element of the array here.
    pub(super) fn enter_element(&mut self, position: usize) -> Option<()> {
        if !self.enter_array() {
            return None;
        }
        for _ in 0..position {
            self.skip_value()?;
            if !self.accept(b',') {
                return None;
            }
        }
        Some(())
    }

    /// The value here, without moving past it.
    pub(super) fn value(&mut self) -> Option<JsonValue<'a>> {
        let rest = |cursor: &Self| &cursor.text[cursor.at..];
        Some(match self.peek()? {
            b'{' => JsonValue::Object(rest(self)),
            b'[' => JsonValue::Array(rest(self)),
            b'"' => JsonValue::String(self.clone().string()?),
            b't' if rest(self).starts_with(b"true") => JsonValue::Bool(true),
            b'f' if rest(self).starts_with(b"false") => JsonValue::Bool(false),
            b'n' if rest(self).starts_with(b"null") => JsonValue::Null,
            b'-' | b'0'..=b'9' => {
                let len = self.scalar_length();
                JsonValue::Number(Number::parse(&self.text[self.at..self.at + len])?)
            }
            _ => return None,
        })
    }

    /// Moves past the value here.
    pub(super) fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_container(),
            _ => {
                let len = self.scalar_length();
                self.at += len;
                (len > 0).then_some(())
            }
        }
    }

    /// Brackets are only counted: whether they match was checked when the text came in.
    fn skip_container(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            self.at += self.text.get(self.at..)?.iter().position(|byte| is(*byte, ENDS_SKIP))?;
            match self.text[self.at] {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Whether the container here holds any scalar but null.
    pub(super) fn finds_scalar(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return false;
                    }
                }
                b'"' => {
                    if self.string().is_none() || !self.accept(b':') {
                        return true;
                    }
                    continue;
                }
                b'n' => self.at += b"null".len() - 1,
                b',' => {}
                _ => return true,
            }
            self.at += 1;
        }
        false
    }

    /// Moves past the string here; its text between the quotes.
    fn string(&mut self) -> Option<JsonText<'a>> {
        if !self.accept(b'"') {
            return None;
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..)?;
            self.at += rest.iter().position(|byte| is(*byte, ENDS_TEXT))?;
            if self.text[self.at] == b'"' {
                let raw = &self.text[start..self.at];
                self.at += 1;
                return Some(JsonText::new(raw, escaped));
            }
            escaped = true;
            self.at += 2;
        }
    }

    /// Bytes until the number or word here ends.
    fn scalar_length(&self) -> usize {
        let ends =
            |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | b':' | b'"');
        let rest = &self.text[self.at..];
        rest.iter().position(ends).unwrap_or(rest.len())
    }
}
