//! What is wrong with a filter, and how Milvus says it.

use std::fmt;
use std::ops::Range;

/// A filter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// What is wrong, in Milvus's words.
    pub message: String,
    /// Where in the expression, in bytes.
    pub span: Range<usize>,
    /// Which stage found it.
    pub(super) stage: Stage,
    /// Which of Milvus's errors it is.
    pub(super) class: Class,
}

/// Which stage found the error: it decides whether the expression is repeated in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Reading the expression or giving it a meaning.
    Expression,
    /// The expression is sound but is no filter, or a template has no fitting value.
    Plan,
}

/// Milvus's two error sentinels below "failed to create … plan".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Milvus: `ErrQueryPlan`.
    QueryPlan,
    /// Milvus: `ErrParameterInvalid`.
    InvalidParameter,
}

/// What the filter was meant for: it stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanPurpose {
    /// A search or query.
    Query,
    /// A delete by expression.
    Delete,
}

impl fmt::Display for PlanPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Query => "query",
            Self::Delete => "delete",
        })
    }
}

impl FilterError {
    /// Milvus: `ErrQueryPlan`.
    pub(super) fn plan(span: &Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: span.clone(),
            stage: Stage::Expression,
            class: Class::QueryPlan,
        }
    }

    /// Milvus: `ErrParameterInvalid`.
    pub(super) fn invalid(span: &Range<usize>, message: impl Into<String>) -> Self {
        Self { class: Class::InvalidParameter, ..Self::plan(span, message) }
    }

    /// Something Milvus has and Redkite does not (yet).
    pub(super) fn unsupported(span: &Range<usize>, what: impl fmt::Display) -> Self {
        Self::plan(span, format!("{what} is not supported yet"))
    }

    /// The same error found after the expression was read.
    pub(super) fn of_plan(mut self) -> Self {
        self.stage = Stage::Plan;
        self
    }

    /// The whole message a client gets for this filter, as Milvus 3.0 words it. The code is 1100.
    #[must_use]
    pub fn client_message(&self, expression: &str, purpose: PlanPurpose) -> String {
        let sentinel = match self.class {
            Class::QueryPlan => "query plan failed",
            Class::InvalidParameter => "invalid parameter",
        };
        let context = match self.stage {
            Stage::Expression => format!("cannot parse expression: {expression}: "),
            Stage::Plan => String::new(),
        };
        format!("failed to create {purpose} plan: {context}{}: {sentinel}: invalid parameter", self.message)
    }
}
