//! What does a filter expression mean for a collection?
//!
//! Text → words (`lexer`) → nodes (`parser`) → meaning (`resolve`): names become fields or
//! dynamic keys, constants are folded, placeholders filled in, types checked with Milvus's rules.
//! Bad expressions of any kind, nesting and length give a [`FilterError`], never a panic.

mod constant;
mod error;
mod lexer;
mod literal;
mod parser;
mod resolve;
mod syntax;
mod template;
mod token;

#[cfg(test)]
mod tests;

pub use error::{FilterError, PlanPurpose};
pub use template::{TemplateValue, Templates};

use redkite_types::CollectionSchema;

use crate::plan::{Plan, Predicate};

/// The plan of a filter. An empty filter wants every row.
///
/// # Errors
/// What is wrong with the expression, or with the values of its templates.
pub fn parse(text: &str, schema: &CollectionSchema, templates: &Templates) -> Result<Plan, FilterError> {
    let key = schema.primary_key();
    let predicate = if text.trim().is_empty() {
        Predicate::Always(true)
    } else {
        resolve::predicate(text, &parser::parse(text)?, schema, templates)?
    };
    Ok(Plan { predicate, key_field: key.id, key_type: key.data_type })
}
