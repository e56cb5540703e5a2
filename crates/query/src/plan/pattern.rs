//! `like` patterns: `%` is any text, `_` any one character, `\` takes what follows literally.

use serde::{Deserialize, Serialize};

/// A pattern taken apart into the cheapest test that means the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LikePattern {
    /// `abc`
    Exact(String),
    /// `abc%`; the empty prefix matches all texts.
    Prefix(String),
    /// `%abc`
    Suffix(String),
    /// `%abc%`
    Infix(String),
    /// Anything else, step by step.
    Steps(Vec<LikeStep>),
}

/// One step of a general pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LikeStep {
    /// This text.
    Text(String),
    /// `_`: one character.
    AnyChar,
    /// `%`: any number of characters; never two in a row.
    AnyText,
}

impl LikePattern {
    /// Takes a pattern apart. Every text is a pattern; a `\` at the very end stands for itself.
    #[must_use]
    pub fn parse(pattern: &str) -> Self {
        let mut steps = split(pattern);
        let text = |step: &mut LikeStep| match step {
            LikeStep::Text(text) => std::mem::take(text),
            LikeStep::AnyChar | LikeStep::AnyText => String::new(),
        };
        match steps.as_mut_slice() {
            [] => Self::Exact(String::new()),
            [LikeStep::AnyText] => Self::Prefix(String::new()),
            [only @ LikeStep::Text(_)] => Self::Exact(text(only)),
            [start @ LikeStep::Text(_), LikeStep::AnyText] => Self::Prefix(text(start)),
            [LikeStep::AnyText, end @ LikeStep::Text(_)] => Self::Suffix(text(end)),
            [LikeStep::AnyText, middle @ LikeStep::Text(_), LikeStep::AnyText] => Self::Infix(text(middle)),
            _ => Self::Steps(steps),
        }
    }

    /// Whether a text looks like this.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => text == wanted,
            Self::Prefix(start) => text.starts_with(start.as_str()),
            Self::Suffix(end) => text.ends_with(end.as_str()),
            Self::Infix(middle) => text.contains(middle.as_str()),
            Self::Steps(steps) => steps_match(steps, text),
        }
    }

    /// The text every match starts with; may be empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
            Self::Steps(steps) => match steps.first() {
                Some(LikeStep::Text(text)) => text,
                _ => "",
            },
            Self::Suffix(_) | Self::Infix(_) => "",
        }
    }
}

fn split(pattern: &str) -> Vec<LikeStep> {
    let mut steps = Vec::new();
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        let wildcard = match char {
            '%' => LikeStep::AnyText,
            '_' => LikeStep::AnyChar,
            '\\' => {
                // Milvus: only wildcards and the escape itself are escaped; elsewhere `\` is plain.
                let mut rest = chars.clone();
                match rest.next() {
                    Some(next @ ('%' | '_' | '\\')) => {
                        text.push(next);
                        chars = rest;
                    }
                    _ => text.push('\\'),
                }
                continue;
            }
            other => {
                text.push(other);
                continue;
            }
        };
        if !text.is_empty() {
            steps.push(LikeStep::Text(std::mem::take(&mut text)));
        }
        if wildcard != LikeStep::AnyText || steps.last() != Some(&LikeStep::AnyText) {
            steps.push(wildcard);
        }
    }
    if !text.is_empty() {
        steps.push(LikeStep::Text(text));
    }
    steps
}

/// Greedy matching with one point of return, the last `%`: linear in practice, at worst text × pattern.
fn steps_match(steps: &[LikeStep], text: &str) -> bool {
    let (mut step, mut rest) = (0, text);
    let mut resume: Option<(usize, &str)> = None;
    loop {
        let advanced = match steps.get(step) {
            None if rest.is_empty() => return true,
            None => None,
            Some(LikeStep::AnyText) => {
                // A text that must come later is searched for, rather than tried at every place.
                let from = match steps.get(step + 1) {
                    Some(LikeStep::Text(wanted)) => match rest.find(wanted.as_str()) {
                        Some(at) => &rest[at..],
                        None => return false,
                    },
                    _ => rest,
                };
                resume = Some((step, from));
                rest = from;
                Some(rest)
            }
            Some(LikeStep::AnyChar) => skip_char(rest),
            Some(LikeStep::Text(wanted)) => rest.strip_prefix(wanted.as_str()),
        };
        if let Some(after) = advanced {
            (step, rest) = (step + 1, after);
            continue;
        }
        // Tried in vain from there: the `%` takes one character more.
        let Some((any, from)) = resume else { return false };
        let Some(shorter) = skip_char(from) else { return false };
        (step, rest) = (any, shorter);
    }
}

fn skip_char(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_patterns_become_simple_tests() {
        let cases = [
            ("", LikePattern::Exact(String::new())),
            ("%", LikePattern::Prefix(String::new())),
            ("%%%", LikePattern::Prefix(String::new())),
            ("abc", LikePattern::Exact("abc".into())),
            ("abc%%", LikePattern::Prefix("abc".into())),
            ("%%abc", LikePattern::Suffix("abc".into())),
            ("%abc%", LikePattern::Infix("abc".into())),
            (r"100\%", LikePattern::Exact("100%".into())),
            (r"a\_b%", LikePattern::Prefix("a_b".into())),
            (r"a\b", LikePattern::Exact(r"a\b".into())),
            (r"a\\%", LikePattern::Prefix(r"a\".into())),
        ];
        for (pattern, expected) in cases {
            assert_eq!(LikePattern::parse(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn general_patterns_match_as_sql_says() {
        let cases = [
            ("a%c", "abc", true),
            ("a%c", "ac", true),
            ("a%c", "acb", false),
            ("a%b%c", "axbxbxc", true),
            ("_b_", "abc", true),
            ("_b_", "abcd", false),
            ("_", "é", true),
            ("%a_", "xaab", true),
            ("%ab", "aab", true),
            ("a%", "", false),
            (r"%\%_", "50%!", true),
            (r"%\%_", "50%", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(LikePattern::parse(pattern).matches(text), expected, "{text:?} like {pattern:?}");
        }
    }
}
