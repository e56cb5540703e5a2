//! Which fields does the client want back?

use std::collections::HashSet;

use redkite_service::Error;
use redkite_types::schema::DYNAMIC_FIELD_NAME;
use redkite_types::{CollectionSchema, FieldId};

use crate::refuse;

/// What is returned of each row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// Fields to read, in schema order, without the primary key.
    pub(crate) fields: Vec<FieldId>,
    /// Names to echo in the response, without the primary key.
    pub(crate) names: Vec<String>,
    /// Keys of the dynamic field that are wanted; none means all of them.
    pub(crate) dynamic_keys: Vec<String>,
    /// The primary key was asked for by name or by `*`.
    pub(crate) primary_key: bool,
    /// `count(*)`
    pub(crate) count: bool,
}

impl Output {
    /// Resolves the names a client asks for.
    pub(crate) fn resolve(schema: &CollectionSchema, wanted: &[String]) -> Result<Self, Error> {
        let mut output = Self::default();
        let mut chosen = vec![false; schema.fields.len()];
        let mut everything = false;
        // Names may be many, and are echoed once.
        let (mut seen, mut keys) = (HashSet::new(), HashSet::new());
        for name in wanted.iter().map(|name| name.trim()) {
            if name == "*" {
                everything = true;
                chosen.fill(true);
            } else if let Some((function, argument)) = aggregate(name) {
                output.add_aggregate(schema, function, argument)?;
            } else if let Some(at) = schema.fields.iter().position(|field| field.name == name) {
                chosen[at] = true;
            } else {
                let at = schema
                    .fields
                    .iter()
                    .position(|field| field.dynamic)
                    .ok_or_else(|| refuse::invalid(format_args!("field {name} not exist")))?;
                if seen.insert(name) {
                    output.add_dynamic(name, &mut keys)?;
                }
                chosen[at] = true;
            }
        }
        let all_dynamic = everything || wanted.iter().any(|name| name.trim() == DYNAMIC_FIELD_NAME);
        for (field, _) in schema.fields.iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
            if field.primary_key {
                output.primary_key = true;
                continue;
            }
            output.fields.push(field.id);
            if !field.dynamic || all_dynamic {
                output.names.push(field.name.clone());
            }
        }
        if all_dynamic {
            output.dynamic_keys.clear();
        }
        if output.count && (!output.fields.is_empty() || output.primary_key) {
            return Err(refuse::unsupported("fields besides count(*)"));
        }
        Ok(output)
    }

    fn add_dynamic(&mut self, name: &str, keys: &mut HashSet<String>) -> Result<(), Error> {
        let key = dynamic_key(name)
            .ok_or_else(|| refuse::invalid(format_args!("parse output field name failed: {name}")))?;
        if keys.insert(key.clone()) {
            self.dynamic_keys.push(key);
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    fn add_aggregate(
        &mut self,
        schema: &CollectionSchema,
        function: &str,
        argument: &str,
    ) -> Result<(), Error> {
        let function = function.to_ascii_lowercase();
        if argument == "*" {
            if function != "count" {
                return Err(refuse::invalid(format_args!(
                    "{function}(*) is not supported, only count(*) is allowed"
                )));
            }
            self.count = true;
            return Ok(());
        }
        if schema.field(argument).is_none() {
            return Err(refuse::invalid(format_args!(
                "target field {argument} for aggregation:{function} does not exist"
            )));
        }
        Err(refuse::unsupported(format_args!("aggregation {function}({argument})")))
    }
}

/// Function and argument of `count(x)` and its like.
fn aggregate(name: &str) -> Option<(&str, &str)> {
    let (function, rest) = name.split_once('(')?;
    let argument = rest.strip_suffix(')')?.trim();
    let function = function.trim();
    let known = ["count", "sum", "avg", "min", "max"];
    known.iter().any(|known| function.eq_ignore_ascii_case(known)).then_some((function, argument))
}

/// The key meant by `key` or `$meta["key"]`.
fn dynamic_key(name: &str) -> Option<String> {
    let quoted = name.strip_prefix(DYNAMIC_FIELD_NAME).and_then(|rest| {
        let inner = rest.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
        let key = inner
            .strip_prefix('"')
            .and_then(|key| key.strip_suffix('"'))
            .or_else(|| inner.strip_prefix('\'').and_then(|key| key.strip_suffix('\'')))?;
        (!key.is_empty() && !key.contains(['"', '\'', '[', ']', '\\'])).then(|| key.to_owned())
    });
    quoted.or_else(|| is_identifier(name).then(|| name.to_owned()))
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn resolve(wanted: &[&str]) -> Result<Output, Error> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        Output::resolve(&testing::collection().schema, &wanted)
    }

    fn refusal(wanted: &[&str]) -> String {
        resolve(wanted).unwrap_err().to_string()
    }

    #[test]
    fn names_are_resolved_in_schema_order() {
        let output = resolve(&["vector", "id", "text", "text"]).unwrap();
        assert_eq!(output.fields, [FieldId(101), FieldId(102)]);
        assert_eq!(output.names, ["text", "vector"]);
        assert!(output.primary_key);
        assert_eq!(resolve(&[]).unwrap(), Output::default());
    }

    #[test]
    fn a_star_means_everything() {
        let output = resolve(&["colour", "*"]).unwrap();
        assert_eq!(output.fields, [FieldId(101), FieldId(102), FieldId(103)]);
        assert!(output.primary_key && output.dynamic_keys.is_empty());
        assert_eq!(output.names, ["colour", "text", "vector", "$meta"]);
    }

    #[test]
    fn dynamic_keys_are_wanted_by_name() {
        let output = resolve(&["colour", r#"$meta["size"]"#, "colour"]).unwrap();
        assert_eq!(output.fields, [FieldId(103)]);
        assert_eq!(output.dynamic_keys, ["colour", "size"]);
        assert_eq!(output.names, ["colour", r#"$meta["size"]"#]);
        assert!(resolve(&["$meta"]).unwrap().dynamic_keys.is_empty());
    }

    #[test]
    fn counting_stands_alone() {
        assert!(resolve(&["Count( * )"]).unwrap().count);
        assert!(refusal(&["count(*)", "text"]).starts_with("operation not supported"));
        assert!(refusal(&["sum(*)"]).starts_with("sum(*) is not supported, only count(*) is allowed"));
        assert!(refusal(&["count(x)"]).starts_with("target field x for aggregation:count does not exist"));
        assert!(refusal(&["max(id)"]).starts_with("operation not supported: aggregation max(id)"));
    }

    #[test]
    fn refusals_are_in_milvus_words() {
        assert!(refusal(&["a b"]).starts_with("parse output field name failed: a b"));
        assert!(refusal(&[r#"$meta["a"]["b"]"#]).starts_with("parse output field name failed"));
        let fixed = testing::with_fields([testing::field("id", redkite_types::DataType::Int64)]);
        let refused = Output::resolve(&fixed.schema, &["x".to_owned()]).unwrap_err().to_string();
        assert!(refused.starts_with("field x not exist"));
    }
}
