//! Filters and results: which rows does a filter expression want, and how do partial results merge?
//!
//! [`filter`] turns a filter expression into a [`Plan`] against a schema; [`mod@evaluate`] finds the rows
//! of a segment for which the plan's predicate holds; [`reduce`] merges what segments and shards
//! found. All of it is synchronous and does no I/O.

pub mod evaluate;
pub mod filter;
mod json;
pub mod plan;
pub mod reduce;

pub use evaluate::{EvalError, RowSource, evaluate};
pub use filter::{FilterError, PlanPurpose, TemplateValue, Templates};
pub use plan::{ColumnRef, Literal, LiteralSet, Plan, Predicate};
pub use reduce::{ReduceError, RetrievePart, SearchPart};
