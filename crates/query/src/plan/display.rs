//! Plans as text, for logs and tests: a filter expression again, with field ids for names.

use std::fmt;

use super::{
    ArithmeticOp, ColumnRef, CompareOp, ContainsMode, LikePattern, LikeStep, Literal, LiteralSet, Predicate,
};

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(value) => write!(f, "{value}"),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::And(parts) => joined(f, parts, " and "),
            Self::Or(parts) => joined(f, parts, " or "),
            Self::Compare { column, op, value } => write!(f, "{column} {op} {value}"),
            Self::Between { column, lower, lower_inclusive, upper, upper_inclusive } => {
                let sign = |inclusive: &bool| if *inclusive { "<=" } else { "<" };
                write!(f, "{lower} {} {column} {} {upper}", sign(lower_inclusive), sign(upper_inclusive))
            }
            Self::In { column, values } => write!(f, "{column} in {values}"),
            Self::Like { column, pattern } => write!(f, "{column} like {:?}", pattern.to_string()),
            Self::IsNull { column } => write!(f, "{column} is null"),
            Self::Exists { column } => write!(f, "exists {column}"),
            Self::Contains { column, mode, values } => {
                let mode = match mode {
                    ContainsMode::One => "",
                    ContainsMode::All => "_all",
                    ContainsMode::Any => "_any",
                };
                write!(f, "json_contains{mode}({column}, ")?;
                list(f, values)?;
                f.write_str(")")
            }
            Self::Arithmetic { column, arith, operand, op, value } => {
                write!(f, "{column} {arith} {operand} {op} {value}")
            }
            Self::ArrayLength { column, op, value } => write!(f, "array_length({column}) {op} {value}"),
            Self::CompareColumns { left, op, right } => write!(f, "{left} {op} {right}"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Predicate], word: &str) -> fmt::Result {
    for (position, part) in parts.iter().enumerate() {
        f.write_str(if position == 0 { "(" } else { word })?;
        write!(f, "{part}")?;
    }
    f.write_str(")")
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    f.write_str("[")?;
    for (position, item) in items.into_iter().enumerate() {
        f.write_str(if position == 0 { "" } else { ", " })?;
        write!(f, "{item}")?;
    }
    f.write_str("]")
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.field)?;
        self.path.iter().try_for_each(|key| write!(f, "[{key:?}]"))
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int64(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::VarChar(value) => write!(f, "{value:?}"),
            Self::List(values) => list(f, values),
        }
    }
}

impl fmt::Display for LiteralSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let literals = (self.has_false.then_some(Literal::Bool(false)).into_iter())
            .chain(self.has_true.then_some(Literal::Bool(true)))
            .chain(self.ints.iter().copied().map(Literal::Int64))
            .chain(self.doubles.iter().copied().map(Literal::Double))
            .chain(self.strings.iter().cloned().map(Literal::VarChar))
            .chain(self.lists.iter().cloned().map(Literal::List));
        list(f, literals)
    }
}

impl fmt::Display for LikePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |text: &str| text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
        match self {
            Self::Exact(text) => f.write_str(&plain(text)),
            Self::Prefix(text) => write!(f, "{}%", plain(text)),
            Self::Suffix(text) => write!(f, "%{}", plain(text)),
            Self::Infix(text) => write!(f, "%{}%", plain(text)),
            Self::Steps(steps) => steps.iter().try_for_each(|step| match step {
                LikeStep::Text(text) => f.write_str(&plain(text)),
                LikeStep::AnyChar => f.write_str("_"),
                LikeStep::AnyText => f.write_str("%"),
            }),
        }
    }
}

impl fmt::Display for CompareOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for ArithmeticOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        })
    }
}
