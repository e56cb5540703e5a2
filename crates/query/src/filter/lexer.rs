//! Text to words, one at a time.

use std::ops::Range;

use super::error::FilterError;
use super::literal;
use super::token::{Token, TokenKind, keyword};
use crate::plan::CompareOp;

/// Hands out one word after another; cheap to set back, so lists can be read twice.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Token, FilterError> {
        self.skip_blanks();
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let kind = match rest {
            [] => TokenKind::End,
            [b'r', b'\'' | b'"', ..] => self.string(true)?,
            [b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] => self.word(),
            [b'$', ..] if self.text[start..].starts_with("$meta") => {
                self.at += "$meta".len();
                TokenKind::Name
            }
            [b'$', ..] => return Err(FilterError::unsupported(&(start..start + 1), "`$` (struct element)")),
            [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => self.number()?,
            [b'\'' | b'"', ..] => self.string(false)?,
            _ => self.symbol(rest)?,
        };
        Ok(Token { kind, span: start..self.at })
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    }

    fn word(&mut self) -> TokenKind {
        let rest = &self.text[self.at..];
        let len = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        self.at += len;
        keyword(&rest[..len]).unwrap_or(TokenKind::Name)
    }

    fn number(&mut self) -> Result<TokenKind, FilterError> {
        let rest = &self.text[self.at..];
        if let Some((value, len)) = literal::short_decimal(rest.as_bytes()) {
            self.advance(len);
            return Ok(TokenKind::Int(value));
        }
        let len = literal::number_length(rest.as_bytes());
        let span = self.advance(len);
        literal::number(&rest[..len]).map_err(|message| FilterError::plan(&span, message))
    }

    fn string(&mut self, raw: bool) -> Result<TokenKind, FilterError> {
        let start = self.at + usize::from(raw);
        let Some(len) = literal::string_length(&self.text.as_bytes()[start..]) else {
            return Err(self.unrecognised(start));
        };
        let inner = &self.text[start + 1..start + len - 1];
        let span = self.advance(usize::from(raw) + len);
        if raw {
            return Ok(TokenKind::String(inner.to_owned()));
        }
        literal::unescape(inner).map(TokenKind::String).map_err(|message| FilterError::plan(&span, message))
    }

    fn symbol(&mut self, rest: &[u8]) -> Result<TokenKind, FilterError> {
        let (kind, len) = match rest {
            [b'*', b'*', ..] => (TokenKind::Power, 2),
            [b'<', b'<', ..] => (TokenKind::ShiftLeft, 2),
            [b'>', b'>', ..] => (TokenKind::ShiftRight, 2),
            [b'&', b'&', ..] => (TokenKind::And, 2),
            [b'|', b'|', ..] => (TokenKind::Or, 2),
            [b'<', b'=', ..] => (TokenKind::Compare(CompareOp::LessOrEqual), 2),
            [b'>', b'=', ..] => (TokenKind::Compare(CompareOp::GreaterOrEqual), 2),
            [b'=', b'=', ..] => (TokenKind::Compare(CompareOp::Equal), 2),
            [b'!', b'=', ..] => (TokenKind::Compare(CompareOp::NotEqual), 2),
            [b'=', b'~', ..] => (TokenKind::RegexMatch, 2),
            [b'!', b'~', ..] => (TokenKind::RegexNotMatch, 2),
            [b'<', ..] => (TokenKind::Compare(CompareOp::Less), 1),
            [b'>', ..] => (TokenKind::Compare(CompareOp::Greater), 1),
            [b'=', ..] => (TokenKind::Assign, 1),
            [b'!', ..] => (TokenKind::Not, 1),
            [b'+', ..] => (TokenKind::Plus, 1),
            [b'-', ..] => (TokenKind::Minus, 1),
            [b'*', ..] => (TokenKind::Star, 1),
            [b'/', ..] => (TokenKind::Slash, 1),
            [b'%', ..] => (TokenKind::Percent, 1),
            [b'&', ..] => (TokenKind::BitAnd, 1),
            [b'|', ..] => (TokenKind::BitOr, 1),
            [b'^', ..] => (TokenKind::BitXor, 1),
            [b'~', ..] => (TokenKind::BitNot, 1),
            [b',', ..] => (TokenKind::Comma, 1),
            [b'(', ..] => (TokenKind::OpenParen, 1),
            [b')', ..] => (TokenKind::CloseParen, 1),
            [b'[', ..] => (TokenKind::OpenBracket, 1),
            [b']', ..] => (TokenKind::CloseBracket, 1),
            [b'{', ..] => (TokenKind::OpenBrace, 1),
            [b'}', ..] => (TokenKind::CloseBrace, 1),
            _ => return Err(self.unrecognised(self.at)),
        };
        self.advance(len);
        Ok(kind)
    }

    fn advance(&mut self, len: usize) -> Range<usize> {
        let start = self.at;
        self.at += len;
        start..self.at
    }

    fn unrecognised(&self, at: usize) -> FilterError {
        let shown: String = self.text[at..].chars().take(16).collect();
        let end = at + shown.len();
        FilterError::plan(&(at..end), format!("line 1:{at} token recognition error at: '{shown}'"))
    }
}
