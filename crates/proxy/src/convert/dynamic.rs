//! Undeclared keys: what may be in `$meta`, and how are some of them cut out of it?

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use redkite_service::Error;
use redkite_types::CollectionSchema;
use redkite_types::schema::DYNAMIC_FIELD_NAME;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

use crate::refuse;

/// Checks one row of the dynamic field: a JSON object whose keys are no declared fields.
pub(crate) fn check_row(schema: &CollectionSchema, json: &[u8]) -> Result<(), Error> {
    if json == b"{}" {
        return Ok(());
    }
    let mut clash = None;
    let visitor = Keys(|key: &str| {
        if clash.is_none() && (key == DYNAMIC_FIELD_NAME || schema.field(key).is_some()) {
            clash = Some(key.to_owned());
        }
    });
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let parsed = deserializer.deserialize_map(visitor).and_then(|()| deserializer.end());
    if let Err(source) = parsed {
        let what = format!("invalid dynamic field data, only json map is supported: {source}");
        return Err(refuse::invalid(what));
    }
    match clash {
        None => Ok(()),
        Some(key) if key == DYNAMIC_FIELD_NAME => {
            Err(refuse::invalid(format_args!("cannot set json key to: {key}")))
        }
        Some(key) => Err(refuse::invalid(format_args!(
            "dynamic field name cannot include the static field name: {key}"
        ))),
    }
}

/// Visits the keys of an object, without building its values.
struct Keys<F>(F);

impl<'de, F: FnMut(&str)> Visitor<'de> for Keys<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, IgnoredAny)) = map.next_entry::<Cow<'de, str>, IgnoredAny>()? {
            (self.0)(&key);
        }
        Ok(())
    }
}

/// The object with only the wanted keys; values keep their spelling. What is no object stays as it is.
pub(crate) fn project(json: &[u8], wanted: &[String]) -> Vec<u8> {
    let Some(entries) = Entries::new(json) else {
        return json.to_vec();
    };
    let mut out = vec![b'{'];
    for (key, entry) in entries {
        if wanted.iter().any(|name| key_is(key, name)) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(entry);
        }
    }
    out.push(b'}');
    out
}

/// An object with the entries of both, the new one's where both have a key; values keep their spelling.
pub(crate) fn merge(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (Some(old), Some(fresh)) = (Entries::new(old), Entries::new(new)) else {
        return new.to_vec();
    };
    let replaced: HashSet<String> = fresh.filter_map(|(key, _)| name_of(key)).collect();
    let kept = old.filter(|(key, _)| name_of(key).is_none_or(|name| !replaced.contains(&name)));
    let mut out = vec![b'{'];
    for (_, entry) in kept.chain(Entries::new(new).into_iter().flatten()) {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(entry);
    }
    out.push(b'}');
    out
}

/// The name that a key means as it is spelled in JSON, quotes included.
fn name_of(spelled: &[u8]) -> Option<String> {
    serde_json::from_slice(spelled).ok()
}

/// Whether a key as it is spelled in JSON, quotes included, means this name.
fn key_is(spelled: &[u8], name: &str) -> bool {
    if spelled.contains(&b'\\') {
        return serde_json::from_slice::<String>(spelled).is_ok_and(|key| key == name);
    }
    spelled.get(1..spelled.len() - 1) == Some(name.as_bytes())
}

/// The entries of a valid JSON object: the spelled key, and the whole `"key": value` text.
struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn new(json: &'a [u8]) -> Option<Self> {
        let rest = json.trim_ascii().strip_prefix(b"{")?;
        Some(Self { rest })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest.iter().position(|byte| *byte == b'"')?;
        let entry = &self.rest[start..];
        let key = string_end(entry);
        let end = value_end(&entry[key..]) + key;
        self.rest = &entry[end..];
        Some((&entry[..key], entry[..end].trim_ascii_end()))
    }
}

/// Length of the string, quotes included, that the text begins with.
fn string_end(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the value ends that the text, after a key, holds: at the comma or brace of its own depth.
fn value_end(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += string_end(&text[at..]);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b'}' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use redkite_types::DataType;

    use super::*;
    use crate::testing;

    fn schema() -> CollectionSchema {
        testing::schema([testing::field("id", DataType::Int64)])
    }

    #[test]
    fn keys_of_a_row_are_checked() {
        let refusal = |json: &str| check_row(&schema(), json.as_bytes()).unwrap_err().to_string();
        assert!(check_row(&schema(), br#"{"a": [1, {"id": 2}], "b": "id"}"#).is_ok());
        assert!(
            refusal(r#"{"a": 1, "id": 2}"#)
                .starts_with("dynamic field name cannot include the static field name: id")
        );
        assert!(refusal(r#"{"$meta": 2}"#).starts_with("cannot set json key to: $meta"));
        assert!(refusal("[1]").starts_with("invalid dynamic field data, only json map is supported"));
        assert!(refusal(r#"{"a": 1} x"#).starts_with("invalid dynamic field data"));
    }

    #[test]
    fn projection_keeps_the_spelling_of_values() {
        let json = br#" {"a": 1.0, "b\u0061": {"a": [1, "}"]} , "c": "\"," , "d":[{},[]]}"#;
        let wanted = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            String::from_utf8(project(json, &names)).unwrap()
        };
        assert_eq!(wanted(&["a"]), r#"{"a": 1.0}"#);
        assert_eq!(wanted(&["ba"]), r#"{"b\u0061": {"a": [1, "}"]}}"#);
        assert_eq!(wanted(&["c", "d", "x"]), r#"{"c": "\",","d":[{},[]]}"#);
        assert_eq!(wanted(&["nope"]), "{}");
    }

    #[test]
    fn merged_objects_have_every_key_once() {
        let merged = |old: &str, new: &str| String::from_utf8(merge(old.as_bytes(), new.as_bytes())).unwrap();
        assert_eq!(merged(r#"{"a":1.0,"b":{"c":2}}"#, r#"{"b":3,"d":4}"#), r#"{"a":1.0,"b":3,"d":4}"#);
        assert_eq!(merged("{}", r#"{"b":3}"#), r#"{"b":3}"#);
        assert_eq!(merged(r#"{"b":3}"#, "{}"), r#"{"b":3}"#);
        assert_eq!(merged(r#"{"\u0061":1}"#, r#"{"a":2}"#), r#"{"a":2}"#);
    }
}
