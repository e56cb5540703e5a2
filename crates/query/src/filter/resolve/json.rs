//! Tests on JSON: existence of keys, contents and length of arrays.

use std::ops::Range;

use redkite_types::DataType;

use super::Resolver;
use super::meaning::Meaning;
use crate::filter::error::FilterError;
use crate::filter::syntax::Node;
use crate::plan::{ColumnRef, ContainsMode, Literal, Predicate};

impl Resolver<'_> {
    pub(super) fn exists(&self, node: &Node) -> Result<Meaning, FilterError> {
        let span = &node.span;
        let meaning = self.resolve(node)?;
        let Some(column) = meaning.as_column() else {
            let quoted = self.quote(span);
            let message = format!("exists operations are only supported on single fields now, got: {quoted}");
            return Err(FilterError::invalid(span, message));
        };
        if column.data_type != DataType::Json {
            let message =
                format!("exists operations are only supportted on json field, got:{}", column.data_type);
            return Err(FilterError::invalid(span, message));
        }
        if column.path.is_empty() {
            return Err(FilterError::invalid(span, "exists operations are only supportted on json key"));
        }
        Ok(Meaning::Predicate(Predicate::Exists { column: column.clone() }))
    }

    pub(super) fn contains(
        &self,
        mode: ContainsMode,
        column: &Node,
        elements: &Node,
    ) -> Result<Meaning, FilterError> {
        let (name, milvus_name) = match mode {
            ContainsMode::One => ("contains", "Contains"),
            ContainsMode::All => ("contains_all", "ContainsAll"),
            ContainsMode::Any => ("contains_any", "ContainsAny"),
        };
        let column = self.json(column, |quoted| {
            format!("{name} operation are only supported on json or array fields now, got: {quoted}")
        })?;
        let Meaning::Constant { value, .. } = self.resolve(elements)? else {
            let quoted = self.quote(&elements.span);
            let message =
                format!("{name} operation are only supported explicitly specified element, got: {quoted}");
            return Err(FilterError::invalid(&elements.span, message));
        };
        let values = match (mode, value) {
            (ContainsMode::One, value) => vec![value],
            (_, Literal::List(values)) => values,
            _ => {
                let message = format!("{milvus_name} operation element must be an array");
                return Err(FilterError::plan(&elements.span, message));
            }
        };
        Ok(Meaning::Predicate(Predicate::Contains { column, mode, values }))
    }

    pub(super) fn array_length(&self, node: &Node, span: &Range<usize>) -> Result<Meaning, FilterError> {
        let quoted = self.quote(span);
        let column = self.json(node, |_| {
            format!(
                "array_length operation are only supported on json, array or array-of-vector fields now, got: {quoted}"
            )
        })?;
        Ok(Meaning::ArrayLength(column))
    }

    fn json(&self, node: &Node, message: impl Fn(&str) -> String) -> Result<ColumnRef, FilterError> {
        match self.resolve(node)? {
            Meaning::Column(column) if column.data_type == DataType::Json => Ok(column),
            _ => Err(FilterError::invalid(&node.span, message(&self.quote(&node.span)))),
        }
    }
}
