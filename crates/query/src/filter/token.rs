//! The words of a filter expression.

use std::fmt;
use std::ops::Range;

use crate::plan::CompareOp;

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    End,
    Int(i64),
    /// 9223372036854775808, which only a minus sign makes an i64.
    IntMinMagnitude,
    Float(f64),
    String(String),
    Bool(bool),
    /// A field name, a dynamic key, `$meta`, or the name of a function.
    Name,
    Compare(CompareOp),
    And,
    Or,
    Not,
    In,
    Like,
    Exists,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Power,
    ShiftLeft,
    ShiftRight,
    BitAnd,
    BitOr,
    BitXor,
    BitNot,
    RegexMatch,
    RegexNotMatch,
    Assign,
    Comma,
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
}

/// The words that cannot be names, in their two spellings.
pub(super) fn keyword(word: &str) -> Option<TokenKind> {
    Some(match word {
        "and" | "AND" => TokenKind::And,
        "or" | "OR" => TokenKind::Or,
        "not" | "NOT" => TokenKind::Not,
        "in" | "IN" => TokenKind::In,
        "like" | "LIKE" => TokenKind::Like,
        "exists" | "EXISTS" => TokenKind::Exists,
        "true" | "True" | "TRUE" => TokenKind::Bool(true),
        "false" | "False" | "FALSE" => TokenKind::Bool(false),
        _ => return None,
    })
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "<EOF>",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Not => "not",
            Self::BitNot => "~",
            Self::Star => "*",
            Self::Slash => "/",
            Self::Percent => "%",
            Self::Compare(CompareOp::Equal) => "==",
            Self::Compare(CompareOp::NotEqual) => "!=",
            Self::Compare(CompareOp::Less) => "<",
            Self::Compare(CompareOp::LessOrEqual) => "<=",
            Self::Compare(CompareOp::Greater) => ">",
            Self::Compare(CompareOp::GreaterOrEqual) => ">=",
            Self::Comma => ",",
            Self::OpenParen => "(",
            Self::CloseParen => ")",
            Self::CloseBracket => "]",
            Self::CloseBrace => "}",
            Self::In => "in",
            Self::Name => "a name",
            _ => "a word",
        })
    }
}
