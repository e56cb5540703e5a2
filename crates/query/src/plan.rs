//! What a filter means once it is parsed, resolved against a schema and type-checked.
//!
//! A [`Plan`] is made once at the proxy and travels to every node that holds rows. Literals are
//! already cast to the class of the column they are compared with, lists are sorted sets, patterns
//! are taken apart; evaluation has nothing left to decide.

mod display;
mod keys;
mod literal;
mod pattern;

pub use literal::{Literal, LiteralSet};
pub use pattern::{LikePattern, LikeStep};

use redkite_types::{DataType, FieldId, PrimaryKeys};
use serde::{Deserialize, Serialize};

/// A filter ready to be evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Which rows are wanted.
    pub predicate: Predicate,
    /// The collection's primary key field.
    pub key_field: FieldId,
    /// Its type: Int64 or VarChar.
    pub key_type: DataType,
}

/// The rows for which this holds. Three-valued: comparing with null, or with a JSON key that is not
/// there, is UNKNOWN; only TRUE rows are wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicate {
    /// The same for every row.
    Always(bool),
    /// TRUE and FALSE swapped.
    Not(Box<Predicate>),
    /// All of them.
    And(Vec<Predicate>),
    /// Any of them.
    Or(Vec<Predicate>),
    /// A column against a literal of its class.
    Compare {
        /// Left side.
        column: ColumnRef,
        /// How.
        op: CompareOp,
        /// Right side.
        value: Literal,
    },
    /// A column between two literals of its class.
    Between {
        /// What is between.
        column: ColumnRef,
        /// Lower bound.
        lower: Literal,
        /// Whether the lower bound itself counts.
        lower_inclusive: bool,
        /// Upper bound.
        upper: Literal,
        /// Whether the upper bound itself counts.
        upper_inclusive: bool,
    },
    /// A column equal to any of some literals.
    In {
        /// Left side.
        column: ColumnRef,
        /// Right side.
        values: LiteralSet,
    },
    /// Text like a pattern.
    Like {
        /// VarChar column or JSON key.
        column: ColumnRef,
        /// What it looks like.
        pattern: LikePattern,
    },
    /// The row has no value. Never UNKNOWN.
    IsNull {
        /// A column without a path.
        column: ColumnRef,
    },
    /// A JSON key is there and holds anything but null, `{}`, `[]` or nests of these. Never UNKNOWN.
    Exists {
        /// A JSON key.
        column: ColumnRef,
    },
    /// A JSON array has elements equal to literals.
    Contains {
        /// A JSON column or key.
        column: ColumnRef,
        /// One, all or any of the values.
        mode: ContainsMode,
        /// The wanted elements.
        values: Vec<Literal>,
    },
    /// `column <arith> operand <op> value`.
    Arithmetic {
        /// A number column or JSON key.
        column: ColumnRef,
        /// What is done to it.
        arith: ArithmeticOp,
        /// With this number.
        operand: Literal,
        /// How the outcome is compared.
        op: CompareOp,
        /// With this number.
        value: Literal,
    },
    /// The length of a JSON array against a number; what is no array has length 0.
    ArrayLength {
        /// A JSON column or key.
        column: ColumnRef,
        /// How.
        op: CompareOp,
        /// With this number.
        value: Literal,
    },
    /// Two columns of the same class against each other.
    CompareColumns {
        /// Left side.
        left: ColumnRef,
        /// How.
        op: CompareOp,
        /// Right side.
        right: ColumnRef,
    },
}

/// A column, or a key inside a JSON column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnRef {
    /// The stored field.
    pub field: FieldId,
    /// Its type.
    pub data_type: DataType,
    /// Object keys or array positions inside JSON; empty for the whole value.
    pub path: Vec<String>,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl CompareOp {
    /// The operator that holds with swapped sides: `a < b` is `b > a`.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    /// Whether it holds for values in this order; `None` (not comparable) is only ever "not equal".
    #[must_use]
    #[inline]
    pub fn holds(self, ordering: Option<std::cmp::Ordering>) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        match self {
            Self::Equal => ordering == Some(Equal),
            Self::NotEqual => ordering != Some(Equal),
            Self::Less => ordering == Some(Less),
            Self::LessOrEqual => matches!(ordering, Some(Less | Equal)),
            Self::Greater => ordering == Some(Greater),
            Self::GreaterOrEqual => matches!(ordering, Some(Greater | Equal)),
        }
    }
}

/// What is done to a number before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// Which elements an array must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum ContainsMode {
    One,
    All,
    Any,
}

impl Plan {
    /// Whether every row is wanted.
    #[must_use]
    pub fn always_true(&self) -> bool {
        self.predicate == Predicate::Always(true)
    }

    /// The keys, if the filter is exactly `key == x` or `key in [..]`: the wanted rows are those with
    /// these keys, whatever else they hold.
    #[must_use]
    pub fn primary_keys(&self) -> Option<PrimaryKeys> {
        keys::exact(&self.predicate, self.key_field, self.key_type)
    }

    /// Keys that every wanted row has one of, if the filter demands some (also as in
    /// `key in [..] and other`): rows with other keys need no look.
    #[must_use]
    pub fn candidate_keys(&self) -> Option<PrimaryKeys> {
        keys::candidates(&self.predicate, self.key_field, self.key_type)
    }

    /// The fields the predicate reads, each once, ascending.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldId> {
        self.predicate.fields()
    }
}

impl Predicate {
    /// The fields it reads, each once, ascending.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldId> {
        let mut fields = Vec::new();
        self.collect_fields(&mut fields);
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn collect_fields(&self, fields: &mut Vec<FieldId>) {
        match self {
            Self::Always(_) => {}
            Self::Not(inner) => inner.collect_fields(fields),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.collect_fields(fields)),
            Self::Compare { column, .. }
            | Self::Between { column, .. }
            | Self::In { column, .. }
            | Self::Like { column, .. }
            | Self::IsNull { column }
            | Self::Exists { column }
            | Self::Contains { column, .. }
            | Self::Arithmetic { column, .. }
            | Self::ArrayLength { column, .. } => fields.push(column.field),
            Self::CompareColumns { left, right, .. } => fields.extend([left.field, right.field]),
        }
    }
}
