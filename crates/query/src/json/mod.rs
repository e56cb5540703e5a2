//! What stands at a path of a JSON text, without parsing the rest?
//!
//! Rows store JSON as text that was checked when it came in. Filters look at one or two keys of it,
//! so the text is walked just far enough: values on the way are skipped by their brackets, nothing is
//! allocated, nothing recurses, however deep the text nests. Text that is no JSON has no values; it
//! never panics.

mod cursor;
mod number;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use number::{Number, order_int_double};
pub(crate) use text::JsonText;

use self::cursor::Cursor;

/// A value inside a JSON text. Containers are the text from their bracket on, not yet looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum JsonValue<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(JsonText<'a>),
    Array(&'a [u8]),
    Object(&'a [u8]),
}

/// Steps from the root to a value: keys of objects, positions in arrays.
#[derive(Clone, Debug)]
pub(crate) struct JsonPath<'p>(Vec<Step<'p>>);

#[derive(Clone, Debug)]
struct Step<'p> {
    key: &'p str,
    /// Set where the key is a number: then it may be a position as well.
    position: Option<usize>,
}

impl<'p> JsonPath<'p> {
    pub(crate) fn new(path: &'p [String]) -> Self {
        let position = |key: &str| {
            let number =
                key.bytes().all(|byte| byte.is_ascii_digit()) && !(key.len() > 1 && key.starts_with('0'));
            number.then(|| key.parse().ok()).flatten()
        };
        Self(path.iter().map(|key| Step { key, position: position(key) }).collect())
    }

    /// The value there; the first one where a key is repeated.
    pub(crate) fn find<'a>(&self, text: &'a [u8]) -> Option<JsonValue<'a>> {
        let mut cursor = Cursor::new(text);
        for step in &self.0 {
            match cursor.peek()? {
                b'{' => cursor.enter_member(step.key)?,
                b'[' => cursor.enter_element(step.position?)?,
                _ => return None,
            }
        }
        cursor.value()
    }
}

/// The elements of an array, up to where it stops being JSON.
pub(crate) fn elements(array: &[u8]) -> impl Iterator<Item = JsonValue<'_>> {
    let mut cursor = Cursor::new(array);
    let mut open = cursor.enter_array();
    std::iter::from_fn(move || {
        if !open {
            return None;
        }
        let value = cursor.value()?;
        open = cursor.skip_value().is_some() && cursor.accept(b',');
        Some(value)
    })
}

impl JsonValue<'_> {
    /// Whether there is anything in it but null: Milvus takes `null`, `{}`, `[]` and nests of these as
    /// not existing.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::Array(text) | Self::Object(text) => Cursor::new(text).finds_scalar(),
        }
    }
}
