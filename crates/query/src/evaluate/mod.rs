//! For which rows of a segment does a predicate hold?
//!
//! Predicates are evaluated column by column over whole segments: typed loops that make 64 answers at
//! a time. What earlier parts of an `and` or `or` have decided is not looked at again, cheap parts go
//! first, and where a scalar index knows the answer, the column is not scanned at all.

mod arithmetic;
mod columns;
mod contains;
mod index;
mod json;
mod plain;
mod scan;
mod set;
mod truth;

#[cfg(test)]
mod tests;

use redkite_index::scalar::ScalarIndex;
use redkite_types::{Bitmap, ColumnView, DataType, FieldId};

use self::scan::Scan;
use self::truth::Truth;
use crate::plan::{ColumnRef, CompareOp, Predicate};

/// The rows of one segment, as evaluation sees them.
pub trait RowSource {
    /// Number of rows; every column has as many.
    fn rows(&self) -> usize;

    /// The column of a field. A field added after the rows were written MUST show as its default, or
    /// as null.
    fn column(&self, field: FieldId) -> Option<ColumnView<'_>>;

    /// The index over a field, if there is one.
    fn scalar_index(&self, field: FieldId) -> Option<&dyn ScalarIndex> {
        let _ = field;
        None
    }
}

/// A plan that does not fit the rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The source has no such column.
    #[error("field {field} has no column")]
    MissingColumn {
        /// The field.
        field: FieldId,
    },
    /// The column has another type than the plan was made for.
    #[error("field {field} is {found}, planned as {planned}")]
    Type {
        /// The field.
        field: FieldId,
        /// Type in the plan.
        planned: DataType,
        /// Type of the column.
        found: DataType,
    },
    /// The column is longer or shorter than the source.
    #[error("field {field} has {found} values for {rows} rows")]
    Length {
        /// The field.
        field: FieldId,
        /// Values of the column.
        found: usize,
        /// Rows of the source, or of the candidates.
        rows: usize,
    },
}

/// The rows for which the predicate is TRUE, among the candidates (all rows if `None`).
///
/// # Errors
/// If the source lacks a column, or has one of another type or length.
///
/// # Panics
/// If `candidates` has not one bit per row.
pub fn evaluate(
    predicate: &Predicate,
    source: &dyn RowSource,
    candidates: Option<&Bitmap>,
) -> Result<Bitmap, EvalError> {
    let rows = source.rows();
    assert!(candidates.is_none_or(|candidates| candidates.len() == rows), "one candidate bit per row");
    let mut wanted = Evaluator { source, rows }.truth(predicate, candidates)?.yes;
    if let Some(candidates) = candidates {
        wanted.and(candidates);
    }
    Ok(wanted)
}

/// Answers hold for candidate rows; other rows may get any answer.
struct Evaluator<'a> {
    source: &'a dyn RowSource,
    rows: usize,
}

impl Evaluator<'_> {
    fn truth(&self, predicate: &Predicate, candidates: Option<&Bitmap>) -> Result<Truth, EvalError> {
        let scan = Scan::new(self.rows, candidates);
        match predicate {
            Predicate::Always(value) => Ok(Truth::known(Bitmap::filled(self.rows, *value))),
            Predicate::Not(inner) => Ok(self.truth(inner, candidates)?.not()),
            Predicate::And(parts) => self.and(parts, candidates),
            Predicate::Or(parts) => self.or(parts, candidates),
            Predicate::IsNull { column } => {
                let missing = self.column(column)?.validity.map(|validity| {
                    let mut missing = validity.clone();
                    missing.flip();
                    missing
                });
                Ok(Truth::known(missing.unwrap_or_else(|| Bitmap::filled(self.rows, false))))
            }
            Predicate::CompareColumns { left, op, right } => {
                let (left, right) = (self.column(left)?, self.column(right)?);
                Ok(Truth::of_valid(columns::compare(left.data, *op, right.data, &scan), &[left, right]))
            }
            Predicate::Compare { column, .. }
            | Predicate::Between { column, .. }
            | Predicate::In { column, .. }
            | Predicate::Like { column, .. }
            | Predicate::Exists { column }
            | Predicate::Contains { column, .. }
            | Predicate::Arithmetic { column, .. }
            | Predicate::ArrayLength { column, .. } => self.leaf(predicate, column, &scan),
        }
    }

    /// A test of one column against constants.
    fn leaf(&self, predicate: &Predicate, column: &ColumnRef, scan: &Scan<'_>) -> Result<Truth, EvalError> {
        let view = self.column(column)?;
        if column.data_type == DataType::Json {
            return Ok(json::test(predicate, column, view, scan));
        }
        if !scan.is_sparse()
            && let Some(index) = self.source.scalar_index(column.field)
            && index.rows() == self.rows
            && index.data_type() == column.data_type
            && let Some(found) = index::look_up(predicate, index)
        {
            return Ok(Truth::of_valid(found, &[view]));
        }
        Ok(Truth::of_valid(plain::test(predicate, view.data, scan), &[view]))
    }

    fn and(&self, parts: &[Predicate], candidates: Option<&Bitmap>) -> Result<Truth, EvalError> {
        let mut truth = Truth::known(Bitmap::filled(self.rows, true));
        for (position, part) in self.cheapest_first(parts).into_iter().enumerate() {
            // Rows that are not FALSE yet.
            let open = (position > 0).then(|| restrict(truth.maybe(), candidates));
            if open.as_ref().is_some_and(|open| !open.any()) {
                break;
            }
            truth = truth.and(self.truth(part, open.as_ref().or(candidates))?);
        }
        Ok(truth)
    }

    fn or(&self, parts: &[Predicate], candidates: Option<&Bitmap>) -> Result<Truth, EvalError> {
        let mut truth = Truth::known(Bitmap::filled(self.rows, false));
        for (position, part) in self.cheapest_first(parts).into_iter().enumerate() {
            // Rows that are not TRUE yet.
            let open = (position > 0).then(|| {
                let mut open = truth.yes.clone();
                open.flip();
                restrict(open, candidates)
            });
            if open.as_ref().is_some_and(|open| !open.any()) {
                break;
            }
            truth = truth.or(self.truth(part, open.as_ref().or(candidates))?);
        }
        Ok(truth)
    }

    fn cheapest_first<'p>(&self, parts: &'p [Predicate]) -> Vec<&'p Predicate> {
        let mut ordered: Vec<&Predicate> = parts.iter().collect();
        ordered.sort_by_cached_key(|part| self.cost(part));
        ordered
    }

    /// Rough nanoseconds per hundred rows.
    fn cost(&self, predicate: &Predicate) -> u32 {
        let texts = |column: &ColumnRef| u32::from(column.data_type == DataType::VarChar) + 1;
        match predicate {
            Predicate::Always(_) | Predicate::IsNull { .. } => 0,
            Predicate::Not(inner) => self.cost(inner),
            Predicate::And(parts) | Predicate::Or(parts) => {
                parts.iter().fold(0, |sum, part| sum.saturating_add(self.cost(part)))
            }
            Predicate::Compare { column, .. }
            | Predicate::Between { column, .. }
            | Predicate::In { column, .. }
            | Predicate::Like { column, .. }
            | Predicate::Exists { column }
            | Predicate::Contains { column, .. }
            | Predicate::Arithmetic { column, .. }
            | Predicate::ArrayLength { column, .. }
                if column.data_type == DataType::Json =>
            {
                10_000
            }
            Predicate::Compare { column, op, .. } if *op != CompareOp::NotEqual && self.indexed(column) => 10,
            Predicate::Between { column, .. } | Predicate::In { column, .. } if self.indexed(column) => 20,
            Predicate::Compare { column, .. } | Predicate::Between { column, .. } => {
                40 * texts(column).pow(3)
            }
            Predicate::In { column, .. } => 200 * texts(column).pow(2),
            Predicate::CompareColumns { left, .. } => 150 * texts(left).pow(2),
            _ => 1_000,
        }
    }

    fn indexed(&self, column: &ColumnRef) -> bool {
        self.source.scalar_index(column.field).is_some()
    }

    fn column(&self, column: &ColumnRef) -> Result<ColumnView<'_>, EvalError> {
        let field = column.field;
        let view = self.source.column(field).ok_or(EvalError::MissingColumn { field })?;
        let (found, rows) = (view.data.data_type(), self.rows);
        if found != column.data_type {
            return Err(EvalError::Type { field, planned: column.data_type, found });
        }
        let lengths = [Some(view.data.len()), view.validity.map(Bitmap::len)];
        if let Some(found) = lengths.into_iter().flatten().find(|length| *length != rows) {
            return Err(EvalError::Length { field, found, rows });
        }
        Ok(view)
    }
}

fn restrict(mut rows: Bitmap, candidates: Option<&Bitmap>) -> Bitmap {
    if let Some(candidates) = candidates {
        rows.and(candidates);
    }
    rows
}
