//! Which rows does a filter want?

use std::sync::Arc;

use redkite_index::scalar::ScalarIndex;
use redkite_query::{Plan, Predicate, RowSource, evaluate};
use redkite_types::{Bitmap, CollectionSchema, Column, ColumnView, FieldId, PrimaryKeys};

use super::{Piece, Snapshot, absent, field_of};
use crate::Result;
use crate::sealed::Indexes;

/// Rows of a piece by primary key are looked up rather than scanned for if there are at most a
/// thirty-second as many keys as rows: a binary search touches a few cache lines a key, a scan reads on.
const ROWS_PER_KEY: usize = 32;

/// The wanted rows of one piece.
pub(super) enum Selection {
    /// Every row.
    All,
    /// Those whose bit is set.
    Mask(Arc<Bitmap>),
    /// These few, ascending.
    Rows(Vec<u32>),
}

impl Selection {
    /// Number of rows.
    pub(super) fn len(&self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Mask(mask) => mask.count_ones(),
            Self::Rows(rows) => rows.len(),
        }
    }

    /// The rows, ascending.
    pub(super) fn iter(&self, rows: usize) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::All => Box::new(0..u32::try_from(rows).expect("rows are counted in 32 bits")),
            #[expect(clippy::cast_possible_truncation, reason = "rows are counted in 32 bits")]
            Self::Mask(mask) => Box::new(mask.ones().map(|row| row as u32)),
            Self::Rows(rows) => Box::new(rows.iter().copied()),
        }
    }
}

/// The visible rows that a filter wants, for each piece.
pub(super) fn select(
    snapshot: &Snapshot<'_>,
    schema: &CollectionSchema,
    filter: Option<&Plan>,
) -> Result<Vec<Selection>> {
    let Some(plan) = filter.filter(|plan| !plan.always_true()) else {
        return Ok(snapshot.pieces.iter().map(visible).collect());
    };
    let few = |keys: &PrimaryKeys| keys.len() <= snapshot.rows() / ROWS_PER_KEY || keys.len() <= 1;
    if let Some(keys) = plan.candidate_keys().filter(few) {
        return by_keys(snapshot, schema, plan, &keys);
    }
    snapshot.pieces.iter().map(|piece| by_scan(piece, schema, &plan.predicate)).collect()
}

fn visible(piece: &Piece<'_>) -> Selection {
    piece.visible.clone().map_or(Selection::All, Selection::Mask)
}

/// Looks the keys up, and tests the rest of the filter on their rows only.
fn by_keys(
    snapshot: &Snapshot<'_>,
    schema: &CollectionSchema,
    plan: &Plan,
    keys: &PrimaryKeys,
) -> Result<Vec<Selection>> {
    let found = snapshot.lookup.rows_of(keys)?;
    let exact = plan.primary_keys().is_some();
    let mut rest = &*found;
    let mut selections = Vec::with_capacity(snapshot.pieces.len());
    for piece in &snapshot.pieces {
        let here = rest.partition_point(|row| ((row - piece.first_row) as usize) < piece.rows);
        let (rows, others) = rest.split_at(here);
        rest = others;
        let seen = |row: &u32| piece.visible.as_ref().is_none_or(|visible| visible.get(*row as usize));
        let mut rows: Vec<u32> = rows.iter().map(|row| row - piece.first_row).filter(seen).collect();
        if !exact && !rows.is_empty() {
            let wanted = test_rows(piece, schema, &plan.predicate, &rows)?;
            let mut wanted = (0..rows.len()).map(|position| wanted.get(position));
            rows.retain(|_| wanted.next().unwrap_or(false));
        }
        selections.push(Selection::Rows(rows));
    }
    Ok(selections)
}

/// Evaluates a predicate on copies of the columns of a few rows.
fn test_rows(
    piece: &Piece<'_>,
    schema: &CollectionSchema,
    predicate: &Predicate,
    rows: &[u32],
) -> Result<Bitmap> {
    let mut columns = Vec::new();
    for field in predicate.fields() {
        let field = field_of(schema, field)?;
        columns.push(match piece.column(field)? {
            Some(column) => {
                let mut taken = Column::empty(field.id, field.data_type, field.dim as usize);
                taken.append_rows(column, rows.iter().map(|row| *row as usize));
                taken
            }
            None => absent(field, rows.len()),
        });
    }
    let columns = columns.iter().map(|column| (column.field, column.view())).collect();
    Ok(evaluate(predicate, &Rows { columns, indexes: None, rows: rows.len() }, None)?)
}

fn by_scan(piece: &Piece<'_>, schema: &CollectionSchema, predicate: &Predicate) -> Result<Selection> {
    let fields = predicate.fields();
    let fields = fields.iter().map(|field| field_of(schema, *field)).collect::<Result<Vec<_>>>()?;
    let mut lacking = Vec::new();
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        match piece.column(field)? {
            Some(column) => columns.push((field.id, column)),
            None => lacking.push(absent(field, piece.rows)),
        }
    }
    columns.extend(lacking.iter().map(|column| (column.field, column.view())));
    let rows = Rows { columns, indexes: piece.indexes, rows: piece.rows };
    let wanted = evaluate(predicate, &rows, piece.visible.as_deref())?;
    Ok(Selection::Mask(Arc::new(wanted)))
}

/// Rows as the evaluation of filters wants them.
struct Rows<'a> {
    rows: usize,
    columns: Vec<(FieldId, ColumnView<'a>)>,
    indexes: Option<&'a Indexes>,
}

impl RowSource for Rows<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn column(&self, field: FieldId) -> Option<ColumnView<'_>> {
        self.columns.iter().find(|(id, _)| *id == field).map(|(_, column)| *column)
    }

    fn scalar_index(&self, field: FieldId) -> Option<&dyn ScalarIndex> {
        self.indexes?.scalar(field)
    }
}
