//! Are these rows what the collection wants, and what do they hold?

use redkite_catalog::CollectionRecord;
use redkite_proto::schema::field_data::Field;
use redkite_proto::schema::scalar_field::Data as ScalarData;
use redkite_proto::schema::{FieldData, ScalarField};
use redkite_service::Error;
use redkite_types::schema::DYNAMIC_FIELD_NAME;
use redkite_types::{
    Batch, CollectionSchema, Column, ColumnData, DataType, FieldSchema, PrimaryKeys, VarColumn,
};

use super::fill::{Filled, gaps};
use crate::convert::{dynamic, from_wire};
use crate::refuse;

/// Setting of a collection that lets clients choose the keys of `autoID` fields.
const ALLOW_INSERT_AUTO_ID: &str = "allow_insert_auto_id";

/// What a client sent, sorted by field.
pub(crate) struct SentRows<'a> {
    schema: &'a CollectionSchema,
    rows: usize,
    /// One slot per field of the schema.
    fields: Vec<Option<FieldData>>,
    /// Columns that belong to no field.
    unknown: usize,
    may_choose_keys: bool,
}

impl<'a> SentRows<'a> {
    /// Sorts columns by field and checks what can be checked without looking at values.
    pub(crate) fn new(
        collection: &'a CollectionRecord,
        columns: Vec<FieldData>,
        rows: u32,
    ) -> Result<Self, Error> {
        if rows == 0 {
            let what = "num_rows should be greater than 0";
            return Err(refuse::mismatch("invalid num_rows", rows, what));
        }
        let schema = &collection.schema;
        let mut fields: Vec<Option<FieldData>> = vec![None; schema.fields.len()];
        let mut unknown = 0;
        for column in columns {
            let name = if column.is_dynamic { DYNAMIC_FIELD_NAME } else { column.field_name.as_str() };
            match schema.fields.iter().position(|field| field.name == name) {
                None => unknown += 1,
                Some(at) if fields[at].is_some() => {
                    return Err(refuse::invalid(format_args!("duplicated field {name} found")));
                }
                Some(at) => fields[at] = Some(column),
            }
        }
        let may_choose_keys = collection
            .properties
            .get(ALLOW_INSERT_AUTO_ID)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let sent = Self { schema, rows: rows as usize, fields, unknown, may_choose_keys };
        sent.check_dynamic_rows()?;
        Ok(sent)
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the keys of an insert are made by the server.
    pub(crate) fn needs_keys(&self) -> bool {
        self.schema.primary_key().auto_id && !(self.may_choose_keys && self.key_slot().is_some())
    }

    /// Takes the column of primary keys out.
    pub(crate) fn take_keys(&mut self) -> Result<PrimaryKeys, Error> {
        let key = self.schema.primary_key();
        let at = self.key_position();
        let Some(sent) = self.fields[at].take() else {
            return Err(refuse::invalid(format_args!(
                "must assign pk when upsert, primary field: {}",
                key.name
            )));
        };
        let column = from_wire::column(key, sent, self.rows)?;
        PrimaryKeys::from_column(&column.data).ok_or_else(|| {
            refuse::invalid("currently only support DataType Int64 or VarChar as PrimaryField")
        })
    }

    /// The rows with every value checked; `keys_given` says that keys will be given instead of sent ones.
    pub(crate) fn checked(self, keys_given: bool) -> Result<CheckedRows<'a>, Error> {
        self.check_fields(keys_given, false)?;
        let mut filled = self.fill_gaps()?;
        let (schema, rows) = (self.schema, self.rows);
        // Sent columns come first: from then on the number of rows is not only claimed.
        let read = |(field, sent): (&FieldSchema, Option<FieldData>)| {
            sent.map(|sent| from_wire::column(field, sent, rows)).transpose()
        };
        let columns = self.into_slots().map(read).collect::<Result<Vec<_>, _>>()?;
        let absent = schema.fields.iter().zip(&columns).filter(|(_, column)| column.is_none());
        absent.map(|(field, _)| field).try_for_each(|field| filled.add(field, rows))?;
        Ok(CheckedRows { schema, rows, columns })
    }

    /// Counts what will stand in the gaps of sent columns.
    pub(super) fn fill_gaps(&self) -> Result<Filled, Error> {
        let mut filled = Filled::default();
        for (field, sent) in self.slots() {
            filled.add(field, sent.map_or(0, gaps))?;
        }
        Ok(filled)
    }

    /// The fields of the schema and what was sent for each.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&'a FieldSchema, Option<&FieldData>)> {
        self.schema.fields.iter().zip(self.fields.iter().map(Option::as_ref))
    }

    /// The fields of the schema and what was sent for each.
    pub(super) fn into_slots(self) -> impl Iterator<Item = (&'a FieldSchema, Option<FieldData>)> {
        self.schema.fields.iter().zip(self.fields)
    }

    /// Every field that needs values has some, unless all rows exist already, and nothing else was sent.
    pub(super) fn check_fields(&self, keys_given: bool, all_exist: bool) -> Result<(), Error> {
        let key_position = self.key_position();
        for (at, field) in self.schema.fields.iter().enumerate() {
            let optional = field.nullable || field.default_value.is_some() || field.dynamic || all_exist;
            let provided = self.fields[at].is_some() || (keys_given && at == key_position);
            if !provided && !optional {
                return Err(refuse::invalid(format_args!(
                    "fieldSchema({}) has no corresponding fieldData pass in",
                    field.name
                )));
            }
        }
        let superfluous = self.unknown + usize::from(keys_given && self.key_slot().is_some());
        if superfluous > 0 {
            let expected = self.schema.fields.len();
            return Err(refuse::mismatch(expected, expected + superfluous, "more fieldData has pass in"));
        }
        Ok(())
    }

    fn check_dynamic_rows(&self) -> Result<(), Error> {
        let at = self.schema.fields.iter().position(|field| field.dynamic);
        let sent = at.and_then(|at| self.fields[at].as_ref()).and_then(|column| column.field.as_ref());
        let Some(Field::Scalars(ScalarField { data: Some(ScalarData::JsonData(rows)), .. })) = sent else {
            return Ok(());
        };
        rows.data.iter().try_for_each(|row| dynamic::check_row(self.schema, row))
    }

    fn key_position(&self) -> usize {
        self.schema.fields.iter().position(|field| field.primary_key).expect("a schema has a primary key")
    }

    fn key_slot(&self) -> Option<&FieldData> {
        self.fields[self.key_position()].as_ref()
    }
}

/// What a client sent, checked: only what it left out is still to be made.
pub(crate) struct CheckedRows<'a> {
    schema: &'a CollectionSchema,
    rows: usize,
    /// One slot per field of the schema.
    columns: Vec<Option<Column>>,
}

impl CheckedRows<'_> {
    /// The rows as a batch of every stored field, with these keys instead of sent ones if given.
    pub(crate) fn into_batch(self, keys: Option<PrimaryKeys>) -> Batch {
        let mut keys = keys.map(key_column);
        let slots = self.schema.fields.iter().zip(self.columns);
        let columns = slots.map(|(field, column)| match (column, keys.take_if(|_| field.primary_key)) {
            (_, Some(data)) => Column::new(field.id, data),
            (Some(column), None) => column,
            (None, None) if field.dynamic => empty_objects(field, self.rows),
            (None, None) => from_wire::absent_column(field, self.rows),
        });
        Batch::new(columns.collect())
    }
}

/// `count` consecutive ids as keys of a field.
pub(crate) fn generated_keys(data_type: DataType, first: i64, count: usize) -> PrimaryKeys {
    let ids = (first..).take(count);
    match data_type {
        DataType::Int64 => PrimaryKeys::Int64(ids.collect()),
        _ => PrimaryKeys::VarChar(ids.map(|id| id.to_string()).collect()),
    }
}

/// Keys as the values of a column.
pub(super) fn key_column(keys: PrimaryKeys) -> ColumnData {
    match keys {
        PrimaryKeys::Int64(keys) => ColumnData::Int64(keys),
        PrimaryKeys::VarChar(keys) => ColumnData::VarChar(keys),
    }
}

/// `$meta` of rows without undeclared keys.
pub(super) fn empty_objects(field: &FieldSchema, rows: usize) -> Column {
    let objects: VarColumn = std::iter::repeat_n(b"{}", rows).collect();
    Column::new(field.id, ColumnData::Json(objects))
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
