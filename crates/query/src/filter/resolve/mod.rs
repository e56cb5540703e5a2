//! Nodes to meaning: what does each part of an expression stand for?
//!
//! Every node resolves to a [`Meaning`]; only predicates can be a filter, the others are operands.
//! The order of checks follows Milvus, so that the same mistake gets the same message.

mod arithmetic;
mod columns;
mod compare;
mod json;
mod meaning;

use std::ops::Range;

use redkite_types::CollectionSchema;

use self::meaning::{Meaning, Side};
use super::constant;
use super::error::FilterError;
use super::syntax::{BinaryOp, Kind, Node, UnaryOp};
use super::template::Templates;
use crate::plan::{CompareOp, Literal, LiteralSet, Predicate};

/// The predicate that a whole expression stands for.
pub(super) fn predicate(
    text: &str,
    node: &Node,
    schema: &CollectionSchema,
    templates: &Templates,
) -> Result<Predicate, FilterError> {
    let resolver = Resolver { text, schema, templates };
    match resolver.resolve(node)? {
        Meaning::Predicate(predicate) => Ok(predicate),
        Meaning::Constant { value: Literal::Bool(value), .. } => Ok(Predicate::Always(value)),
        other => {
            let data_type = other.type_name();
            let message = format!("predicate is not a boolean expression: {text}, data type: {data_type}");
            Err(FilterError::plan(&node.span, message).of_plan())
        }
    }
}

struct Resolver<'a> {
    text: &'a str,
    schema: &'a CollectionSchema,
    templates: &'a Templates,
}

impl Resolver<'_> {
    fn resolve(&self, node: &Node) -> Result<Meaning, FilterError> {
        let span = &node.span;
        match &node.kind {
            Kind::Literal(value) => Ok(Meaning::constant(value.clone())),
            Kind::IntMinMagnitude => {
                Err(FilterError::plan(span, "parsing \"9223372036854775808\": value out of range"))
            }
            Kind::Column { name, keys } => Ok(Meaning::Column(self.column(name, keys, span)?)),
            Kind::Template(name) => self.template(name, span),
            Kind::List(nodes) => self.list(nodes),
            Kind::Unary(op, operand) => self.unary(*op, operand, span),
            Kind::Arithmetic(op, left, right) => self.arithmetic(*op, left, right, span),
            Kind::Compare(op, left, right) => self.compare(*op, left, right, span),
            Kind::And(nodes) => self.logical(nodes, false),
            Kind::Or(nodes) => self.logical(nodes, true),
            Kind::In { column, list, negated } => self.membership(column, list, *negated),
            Kind::Like { column, pattern } => self.like(column, pattern),
            Kind::Between { lower, lower_inclusive, column, upper, upper_inclusive } => {
                let bounds = ((&**lower, *lower_inclusive), (&**upper, *upper_inclusive));
                self.between(column, bounds, span)
            }
            Kind::IsNull { column, negated } => self.null_test(column, *negated),
            Kind::Exists(column) => self.exists(column),
            Kind::Contains { mode, column, elements } => self.contains(*mode, column, elements),
            Kind::ArrayLength(column) => self.array_length(column, span),
        }
    }

    /// A part of the expression as messages quote it: without blanks outside of strings.
    fn quote(&self, span: &Range<usize>) -> String {
        let mut quoted = String::new();
        let (mut inside, mut escaped) = (None, false);
        for char in self.text.get(span.clone()).unwrap_or_default().chars() {
            match inside {
                None if char.is_ascii_whitespace() => continue,
                None if matches!(char, '\'' | '"') => inside = Some(char),
                Some(quote) if char == quote && !escaped => inside = None,
                _ => {}
            }
            escaped = inside.is_some() && char == '\\' && !escaped;
            quoted.push(char);
        }
        quoted
    }

    fn template(&self, name: &str, span: &Range<usize>) -> Result<Meaning, FilterError> {
        let value = self.templates.get(name).ok_or_else(|| {
            let message = format!("the value of expression template variable name {{{name}}} is not found");
            FilterError::plan(span, message).of_plan()
        })?;
        Ok(Meaning::Constant { value: value.to_literal(span)?, template: Some(name.to_owned()) })
    }

    fn list(&self, nodes: &[Node]) -> Result<Meaning, FilterError> {
        let literal = |node: &Node| match self.resolve(node)? {
            Meaning::Constant { value, .. } => Ok(value),
            _ => Err(FilterError::invalid(
                &node.span,
                format!("array element type must be generic value, but got: {}", self.quote(&node.span)),
            )),
        };
        Ok(Meaning::constant(Literal::List(nodes.iter().map(literal).collect::<Result<_, _>>()?)))
    }

    fn unary(&self, op: UnaryOp, operand: &Node, span: &Range<usize>) -> Result<Meaning, FilterError> {
        if op == UnaryOp::Minus && operand.kind == Kind::IntMinMagnitude {
            return Ok(Meaning::constant(Literal::Int64(i64::MIN)));
        }
        let meaning = self.resolve(operand)?;
        let sign = match op {
            UnaryOp::Plus => "+",
            UnaryOp::Minus => "-",
            UnaryOp::Not => "not",
            UnaryOp::BitNot => "~",
        };
        match (op, meaning) {
            (UnaryOp::Plus, meaning) => Ok(meaning),
            (UnaryOp::Minus, Meaning::Constant { value: Literal::Int64(value), .. }) => {
                Ok(Meaning::constant(Literal::Int64(value.wrapping_neg())))
            }
            (UnaryOp::Minus, Meaning::Constant { value: Literal::Double(value), .. }) => {
                Ok(Meaning::constant(Literal::Double(-value)))
            }
            (UnaryOp::Not, Meaning::Constant { value: Literal::Bool(value), .. }) => {
                Ok(Meaning::constant(Literal::Bool(!value)))
            }
            (UnaryOp::Not, Meaning::Constant { .. }) => {
                Err(FilterError::plan(span, "not can only apply on boolean"))
            }
            (UnaryOp::Not, Meaning::Predicate(predicate)) => Ok(Meaning::Predicate(negate(predicate))),
            (UnaryOp::Not, _) => {
                Err(FilterError::invalid(span, "not op can only be applied on boolean expression"))
            }
            (UnaryOp::Minus | UnaryOp::BitNot, _) => {
                Err(FilterError::invalid(span, format!("unexpected op: {sign}")))
            }
        }
    }

    /// `and` and `or`: constants are folded away, everything else must be a predicate.
    fn logical(&self, nodes: &[Node], or: bool) -> Result<Meaning, FilterError> {
        let name = if or { "or" } else { "and" };
        let meanings = nodes.iter().map(|node| self.resolve(node)).collect::<Result<Vec<_>, _>>()?;
        let all_constant = meanings.iter().all(|meaning| matches!(meaning, Meaning::Constant { .. }));
        let mut parts = Vec::new();
        let mut decided = false;
        for (meaning, node) in meanings.into_iter().zip(nodes) {
            match meaning {
                // `true or …` and `false and …` need no further look.
                Meaning::Constant { value: Literal::Bool(value), .. } => decided |= value == or,
                Meaning::Predicate(Predicate::Always(value)) => decided |= value == or,
                Meaning::Predicate(predicate) => parts.push(predicate),
                _ => {
                    let message = if all_constant {
                        format!("{name} can only apply on boolean")
                    } else {
                        format!("'{name}' can only be used between boolean expressions")
                    };
                    return Err(FilterError::plan(&node.span, message));
                }
            }
        }
        if all_constant {
            return Ok(Meaning::constant(Literal::Bool(decided == or)));
        }
        Ok(Meaning::Predicate(match (decided, or) {
            (true, _) => Predicate::Always(or),
            (false, true) => any(parts),
            (false, false) => all(parts),
        }))
    }

    fn arithmetic(
        &self,
        op: BinaryOp,
        left: &Node,
        right: &Node,
        span: &Range<usize>,
    ) -> Result<Meaning, FilterError> {
        let unsupported = match op {
            BinaryOp::Shift => Some("shift"),
            BinaryOp::BitAnd => Some("BitAnd"),
            BinaryOp::BitXor => Some("BitXor"),
            BinaryOp::BitOr => Some("BitOr"),
            _ => None,
        };
        if let Some(name) = unsupported {
            return Err(FilterError::invalid(span, format!("{name} is not supported: {}", self.quote(span))));
        }
        match (self.resolve(left)?, self.resolve(right)?) {
            (Meaning::Constant { value: left, .. }, Meaning::Constant { value: right, .. }) => {
                let value = constant::arithmetic(op, &left, &right);
                value.map(Meaning::constant).map_err(|message| FilterError::plan(span, message))
            }
            _ if op == BinaryOp::Power => Err(FilterError::invalid(
                span,
                format!("power can only apply on constants: {}", self.quote(span)),
            )),
            (left, right) => arithmetic::combine(op, left, right, span),
        }
    }

    fn compare(
        &self,
        op: CompareOp,
        left: &Node,
        right: &Node,
        span: &Range<usize>,
    ) -> Result<Meaning, FilterError> {
        match (self.resolve(left)?, self.resolve(right)?) {
            (Meaning::Constant { value: left, .. }, Meaning::Constant { value: right, .. }) => {
                let Some(holds) = constant::compare(op, &left, &right) else {
                    let message = format!(
                        "comparison operations cannot be applied to two incompatible operands: {}",
                        self.quote(span)
                    );
                    return Err(FilterError::invalid(span, message));
                };
                Ok(Meaning::constant(Literal::Bool(holds)))
            }
            (left, right) => {
                compare::compare(op, Side::of(left), Side::of(right), span).map(Meaning::Predicate)
            }
        }
    }
}

/// `not` of a predicate; double negation cancels, in three-valued logic too.
fn negate(predicate: Predicate) -> Predicate {
    match predicate {
        Predicate::Not(inner) => *inner,
        Predicate::Always(value) => Predicate::Always(!value),
        other => Predicate::Not(Box::new(other)),
    }
}

fn all(mut parts: Vec<Predicate>) -> Predicate {
    match parts.len() {
        0 => Predicate::Always(true),
        1 => parts.remove(0),
        _ => Predicate::And(parts),
    }
}

/// `or` of predicates. `a == 1 or a == 2 …` is one set: generated filters have thousands of these.
fn any(parts: Vec<Predicate>) -> Predicate {
    let mut merged: Vec<Predicate> = Vec::with_capacity(parts.len());
    let mut sets = std::collections::HashMap::new();
    for part in parts {
        let (column, literals) = match part {
            Predicate::Compare { column, op: CompareOp::Equal, value }
                if !matches!(value, Literal::List(_)) =>
            {
                (column, vec![value])
            }
            Predicate::Or(parts) => {
                merged.extend(parts);
                continue;
            }
            other => {
                merged.push(other);
                continue;
            }
        };
        let (_, values) = sets.entry(column).or_insert_with(|| {
            merged.push(Predicate::Always(false));
            (merged.len() - 1, Vec::new())
        });
        values.extend(literals);
    }
    for (column, (position, mut values)) in sets {
        merged[position] = if values.len() == 1 {
            Predicate::Compare { column, op: CompareOp::Equal, value: values.remove(0) }
        } else {
            Predicate::In { column, values: LiteralSet::from_iter(values) }
        };
    }
    if merged.len() == 1 { merged.remove(0) } else { Predicate::Or(merged) }
}
