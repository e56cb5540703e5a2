//! What a part of an expression stands for.

use redkite_types::DataType;

use crate::plan::{ArithmeticOp, ColumnRef, Literal, Predicate};

/// What a node stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// A value; named if it came from a template, whose values are cast rather than classed.
    Constant { value: Literal, template: Option<String> },
    /// A column or JSON key.
    Column(ColumnRef),
    /// Arithmetic that involves a column.
    Arithmetic(Box<Arithmetic>),
    /// The length of a JSON array.
    ArrayLength(ColumnRef),
    /// Something true, false or unknown for each row.
    Predicate(Predicate),
}

/// `left op right`, not yet compared with anything.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arithmetic {
    pub(super) op: ArithmeticOp,
    pub(super) left: Meaning,
    pub(super) right: Meaning,
    /// Int64 or Double.
    pub(super) data_type: DataType,
}

/// One side of a comparison.
#[derive(Debug)]
pub(super) enum Side {
    Constant { value: Literal, template: Option<String> },
    Other(Meaning),
}

impl Side {
    pub(super) fn of(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Constant { value, template } => Self::Constant { value, template },
            other => Self::Other(other),
        }
    }
}

impl Meaning {
    pub(super) fn constant(value: Literal) -> Self {
        Self::Constant { value, template: None }
    }

    /// The column it is, and nothing more.
    pub(super) fn as_column(&self) -> Option<&ColumnRef> {
        if let Self::Column(column) = self { Some(column) } else { None }
    }

    /// Type of its values; lists have none that a column could have.
    pub(super) fn data_type(&self) -> Option<DataType> {
        match self {
            Self::Constant { value, .. } => literal_type(value),
            Self::Column(column) => Some(column.data_type),
            Self::Arithmetic(arithmetic) => Some(arithmetic.data_type),
            Self::ArrayLength(_) => Some(DataType::Int64),
            Self::Predicate(_) => Some(DataType::Bool),
        }
    }

    /// Its type as messages spell it.
    pub(super) fn type_name(&self) -> String {
        match self {
            Self::Constant { value, .. } => literal_type_name(value),
            other => other.data_type().map(|data_type| data_type.name().to_owned()).unwrap_or_default(),
        }
    }
}

/// The type of a literal; `None` for lists.
pub(super) fn literal_type(literal: &Literal) -> Option<DataType> {
    Some(match literal {
        Literal::Bool(_) => DataType::Bool,
        Literal::Int64(_) => DataType::Int64,
        Literal::Double(_) => DataType::Double,
        Literal::VarChar(_) => DataType::VarChar,
        Literal::List(_) => return None,
    })
}

/// The type of the elements of a list, if they have one.
pub(super) fn element_type(list: &[Literal]) -> Option<DataType> {
    let first = literal_type(list.first()?)?;
    list.iter().all(|element| literal_type(element) == Some(first)).then_some(first)
}

pub(super) fn literal_type_name(literal: &Literal) -> String {
    match literal {
        Literal::List(list) => {
            format!("Array[{}]", element_type(list).map_or("None", DataType::name))
        }
        other => literal_type(other).map_or("None", DataType::name).to_owned(),
    }
}

/// A literal as Milvus's messages print it: the text form of its protobuf message.
pub(super) fn describe(literal: &Literal) -> String {
    match literal {
        Literal::Bool(value) => format!("bool_val:{value}"),
        Literal::Int64(value) => format!("int64_val:{value}"),
        Literal::Double(value) => format!("float_val:{value}"),
        Literal::VarChar(value) => format!("string_val:{value:?}"),
        Literal::List(list) => {
            let elements: Vec<_> =
                list.iter().map(|element| format!("array:{{{}}}", describe(element))).collect();
            format!("array_val:{{{}}}", elements.join(" "))
        }
    }
}
