//! Indexes on paths of JSON fields.
//!
//! Such an index is recorded and described, and nothing is built for it: filters read the JSON itself.
//! A field may have one index for each path.

use std::collections::BTreeMap;
use std::fmt;

use redkite_service::Error;
use redkite_types::FieldSchema;
use redkite_types::schema::DYNAMIC_FIELD_NAME;

use crate::refuse;

pub(super) const PATH: &str = "json_path";
const CAST_TYPE: &str = "json_cast_type";
const CAST_FUNCTION: &str = "json_cast_function";

/// Where in a JSON value the indexed part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<String>);

impl fmt::Display for JsonPath {
    /// As a JSON pointer, which Milvus appends to names of indexes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl JsonPath {
    /// The undeclared key that the path begins with, for the dynamic field.
    pub(crate) fn key(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Reads `field['key'][0]`.
    pub(super) fn parse(field: &FieldSchema, text: &str) -> Result<Self, Error> {
        let unreadable = || match text.chars().next().filter(|first| !is_identifier(&first.to_string())) {
            Some(first) => refuse::invalid(format_args!(
                "cannot parse identifier: {text}, error: line 1:0 mismatched input '{first}'"
            )),
            None => refuse::invalid(format_args!("cannot parse identifier: {text}")),
        };
        let end = text.find('[').unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let name = name.trim_end();
        if !is_identifier(name) {
            return Err(unreadable());
        }
        let mut steps = Vec::new();
        if field.dynamic && name != DYNAMIC_FIELD_NAME {
            steps.push(name.to_owned());
        } else if name != field.name {
            return Err(refuse::invalid(format_args!(
                "fieldID not match with field name: path {text} is not of field {}",
                field.name
            )));
        }
        while !rest.trim_start().is_empty() {
            let (step, after) = bracketed(rest.trim_start()).ok_or_else(unreadable)?;
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps))
    }
}

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
}

/// One `['key']`, `["key"]` or `[7]`, and what follows it.
fn bracketed(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('[')?.trim_start();
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            let end = quoted.find(quote)?;
            let after = quoted[end + 1..].trim_start().strip_prefix(']')?;
            return Some((quoted[..end].to_owned(), after));
        }
    }
    let end = inner.find(']')?;
    let position: u64 = inner[..end].trim().parse().ok()?;
    Some((position.to_string(), &inner[end + 1..]))
}

/// Checks to which type values are cast for an index of this kind.
pub(super) fn check_cast(
    params: &BTreeMap<String, String>,
    allowed: &[&str],
    suffix: &str,
) -> Result<(), Error> {
    let text = |key| params.get(key).map(|text: &String| text.trim().to_ascii_uppercase());
    let Some(cast) = text(CAST_TYPE) else {
        return Err(refuse::missing("json index must specify cast type"));
    };
    if !allowed.contains(&cast.as_str()) {
        return Err(refuse::invalid(format_args!("json_cast_type {cast} is not supported{suffix}")));
    }
    match text(CAST_FUNCTION).as_deref() {
        None => Ok(()),
        Some("STRING_TO_DOUBLE") if cast == "DOUBLE" => Ok(()),
        Some("STRING_TO_DOUBLE") => Err(refuse::invalid(format_args!(
            "json_cast_function STRING_TO_DOUBLE is not supported for json_cast_type {cast}"
        ))),
        Some(other) => Err(refuse::invalid(format_args!("json_cast_function {other} is not supported"))),
    }
}

#[cfg(test)]
mod tests {
    use redkite_types::DataType;

    use super::*;
    use crate::testing;

    #[test]
    fn paths_are_read() {
        let declared = testing::field("j", DataType::Json);
        let dynamic = FieldSchema { dynamic: true, ..testing::field("$meta", DataType::Json) };
        let table = [
            (&declared, "j", ""),
            (&declared, "j['a']['b']", "/a/b"),
            (&declared, "j[\"a\"][0]['b']", "/a/0/b"),
            (&declared, "j['a/b']", "/a~1b"),
            (&dynamic, "k", "/k"),
            (&dynamic, "k['a'][ 7 ]", "/k/a/7"),
            (&dynamic, "$meta['k']", "/k"),
        ];
        for (field, text, expected) in table {
            assert_eq!(JsonPath::parse(field, text).unwrap().to_string(), expected, "{text}");
        }
        assert_eq!(JsonPath::parse(&dynamic, "k[0]").unwrap().key(), Some("k"));
        for text in ["", "j[", "j['a'", "j[a]", "j['a']x", "/a", "a b['c']"] {
            assert!(JsonPath::parse(&declared, text).is_err(), "{text}");
        }
        let message = JsonPath::parse(&dynamic, "a-b").unwrap_err().to_string();
        assert_eq!(message, "cannot parse identifier: a-b: invalid parameter");
        let message = JsonPath::parse(&dynamic, "/a").unwrap_err().to_string();
        assert!(message.contains("cannot parse identifier: /a") && message.contains("mismatched input '/'"));
    }
}
