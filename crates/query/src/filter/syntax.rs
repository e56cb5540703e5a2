//! The shape of an expression before it means anything.

use std::ops::Range;

use crate::plan::{CompareOp, ContainsMode, Literal};

/// A part of an expression and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
    /// Levels of nodes below; bounded, because everything that walks nodes recurses.
    pub(super) depth: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Literal(Literal),
    /// 9223372036854775808, which only a minus sign makes an i64.
    IntMinMagnitude,
    /// A name with the keys in brackets behind it.
    Column {
        name: String,
        keys: Vec<Key>,
    },
    Template(String),
    /// A list with anything but plain literals in it.
    List(Vec<Node>),
    Unary(UnaryOp, Box<Node>),
    Arithmetic(BinaryOp, Box<Node>, Box<Node>),
    Compare(CompareOp, Box<Node>, Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    In {
        column: Box<Node>,
        list: Box<Node>,
        negated: bool,
    },
    Like {
        column: Box<Node>,
        pattern: Box<Node>,
    },
    /// `lower < column < upper`, or the other way round.
    Between {
        lower: Box<Node>,
        lower_inclusive: bool,
        column: Box<Node>,
        upper: Box<Node>,
        upper_inclusive: bool,
    },
    IsNull {
        column: Box<Node>,
        negated: bool,
    },
    Exists(Box<Node>),
    Contains {
        mode: ContainsMode,
        column: Box<Node>,
        elements: Box<Node>,
    },
    ArrayLength(Box<Node>),
}

/// What stands in brackets behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Name(String),
    Position(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnaryOp {
    Plus,
    Minus,
    Not,
    BitNot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Shift,
    BitAnd,
    BitXor,
    BitOr,
}

impl Node {
    /// The nodes right below.
    pub(super) fn children(kind: &Kind) -> Vec<&Node> {
        match kind {
            Kind::Literal(_) | Kind::IntMinMagnitude | Kind::Column { .. } | Kind::Template(_) => Vec::new(),
            Kind::List(nodes) | Kind::And(nodes) | Kind::Or(nodes) => nodes.iter().collect(),
            Kind::Unary(_, node) | Kind::IsNull { column: node, .. } => vec![node],
            Kind::Exists(node) | Kind::ArrayLength(node) => vec![node],
            Kind::Arithmetic(_, left, right) | Kind::Compare(_, left, right) => vec![left, right],
            Kind::In { column, list, .. } => vec![column, list],
            Kind::Like { column, pattern } => vec![column, pattern],
            Kind::Contains { column, elements, .. } => vec![column, elements],
            Kind::Between { lower, column, upper, .. } => vec![lower, column, upper],
        }
    }
}
