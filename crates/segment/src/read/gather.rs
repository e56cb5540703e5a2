//! Copying what is answered about a few rows.

use redkite_types::{CollectionSchema, Column, FieldId, PrimaryKeys, Timestamp};

use super::{Snapshot, absent, field_of};
use crate::Result;

/// Rows to answer, wherever they lie.
pub(super) struct Gathered {
    pub(super) ids: PrimaryKeys,
    pub(super) timestamps: Vec<Timestamp>,
    pub(super) columns: Vec<Column>,
}

/// Keys, timestamps and output columns of some rows, in their order.
pub(super) fn gather(
    snapshot: &Snapshot<'_>,
    schema: &CollectionSchema,
    rows: &[u32],
    output: &[FieldId],
) -> Result<Gathered> {
    let places: Vec<(usize, usize)> = rows.iter().map(|row| snapshot.place(*row)).collect();
    let mut ids = PrimaryKeys::empty(schema.primary_key().data_type);
    places.iter().for_each(|(piece, offset)| ids.push(snapshot.keys[*piece].primary_key(*offset)));
    let mut timestamps = Vec::with_capacity(rows.len());
    for run in places.chunk_by(|a, b| a.0 == b.0) {
        let written = snapshot.pieces[run[0].0].columns.timestamps()?;
        timestamps.extend(run.iter().map(|(_, offset)| written[*offset]));
    }
    let columns = output
        .iter()
        .map(|field| gather_column(snapshot, schema, &places, *field))
        .collect::<Result<Vec<_>>>()?;
    Ok(Gathered { ids, timestamps, columns })
}

fn gather_column(
    snapshot: &Snapshot<'_>,
    schema: &CollectionSchema,
    places: &[(usize, usize)],
    field: FieldId,
) -> Result<Column> {
    let field = field_of(schema, field)?;
    let mut gathered = Column::empty(field.id, field.data_type, field.dim as usize);
    for run in places.chunk_by(|a, b| a.0 == b.0) {
        match snapshot.pieces[run[0].0].column(field)? {
            Some(column) => gathered.append_rows(column, run.iter().map(|(_, offset)| *offset)),
            None => gathered.append_rows(absent(field, 1).view(), std::iter::repeat_n(0, run.len())),
        }
    }
    Ok(gathered)
}
