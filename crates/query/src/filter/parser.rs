//! Words to nodes, by operator precedence (Pratt).
//!
//! Binding is that of Milvus's grammar, which differs from most languages: `like` binds tightest,
//! then `**`, then the prefixes (`not` among them), and comparisons bind looser than `in`.
//! `and` and `or` chains of any length are one node, so depth grows only with real nesting.

use std::ops::Range;

use super::error::FilterError;
use super::lexer::Lexer;
use super::syntax::{BinaryOp, Key, Kind, Node, UnaryOp};
use super::token::{Token, TokenKind};
use crate::plan::{CompareOp, ContainsMode, Literal};

/// Deepest nesting. Walking a node of this depth fits a 2 MiB stack many times over, unoptimised too;
/// Milvus's own tests nest about ten levels.
pub(super) const MAX_DEPTH: usize = 128;

/// How tightly operators bind, loosest first.
mod binding {
    pub(super) const OR: u8 = 1;
    pub(super) const AND: u8 = 2;
    pub(super) const BIT_OR: u8 = 3;
    pub(super) const BIT_XOR: u8 = 4;
    pub(super) const BIT_AND: u8 = 5;
    pub(super) const EQUALITY: u8 = 6;
    pub(super) const RELATION: u8 = 7;
    pub(super) const RANGE: u8 = 8;
    pub(super) const IN: u8 = 9;
    pub(super) const SHIFT: u8 = 10;
    pub(super) const SUM: u8 = 11;
    pub(super) const PRODUCT: u8 = 12;
    pub(super) const PREFIX: u8 = 13;
    pub(super) const POWER: u8 = 14;
    pub(super) const LIKE: u8 = 15;
}

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Node, FilterError> {
    let mut parser = Parser::new(text)?;
    let node = parser.expression(0)?;
    if parser.token.kind != TokenKind::End {
        return Err(FilterError::plan(&parser.token.span, format!("invalid expression: {text}")));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    token: Token,
    /// Levels of recursion in use.
    level: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, FilterError> {
        let mut lexer = Lexer::new(text);
        let token = lexer.next()?;
        Ok(Self { text, lexer, token, level: 0 })
    }

    fn expression(&mut self, least: u8) -> Result<Node, FilterError> {
        self.level += 1;
        if self.level > MAX_DEPTH {
            return Err(too_deep(&self.token.span));
        }
        let mut left = self.operand()?;
        while let Some(infix) = self.operator(least)? {
            left = infix.attach(self, left)?;
        }
        self.level -= 1;
        Ok(left)
    }

    fn advance(&mut self) -> Result<Token, FilterError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn accept(&mut self, kind: &TokenKind) -> Result<bool, FilterError> {
        let found = self.token.kind == *kind;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, kind: &TokenKind) -> Result<Token, FilterError> {
        if self.token.kind == *kind { self.advance() } else { Err(self.unexpected(&format!("'{kind}'"))) }
    }

    fn unexpected(&self, expected: &str) -> FilterError {
        let Range { start, end } = self.token.span;
        let found = if self.token.kind == TokenKind::End { "<EOF>" } else { &self.text[start..end] };
        FilterError::plan(
            &self.token.span,
            format!("line 1:{start} mismatched input '{found}' expecting {expected}"),
        )
    }

    fn node(&self, kind: Kind, span: Range<usize>) -> Result<Node, FilterError> {
        let depth = 1 + Node::children(&kind).into_iter().map(|node| node.depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(too_deep(&span));
        }
        Ok(Node { kind, span, depth })
    }

    /// What can stand where a value is wanted.
    fn operand(&mut self) -> Result<Node, FilterError> {
        let start = self.token.span.start;
        let prefix = match &self.token.kind {
            TokenKind::Plus => Some(UnaryOp::Plus),
            TokenKind::Minus => Some(UnaryOp::Minus),
            TokenKind::Not => Some(UnaryOp::Not),
            TokenKind::BitNot => Some(UnaryOp::BitNot),
            _ => None,
        };
        if let Some(op) = prefix {
            self.advance()?;
            let operand = self.expression(binding::PREFIX)?;
            let span = start..operand.span.end;
            return self.node(Kind::Unary(op, Box::new(operand)), span);
        }
        match &self.token.kind {
            TokenKind::Exists => {
                self.advance()?;
                let operand = self.expression(binding::LIKE + 1)?;
                let span = start..operand.span.end;
                self.node(Kind::Exists(Box::new(operand)), span)
            }
            TokenKind::OpenParen => {
                self.advance()?;
                let mut inner = self.expression(0)?;
                let end = self.expect(&TokenKind::CloseParen)?.span.end;
                inner.span = start..end;
                Ok(inner)
            }
            TokenKind::OpenBracket => self.list(),
            TokenKind::OpenBrace => {
                self.advance()?;
                let name = self.expect(&TokenKind::Name)?;
                let end = self.expect(&TokenKind::CloseBrace)?.span.end;
                self.node(Kind::Template(self.text[name.span].to_owned()), start..end)
            }
            TokenKind::Name => self.named(),
            _ => self.literal(),
        }
    }

    fn literal(&mut self) -> Result<Node, FilterError> {
        if !matches!(
            self.token.kind,
            TokenKind::Int(_)
                | TokenKind::IntMinMagnitude
                | TokenKind::Float(_)
                | TokenKind::String(_)
                | TokenKind::Bool(_)
        ) {
            return Err(self.unexpected("an expression"));
        }
        let token = self.advance()?;
        let kind = match token.kind {
            TokenKind::IntMinMagnitude => Kind::IntMinMagnitude,
            other => Kind::Literal(plain(other).expect("checked above")),
        };
        self.node(kind, token.span)
    }

    /// A list. Long ones are nearly always plain literals: those are read without a node for each.
    fn list(&mut self) -> Result<Node, FilterError> {
        let open = self.token.span.clone();
        let after_bracket = self.lexer;
        if let Some((literals, end)) = self.plain_list() {
            return self.node(Kind::Literal(Literal::List(literals)), open.start..end);
        }
        self.lexer = after_bracket;
        self.token = self.lexer.next()?;
        let mut nodes = Vec::new();
        loop {
            if !nodes.is_empty() && self.token.kind == TokenKind::CloseBracket {
                break;
            }
            nodes.push(self.expression(0)?);
            if !self.accept(&TokenKind::Comma)? {
                break;
            }
        }
        let end = self.expect(&TokenKind::CloseBracket)?.span.end;
        self.node(Kind::List(nodes), open.start..end)
    }

    /// The literals of a list and where it ends; `None` where it holds anything else.
    fn plain_list(&mut self) -> Option<(Vec<Literal>, usize)> {
        self.advance().ok()?;
        let mut literals = Vec::new();
        loop {
            if self.token.kind == TokenKind::CloseBracket {
                let close = self.advance().ok()?;
                return Some((literals, close.span.end));
            }
            let negative = self.accept(&TokenKind::Minus).ok()?;
            let literal = plain(self.advance().ok()?.kind)?;
            literals.push(match literal {
                Literal::Int64(value) if negative => Literal::Int64(-value),
                Literal::Double(value) if negative => Literal::Double(-value),
                _ if negative => return None,
                other => other,
            });
            match self.token.kind {
                TokenKind::Comma => drop(self.advance().ok()?),
                TokenKind::CloseBracket => {}
                _ => return None,
            }
        }
    }

    /// A column with its keys, its null test, or a function call.
    fn named(&mut self) -> Result<Node, FilterError> {
        let token = self.advance()?;
        let name = &self.text[token.span.clone()];
        match self.token.kind {
            TokenKind::OpenParen => return self.call(name, token.span),
            TokenKind::String(_) if name.eq_ignore_ascii_case("iso") => {
                return Err(FilterError::unsupported(&token.span, "timestamptz"));
            }
            _ => {}
        }
        let column = self.column(token)?;
        self.null_test(column)
    }

    fn column(&mut self, name: Token) -> Result<Node, FilterError> {
        let start = name.span.start;
        let mut end = name.span.end;
        let mut keys = Vec::new();
        while self.token.kind == TokenKind::OpenBracket {
            self.advance()?;
            keys.push(match &self.token.kind {
                TokenKind::String(key) => Key::Name(key.clone()),
                TokenKind::Int(position) => Key::Position(*position),
                TokenKind::Name => {
                    return Err(FilterError::unsupported(&self.token.span, "a struct sub-field"));
                }
                _ => return Err(self.unexpected("a key")),
            });
            self.advance()?;
            end = self.expect(&TokenKind::CloseBracket)?.span.end;
        }
        let name = self.text[name.span].to_owned();
        self.node(Kind::Column { name, keys }, start..end)
    }

    /// `is null` and `is not null` behind a column. They are no keywords: a field may be called `is`.
    fn null_test(&mut self, column: Node) -> Result<Node, FilterError> {
        if self.token.kind != TokenKind::Name || !matches!(self.word(), "is" | "IS") {
            return Ok(column);
        }
        let mut ahead = self.lexer;
        let mut word = ahead.next()?;
        let negated = word.kind == TokenKind::Not;
        if negated {
            word = ahead.next()?;
        }
        if !matches!(&self.text[word.span.clone()], "null" | "NULL") {
            return Ok(column);
        }
        self.lexer = ahead;
        self.token = self.lexer.next()?;
        let span = column.span.start..word.span.end;
        self.node(Kind::IsNull { column: Box::new(column), negated }, span)
    }

    fn word(&self) -> &'a str {
        &self.text[self.token.span.clone()]
    }

    fn call(&mut self, name: &str, span: Range<usize>) -> Result<Node, FilterError> {
        let function = name.to_ascii_lowercase();
        let mode = match function.as_str() {
            "json_contains" | "array_contains" => Some(ContainsMode::One),
            "json_contains_all" | "array_contains_all" => Some(ContainsMode::All),
            "json_contains_any" | "array_contains_any" => Some(ContainsMode::Any),
            "array_length" => None,
            _ => return Err(FilterError::unsupported(&span, &function)),
        };
        self.expect(&TokenKind::OpenParen)?;
        let column = Box::new(self.expression(0)?);
        let kind = match mode {
            Some(mode) => {
                self.expect(&TokenKind::Comma)?;
                Kind::Contains { mode, column, elements: Box::new(self.expression(0)?) }
            }
            None => Kind::ArrayLength(column),
        };
        let end = self.expect(&TokenKind::CloseParen)?.span.end;
        self.node(kind, span.start..end)
    }

    /// The operator that follows, if it binds at least this tightly.
    fn operator(&self, least: u8) -> Result<Option<Infix>, FilterError> {
        let infix = match self.infix()? {
            Some((Infix::Compare(op), _)) if self.opens_range(op)? => {
                Some((Infix::Range(op), binding::RANGE))
            }
            other => other,
        };
        Ok(infix.filter(|(_, binding)| *binding >= least).map(|(infix, _)| infix))
    }

    fn infix(&self) -> Result<Option<(Infix, u8)>, FilterError> {
        let arithmetic = |op, binding| Some((Infix::Arithmetic(op, binding), binding));
        Ok(match &self.token.kind {
            TokenKind::Or => Some((Infix::Or, binding::OR)),
            TokenKind::And => Some((Infix::And, binding::AND)),
            TokenKind::BitOr => arithmetic(BinaryOp::BitOr, binding::BIT_OR),
            TokenKind::BitXor => arithmetic(BinaryOp::BitXor, binding::BIT_XOR),
            TokenKind::BitAnd => arithmetic(BinaryOp::BitAnd, binding::BIT_AND),
            TokenKind::Compare(op @ (CompareOp::Equal | CompareOp::NotEqual)) => {
                Some((Infix::Compare(*op), binding::EQUALITY))
            }
            TokenKind::Compare(op) => Some((Infix::Compare(*op), binding::RELATION)),
            TokenKind::In => Some((Infix::In { negated: false }, binding::IN)),
            TokenKind::Not => Some((Infix::In { negated: true }, binding::IN)),
            TokenKind::ShiftLeft | TokenKind::ShiftRight => arithmetic(BinaryOp::Shift, binding::SHIFT),
            TokenKind::Plus => arithmetic(BinaryOp::Add, binding::SUM),
            TokenKind::Minus => arithmetic(BinaryOp::Subtract, binding::SUM),
            TokenKind::Star => arithmetic(BinaryOp::Multiply, binding::PRODUCT),
            TokenKind::Slash => arithmetic(BinaryOp::Divide, binding::PRODUCT),
            TokenKind::Percent => arithmetic(BinaryOp::Modulo, binding::PRODUCT),
            TokenKind::Power => arithmetic(BinaryOp::Power, binding::POWER),
            TokenKind::Like => Some((Infix::Like, binding::LIKE)),
            TokenKind::RegexMatch | TokenKind::RegexNotMatch => {
                return Err(FilterError::unsupported(&self.token.span, "regex match"));
            }
            _ => None,
        })
    }

    /// Whether this comparison is the first half of `1 < a < 5`: a column follows, and the same
    /// direction again.
    fn opens_range(&self, op: CompareOp) -> Result<bool, FilterError> {
        let upward = match op {
            CompareOp::Less | CompareOp::LessOrEqual => true,
            CompareOp::Greater | CompareOp::GreaterOrEqual => false,
            CompareOp::Equal | CompareOp::NotEqual => return Ok(false),
        };
        let mut ahead = self.lexer;
        if ahead.next()?.kind != TokenKind::Name {
            return Ok(false);
        }
        let mut word = ahead.next()?;
        while word.kind == TokenKind::OpenBracket {
            // A key and its closing bracket; what they are is looked at when they are read.
            ahead.next()?;
            ahead.next()?;
            word = ahead.next()?;
        }
        Ok(match word.kind {
            TokenKind::Compare(CompareOp::Less | CompareOp::LessOrEqual) => upward,
            TokenKind::Compare(CompareOp::Greater | CompareOp::GreaterOrEqual) => !upward,
            _ => false,
        })
    }
}

/// An operator between two operands, about to be read.
#[derive(Clone, Copy)]
enum Infix {
    Or,
    And,
    Compare(CompareOp),
    Range(CompareOp),
    In { negated: bool },
    Like,
    Arithmetic(BinaryOp, u8),
}

impl Infix {
    /// Reads the operator and its right side, and makes one node with the left.
    fn attach(self, parser: &mut Parser<'_>, left: Node) -> Result<Node, FilterError> {
        parser.advance()?;
        let start = left.span.start;
        let right_binding = match self {
            Self::Or => binding::OR,
            Self::And => binding::AND,
            Self::Compare(CompareOp::Equal | CompareOp::NotEqual) => binding::EQUALITY,
            Self::Compare(_) => binding::RELATION,
            Self::Range(first) => return parser.range(first, left),
            Self::In { negated } => {
                if negated {
                    parser.expect(&TokenKind::In)?;
                }
                binding::IN
            }
            Self::Like => binding::LIKE,
            Self::Arithmetic(_, binding) => binding,
        };
        let right = parser.expression(right_binding + 1)?;
        let span = start..right.span.end;
        let kind = match self {
            Self::Or => {
                return parser.chain(left, right, Kind::Or, |kind| match kind {
                    Kind::Or(nodes) => Ok(nodes),
                    other => Err(other),
                });
            }
            Self::And => {
                return parser.chain(left, right, Kind::And, |kind| match kind {
                    Kind::And(nodes) => Ok(nodes),
                    other => Err(other),
                });
            }
            Self::Compare(op) | Self::Range(op) => Kind::Compare(op, Box::new(left), Box::new(right)),
            Self::In { negated } => Kind::In { column: Box::new(left), list: Box::new(right), negated },
            Self::Like => Kind::Like { column: Box::new(left), pattern: Box::new(right) },
            Self::Arithmetic(op, _) => Kind::Arithmetic(op, Box::new(left), Box::new(right)),
        };
        parser.node(kind, span)
    }
}

impl Parser<'_> {
    /// `a or b`, with the parts of `a` in front when it is itself an `or`: long chains stay flat.
    fn chain(
        &self,
        left: Node,
        right: Node,
        close: impl Fn(Vec<Node>) -> Kind,
        open: impl Fn(Kind) -> Result<Vec<Node>, Kind>,
    ) -> Result<Node, FilterError> {
        let span = left.span.start..right.span.end;
        let (mut nodes, left_depth) = match open(left.kind) {
            Ok(nodes) => (nodes, left.depth),
            Err(kind) => (vec![Node { kind, span: left.span, depth: left.depth }], left.depth + 1),
        };
        let depth = left_depth.max(right.depth + 1);
        nodes.push(right);
        if depth > MAX_DEPTH { Err(too_deep(&span)) } else { Ok(Node { kind: close(nodes), span, depth }) }
    }

    /// The rest of `first < column < second`, from the column on.
    fn range(&mut self, first_op: CompareOp, first: Node) -> Result<Node, FilterError> {
        let name = self.expect(&TokenKind::Name)?;
        let column = Box::new(self.column(name)?);
        let TokenKind::Compare(second_op) = self.token.kind else { return Err(self.unexpected("'<'")) };
        self.advance()?;
        let second = self.expression(binding::RANGE + 1)?;
        let span = first.span.start..second.span.end;
        let inclusive = |op| matches!(op, CompareOp::LessOrEqual | CompareOp::GreaterOrEqual);
        let upward = matches!(first_op, CompareOp::Less | CompareOp::LessOrEqual);
        let (lower, lower_op, upper, upper_op) =
            if upward { (first, first_op, second, second_op) } else { (second, second_op, first, first_op) };
        let kind = Kind::Between {
            lower: Box::new(lower),
            lower_inclusive: inclusive(lower_op),
            column,
            upper: Box::new(upper),
            upper_inclusive: inclusive(upper_op),
        };
        self.node(kind, span)
    }
}

fn plain(kind: TokenKind) -> Option<Literal> {
    Some(match kind {
        TokenKind::Int(value) => Literal::Int64(value),
        TokenKind::Float(value) => Literal::Double(value),
        TokenKind::String(value) => Literal::VarChar(value),
        TokenKind::Bool(value) => Literal::Bool(value),
        _ => return None,
    })
}

fn too_deep(span: &Range<usize>) -> FilterError {
    FilterError::plan(span, format!("expression is nested more than {MAX_DEPTH} levels deep"))
}
