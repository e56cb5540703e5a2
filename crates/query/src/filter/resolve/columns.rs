//! Columns by name, and the tests that take one column: `in`, `like`, ranges, null.

use std::ops::Range;

use redkite_types::schema::DYNAMIC_FIELD_NAME;
use redkite_types::{DataType, FieldSchema};

use super::compare::{cast, classes_compare};
use super::meaning::{Meaning, describe, literal_type_name};
use super::{Resolver, constant, negate};
use crate::filter::error::FilterError;
use crate::filter::syntax::{Key, Node};
use crate::plan::{ColumnRef, CompareOp, LikePattern, Literal, LiteralSet, Predicate};

impl Resolver<'_> {
    /// The field of this name, or the dynamic key if no field has it.
    pub(super) fn column(
        &self,
        name: &str,
        keys: &[Key],
        span: &Range<usize>,
    ) -> Result<ColumnRef, FilterError> {
        let field = self.field(name, span)?;
        if !keys.is_empty() && field.data_type != DataType::Json {
            let message = format!("{} data type not supported accessed with []", field.data_type);
            return Err(FilterError::invalid(span, message));
        }
        let mut path = Vec::with_capacity(keys.len() + 1);
        if field.name != name {
            path.push(name.to_owned());
        }
        for key in keys {
            path.push(match key {
                Key::Name(key) if key.is_empty() => {
                    let message = format!("invalid identifier: {}", self.quote(span));
                    return Err(FilterError::invalid(span, message));
                }
                Key::Name(key) => key.clone(),
                Key::Position(position) => position.to_string(),
            });
        }
        Ok(ColumnRef { field: field.id, data_type: field.data_type, path })
    }

    fn field(&self, name: &str, span: &Range<usize>) -> Result<&FieldSchema, FilterError> {
        let declared = self.schema.field(name).filter(|field| name != DYNAMIC_FIELD_NAME || field.dynamic);
        declared
            .or_else(|| self.schema.dynamic_field())
            .ok_or_else(|| FilterError::invalid(span, format!("field {name} not exist")))
    }

    pub(super) fn membership(
        &self,
        column: &Node,
        list: &Node,
        negated: bool,
    ) -> Result<Meaning, FilterError> {
        let quoted = || self.quote(&column.span);
        let column = match self.resolve(column)? {
            Meaning::Column(column_ref) => column_ref,
            Meaning::Constant { .. } => {
                let message =
                    format!("'term' can only be used on non-const expression, but got: {}", quoted());
                return Err(FilterError::invalid(&column.span, message));
            }
            _ => {
                let message = format!("'term' can only be used on single field, but got: {}", quoted());
                return Err(FilterError::invalid(&column.span, message));
            }
        };
        let literals = self.list_of_membership(list)?;
        let predicate = if literals.is_empty() {
            Predicate::Always(false)
        } else {
            let values = set_of(&column, literals, &list.span)?;
            Predicate::In { column, values }
        };
        Ok(Meaning::Predicate(if negated { negate(predicate) } else { predicate }))
    }

    fn list_of_membership(&self, list: &Node) -> Result<Vec<Literal>, FilterError> {
        let span = &list.span;
        match self.resolve(list)? {
            Meaning::Constant { value: Literal::List(literals), .. } => Ok(literals),
            Meaning::Constant { template: Some(name), .. } => {
                let message =
                    format!("the value of term expression template variable {{{name}}} is not array");
                Err(FilterError::plan(span, message).of_plan())
            }
            Meaning::Constant { .. } => Err(FilterError::invalid(
                span,
                format!("the right-hand side of 'in' must be a list, but got: {}", self.quote(span)),
            )),
            _ => Err(FilterError::invalid(
                span,
                format!("value '{}' in list cannot be a non-const expression", self.quote(span)),
            )),
        }
    }

    pub(super) fn like(&self, column: &Node, pattern: &Node) -> Result<Meaning, FilterError> {
        let meaning = self.resolve(column)?;
        let Some(left) = meaning.as_column() else {
            let message = if matches!(meaning, Meaning::Constant { .. }) {
                "the left operand of like is invalid"
            } else {
                "like operation on complicated expr is unsupported"
            };
            return Err(FilterError::plan(&column.span, message));
        };
        if !matches!(left.data_type, DataType::VarChar | DataType::Json) {
            let message = "like operation on non-string or no-json field is unsupported";
            return Err(FilterError::plan(&column.span, message));
        }
        let text = match self.resolve(pattern)? {
            Meaning::Constant { value: Literal::VarChar(text), .. } => text,
            Meaning::Constant { template: Some(name), .. } => {
                let message =
                    format!("the value of like expression template variable {{{name}}} is not string");
                return Err(FilterError::plan(&pattern.span, message).of_plan());
            }
            _ => {
                let message = format!(
                    "like pattern should be a string literal or template variable, got: {}",
                    self.quote(&pattern.span)
                );
                return Err(FilterError::invalid(&pattern.span, message));
            }
        };
        Ok(Meaning::Predicate(Predicate::Like { column: left.clone(), pattern: LikePattern::parse(&text) }))
    }

    pub(super) fn null_test(&self, node: &Node, negated: bool) -> Result<Meaning, FilterError> {
        let meaning = self.resolve(node)?;
        let column = meaning.as_column().expect("the parser reads null tests behind columns only").clone();
        if column.data_type.is_vector() {
            let message = "IsNull/IsNotNull operations are not supported on vector fields";
            return Err(FilterError::invalid(&node.span, message));
        }
        // A JSON key is null when it is not there: Milvus turns the one into the other.
        let (predicate, negated) = if column.path.is_empty() {
            (Predicate::IsNull { column }, negated)
        } else {
            (Predicate::Exists { column }, !negated)
        };
        Ok(Meaning::Predicate(if negated { negate(predicate) } else { predicate }))
    }

    /// `lower < column < upper`.
    pub(super) fn between(
        &self,
        column_node: &Node,
        ((lower_node, lower_inclusive), (upper_node, upper_inclusive)): ((&Node, bool), (&Node, bool)),
        span: &Range<usize>,
    ) -> Result<Meaning, FilterError> {
        let meaning = self.resolve(column_node)?;
        let column = meaning.as_column().expect("the parser reads ranges around columns only").clone();
        let lower = self.bound("lowerbound", lower_node, &column)?;
        let upper = self.bound("upperbound", upper_node, &column)?;
        let crossed =
            if lower_inclusive && upper_inclusive { CompareOp::Greater } else { CompareOp::GreaterOrEqual };
        let comparable = !matches!((&lower, &upper), (Literal::Bool(_), _) | (_, Literal::Bool(_)));
        if comparable && constant::compare(crossed, &lower, &upper) == Some(true) {
            return Err(FilterError::plan(span, "invalid range: lowerbound is greater than upperbound"));
        }
        let predicate = Predicate::Between { column, lower, lower_inclusive, upper, upper_inclusive };
        Ok(Meaning::Predicate(predicate))
    }

    fn bound(&self, which: &str, node: &Node, column: &ColumnRef) -> Result<Literal, FilterError> {
        let Meaning::Constant { value, template } = self.resolve(node)? else {
            let message = format!("{which} cannot be a non-const expression: {}", self.quote(&node.span));
            return Err(FilterError::invalid(&node.span, message));
        };
        if template.is_some() {
            return cast(column.data_type, value, &node.span).map_err(FilterError::of_plan);
        }
        match (column.data_type, &value) {
            (DataType::Json, _) => Ok(value),
            (DataType::Bool, _) => {
                Err(FilterError::plan(&node.span, "invalid range operations on boolean expr"))
            }
            (data_type, _) if data_type.is_vector() => {
                let (left, right) = (data_type.name(), literal_type_name(&value));
                let message = format!("comparisons between {left} and {right} are not supported");
                Err(FilterError::plan(&node.span, message))
            }
            _ => cast(column.data_type, value, &node.span)
                .map_err(|_| FilterError::plan(&node.span, "invalid range operations")),
        }
    }
}

/// The literals cast to the column's class, as a set.
fn set_of(
    column: &ColumnRef,
    literals: Vec<Literal>,
    span: &Range<usize>,
) -> Result<LiteralSet, FilterError> {
    let data_type = column.data_type;
    let literals = literals.into_iter().map(|literal| {
        // Casting is rare: only doubles take another class than they are given.
        if classes_compare(data_type, &literal) && !data_type.is_floating() {
            return Ok(literal);
        }
        let shown = describe(&literal);
        cast(data_type, literal, span).map_err(|_| {
            FilterError::invalid(span, format!("value '{shown}' in list cannot be casted to {data_type}"))
        })
    });
    literals.collect()
}
