//! Partial update: what does a row look like of which the client sent only some fields?
//!
//! Rows that exist keep the values of the other fields, and undeclared keys that were not sent; rows
//! that do not exist are new and need every field. Between reading and writing another writer may come:
//! the later write wins, as in Milvus.

use std::collections::HashMap;
use std::sync::Arc;

use redkite_proto::schema::FieldPartialUpdateOp;
use redkite_proto::schema::field_partial_update_op::OpType;
use redkite_query::plan::{ColumnRef, LiteralSet};
use redkite_query::reduce::{RetrievePart, merge_retrieve};
use redkite_query::{Plan, Predicate};
use redkite_service::{Consistency, Error, RetrieveRequest};
use redkite_types::{
    Batch, Column, ColumnData, ColumnView, DataView, FieldSchema, PrimaryKeyRef, PrimaryKeys, VarColumn,
};

use super::route::Placement;
use super::rows::SentRows;
use crate::collection::{Readable, expired_before};
use crate::convert::{dynamic, from_wire};
use crate::{Proxy, refuse};

/// Whether an upsert is partial; operations on arrays make it so, and are refused.
pub(super) fn is_partial(flag: bool, operations: &[FieldPartialUpdateOp]) -> Result<bool, Error> {
    match operations.iter().find(|operation| operation.op() != OpType::Replace) {
        None => Ok(flag),
        Some(operation) => {
            Err(refuse::unsupported(format_args!("{} of a field", operation.op().as_str_name())))
        }
    }
}

impl Proxy {
    /// The rows as they are now that have any of some keys, with the fields that were not sent.
    pub(super) async fn current_rows(
        &self,
        target: &Readable,
        sent: &SentRows<'_>,
        keys: &PrimaryKeys,
        placement: Placement,
    ) -> Result<RetrievePart, Error> {
        let collection = &target.record;
        target.loaded_partitions(&[])?;
        let request = RetrieveRequest {
            collection: collection.id,
            schema_version: collection.schema.version,
            partitions: placement.partition().into_iter().collect(),
            filter: Some(Arc::new(keys_plan(collection.schema.primary_key(), keys))),
            output: sent.fields_to_read().map(|field| field.id).collect(),
            limit: None,
            consistency: Consistency::Strong,
            ignore_growing: false,
            expired_before: expired_before(collection, self.parts.clock.now()),
        };
        let found = self.retrieve_shards(collection, Arc::new(request)).await?;
        merge_retrieve(found.parts, 0, None).map_err(Error::internal)
    }
}

fn keys_plan(key: &FieldSchema, keys: &PrimaryKeys) -> Plan {
    let values = match keys {
        PrimaryKeys::Int64(keys) => LiteralSet::from_ints(keys.clone()),
        PrimaryKeys::VarChar(keys) => {
            LiteralSet::from_strings((0..keys.len()).map(|position| keys.str(position).to_owned()).collect())
        }
    };
    let column = ColumnRef { field: key.id, data_type: key.data_type, path: Vec::new() };
    Plan { predicate: Predicate::In { column, values }, key_field: key.id, key_type: key.data_type }
}

impl SentRows<'_> {
    /// The fields of which existing rows are needed: those not sent, and undeclared keys.
    fn fields_to_read(&self) -> impl Iterator<Item = &FieldSchema> {
        self.slots()
            .filter(|(field, sent)| !field.primary_key && (sent.is_none() || field.dynamic))
            .map(|(field, _)| field)
    }

    /// The rows as a batch of every stored field: what was sent for `keys`, completed from `current`
    /// rows, under `new_keys`.
    pub(super) fn into_merged_batch(
        self,
        keys: &PrimaryKeys,
        new_keys: PrimaryKeys,
        current: &RetrievePart,
    ) -> Result<Batch, Error> {
        let known: HashMap<PrimaryKeyRef<'_>, usize> =
            current.ids.iter().enumerate().map(|(row, key)| (key, row)).collect();
        let found: Vec<Option<usize>> = keys.iter().map(|key| known.get(&key).copied()).collect();
        let complete = found.iter().all(Option::is_some);
        self.check_fields(true, complete)?;
        let mut filled = self.fill_gaps()?;
        let new_rows = found.iter().filter(|row| row.is_none()).count();
        for (field, sent) in self.slots() {
            filled.add(field, if sent.is_none() { new_rows } else { 0 })?;
        }
        let rows = self.rows();
        let old = |field: &FieldSchema| current.columns.iter().find(|column| column.field == field.id);
        let mut columns = Vec::new();
        let mut new_keys = Some(new_keys);
        for (field, sent) in self.into_slots() {
            let sent = sent.map(|sent| from_wire::column(field, sent, rows)).transpose()?;
            columns.push(match (sent, new_keys.take_if(|_| field.primary_key)) {
                (_, Some(keys)) => Column::new(field.id, super::rows::key_column(keys)),
                (Some(sent), None) if field.dynamic => merged_objects(field, &sent, old(field), &found)?,
                (Some(sent), None) => sent,
                (None, None) => completed(field, old(field), &found),
            });
        }
        Ok(Batch::new(columns))
    }
}

/// The old values where rows exist, what stands for a missing value elsewhere.
fn completed(field: &FieldSchema, old: Option<&Column>, found: &[Option<usize>]) -> Column {
    let missing =
        if field.dynamic { super::rows::empty_objects(field, 1) } else { from_wire::absent_column(field, 1) };
    let mut column = Column::empty(field.id, field.data_type, field.dim as usize);
    for row in found {
        match row.zip(old) {
            Some((row, old)) => column.append_rows(old.view(), [row]),
            None => column.append_rows(missing.view(), [0]),
        }
    }
    column
}

/// Undeclared keys: the sent ones over the old ones.
fn merged_objects(
    field: &FieldSchema,
    sent: &Column,
    old: Option<&Column>,
    found: &[Option<usize>],
) -> Result<Column, Error> {
    let merged: Vec<Vec<u8>> = found
        .iter()
        .enumerate()
        .map(|(row, old_row)| {
            let new = json(sent.view(), row);
            old_row
                .zip(old)
                .map_or_else(|| new.to_vec(), |(at, old)| dynamic::merge(json(old.view(), at), new))
        })
        .collect();
    // Each part may have been short enough.
    from_wire::check_json_lengths(field, &merged)?;
    Ok(Column::new(field.id, ColumnData::Json(merged.into_iter().collect::<VarColumn>())))
}

fn json(column: ColumnView<'_>, row: usize) -> &[u8] {
    match column.data {
        DataView::Json(values) if column.is_valid(row) => values.get(row),
        _ => b"{}",
    }
}

#[cfg(test)]
mod tests {
    use redkite_types::DataType;
    use redkite_types::schema::DYNAMIC_FIELD_NAME;

    use super::*;
    use crate::testing;

    #[test]
    fn merged_objects_have_a_largest_size() {
        let field = FieldSchema { dynamic: true, ..testing::field(DYNAMIC_FIELD_NAME, DataType::Json) };
        let object = |key: &str| {
            let text = format!("{{\"{key}\":\"{}\"}}", "x".repeat(40_000));
            Column::new(field.id, ColumnData::Json([text].into_iter().collect()))
        };
        let (new, old) = (object("a"), object("b"));
        assert!(merged_objects(&field, &new, Some(&old), &[None]).is_ok());
        let refused = merged_objects(&field, &new, Some(&old), &[Some(0)]).unwrap_err().to_string();
        assert_eq!(
            refused,
            "the length (80015) of dynamic field exceeds max length (65536): invalid parameter\
             [expected=valid length dynamic field][actual=length exceeds max length]",
        );
    }
}
