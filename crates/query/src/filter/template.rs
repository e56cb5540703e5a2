//! Values for the `{name}` placeholders of a filter. Milvus: `expr_template_values`.

use std::collections::HashMap;
use std::ops::Range;

use super::error::FilterError;
use crate::plan::Literal;

/// The value of one placeholder.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplateValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int64(i64),
    /// A number with fraction.
    Double(f64),
    /// Text.
    String(String),
    /// A list, for `in` and the `contains` functions.
    List(Vec<TemplateValue>),
    /// JSON text: a scalar or a list of such.
    Json(Vec<u8>),
}

/// The values by placeholder name.
pub type Templates = HashMap<String, TemplateValue>;

impl TemplateValue {
    /// The literal that could stand in the placeholder's place.
    pub(super) fn to_literal(&self, span: &Range<usize>) -> Result<Literal, FilterError> {
        Ok(match self {
            Self::Bool(value) => Literal::Bool(*value),
            Self::Int64(value) => Literal::Int64(*value),
            Self::Double(value) => Literal::Double(*value),
            Self::String(value) => Literal::VarChar(value.clone()),
            Self::List(values) => {
                Literal::List(values.iter().map(|value| value.to_literal(span)).collect::<Result<_, _>>()?)
            }
            Self::Json(text) => {
                let value: serde_json::Value = serde_json::from_slice(text)
                    .map_err(|error| FilterError::plan(span, error.to_string()).of_plan())?;
                from_json(&value, span)?
            }
        })
    }
}

fn from_json(value: &serde_json::Value, span: &Range<usize>) -> Result<Literal, FilterError> {
    use serde_json::Value;
    let unknown = || FilterError::plan(span, format!("{value} is of unknown type")).of_plan();
    Ok(match value {
        Value::Bool(value) => Literal::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(int) => Literal::Int64(int),
            None => Literal::Double(number.as_f64().ok_or_else(unknown)?),
        },
        Value::String(text) => Literal::VarChar(text.clone()),
        Value::Array(values) => {
            Literal::List(values.iter().map(|value| from_json(value, span)).collect::<Result<_, _>>()?)
        }
        Value::Null | Value::Object(_) => return Err(unknown()),
    })
}
