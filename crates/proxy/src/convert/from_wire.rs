//! Is this column what the schema says, and what are its values?

use half::{bf16, f16};
use redkite_proto::schema::field_data::Field;
use redkite_proto::schema::scalar_field::Data as ScalarData;
use redkite_proto::schema::vector_field::Data as VectorData;
use redkite_proto::schema::{FieldData, ScalarField, VectorField};
use redkite_service::Error;
use redkite_types::{Column, ColumnData, DataType, FieldSchema, Value, VarColumn, limits};

use super::expand::{Presence, missing_value};
use crate::refuse;

/// The column of a field, from what the client sent for it: checked, one value per row.
pub(crate) fn column(field: &FieldSchema, sent: FieldData, rows: usize) -> Result<Column, Error> {
    let Sent { scalars, vectors, dim, flags } = Sent::from(sent);
    let presence = Presence::new(field, flags, rows)?;
    let data = if field.data_type.is_vector() {
        vector_values(field, vectors, dim, &presence)?
    } else {
        scalar_values(field, scalars, &presence)?
    };
    if data.len() != rows {
        return Err(wrong_rows(field, data.len(), rows));
    }
    Ok(Column { field: field.id, data, validity: presence.validity(field) })
}

/// The column of a field the client sent nothing for.
pub(crate) fn absent_column(field: &FieldSchema, rows: usize) -> Column {
    Column::repeated(field.id, field.data_type, field.dim as usize, missing_value(field), rows)
}

/// The message's parts, with the flags of newer and older clients made one.
struct Sent {
    scalars: Option<ScalarData>,
    vectors: Option<VectorData>,
    dim: i64,
    flags: Vec<bool>,
}

impl From<FieldData> for Sent {
    fn from(sent: FieldData) -> Self {
        let flags = |own: Vec<bool>| if own.is_empty() { sent.valid_data } else { own };
        match sent.field {
            Some(Field::Scalars(ScalarField { data, valid_data })) => {
                Self { scalars: data, vectors: None, dim: 0, flags: flags(valid_data) }
            }
            Some(Field::Vectors(VectorField { dim, data, valid_data })) => {
                Self { scalars: None, vectors: data, dim, flags: flags(valid_data) }
            }
            Some(Field::StructArrays(_)) | None => {
                Self { scalars: None, vectors: None, dim: 0, flags: flags(Vec::new()) }
            }
        }
    }
}

fn wrong_rows(field: &FieldSchema, found: usize, rows: usize) -> Error {
    let what =
        format!("the num_rows ({found}) of field ({}) is not equal to passed num_rows ({rows})", field.name);
    refuse::mismatch(rows, found, what)
}

fn wrong_type(field: &FieldSchema) -> Error {
    let (kind, needed) = match field.data_type {
        DataType::Bool => ("field", "bool array"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => ("field", "int array"),
        DataType::Int64 => ("field", "long int array"),
        DataType::Float => ("field", "float32 array"),
        DataType::Double => ("field", "float64(double) array"),
        DataType::VarChar => ("varchar field", "string array"),
        DataType::Json => ("json field", "json array"),
        DataType::FloatVector => ("float vector field", "float vector"),
        DataType::Float16Vector => ("float16 vector field", "float16 vector"),
        DataType::BFloat16Vector => ("bfloat16 vector field", "bfloat16 vector"),
    };
    let what = format!("{kind} '{}' is illegal, array type mismatch", field.name);
    refuse::mismatch(format_args!("need {needed}"), "got nil", what)
}

fn scalar_values(
    field: &FieldSchema,
    sent: Option<ScalarData>,
    presence: &Presence,
) -> Result<ColumnData, Error> {
    let Some(sent) = sent else {
        // An empty message is how clients say "no values".
        if presence.present() > 0 {
            return Err(wrong_type(field));
        }
        return Ok(absent_column(field, presence.rows()).data);
    };
    let default = missing_value(field);
    Ok(match (field.data_type, sent) {
        (DataType::Bool, ScalarData::BoolData(array)) => {
            ColumnData::Bool(presence.expand(array.data, &matches!(default, Value::Bool(true)))?)
        }
        (DataType::Int8, ScalarData::IntData(array)) => {
            ColumnData::Int8(narrowed(presence.expand(array.data, &small_int(default))?, -128, 127)?)
        }
        (DataType::Int16, ScalarData::IntData(array)) => {
            ColumnData::Int16(narrowed(presence.expand(array.data, &small_int(default))?, -32_768, 32_767)?)
        }
        (DataType::Int32, ScalarData::IntData(array)) => {
            ColumnData::Int32(presence.expand(array.data, &small_int(default))?)
        }
        (DataType::Int64, ScalarData::LongData(array)) => {
            let filler = if let Value::Int64(value) = default { *value } else { 0 };
            ColumnData::Int64(presence.expand(array.data, &filler)?)
        }
        (DataType::Float, ScalarData::FloatData(array)) => {
            check_finite(&array.data)?;
            #[expect(clippy::cast_possible_truncation, reason = "a Float default is given as a double")]
            let filler = double(default) as f32;
            ColumnData::Float(presence.expand(array.data, &filler)?)
        }
        (DataType::Double, ScalarData::DoubleData(array)) => {
            check_finite(&array.data)?;
            ColumnData::Double(presence.expand(array.data, &double(default))?)
        }
        (DataType::VarChar, ScalarData::StringData(array)) => {
            check_lengths(field, &array.data)?;
            let filler = if let Value::VarChar(value) = default { value.clone() } else { String::new() };
            ColumnData::VarChar(presence.expand(array.data, &filler)?.into_iter().collect())
        }
        (DataType::Json, ScalarData::JsonData(array)) => {
            check_json_lengths(field, &array.data)?;
            let filler = if let Value::Json(value) = default { value.clone() } else { b"null".to_vec() };
            let values: VarColumn = presence.expand(array.data, &filler.into())?.into_iter().collect();
            ColumnData::Json(values)
        }
        _ => return Err(wrong_type(field)),
    })
}

fn small_int(default: &Value) -> i32 {
    if let Value::Int64(value) = default { i32::try_from(*value).unwrap_or_default() } else { 0 }
}

fn double(default: &Value) -> f64 {
    if let Value::Double(value) = default { *value } else { 0.0 }
}

/// Int8 and Int16 travel as 32-bit integers.
fn narrowed<T: TryFrom<i32>>(values: Vec<i32>, low: i32, high: i32) -> Result<Vec<T>, Error> {
    let narrow = |(row, value): (usize, i32)| {
        T::try_from(value).map_err(|_| {
            let what = format!("the {row}th element ({value}) out of range: [{low}, {high}]");
            refuse::mismatch("integer doesn't overflow", "out of range", what)
        })
    };
    values.into_iter().enumerate().map(narrow).collect()
}

/// Numbers of which some are not finite.
trait Finite: Copy {
    fn finite(self) -> bool;
    fn wide(self) -> f64;
}

impl Finite for f32 {
    fn finite(self) -> bool {
        self.is_finite()
    }
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Finite for f64 {
    fn finite(self) -> bool {
        self.is_finite()
    }
    fn wide(self) -> f64 {
        self
    }
}

/// Looks at whole blocks at once: without an early exit inside a block the loop is vectorised.
fn check_finite<T: Finite>(values: &[T]) -> Result<(), Error> {
    let is_finite = |block: &&[T]| !block.iter().fold(true, |all, value| all & value.finite());
    let Some(block) = values.chunks(1024).find(is_finite) else {
        return Ok(());
    };
    let found = block.iter().find(|value| !value.finite()).expect("some value is not finite").wide();
    Err(not_finite(found))
}

/// A number is infinite or none.
pub(crate) fn not_finite(number: f64) -> Error {
    let text = match number {
        f64::INFINITY => "+Inf",
        f64::NEG_INFINITY => "-Inf",
        _ => "NaN",
    };
    refuse::invalid(format_args!("value '{text}' is not a number or infinity"))
}

fn check_lengths(field: &FieldSchema, values: &[String]) -> Result<(), Error> {
    let longest = field.max_length as usize;
    if field.auto_id {
        return Ok(());
    }
    match values.iter().position(|value| value.len() > longest) {
        None => Ok(()),
        Some(row) => Err(refuse::invalid(format_args!(
            "length of varchar field {} exceeds max length, row number: {row}, length: {}, max length: {longest}",
            field.name,
            values[row].len(),
        ))),
    }
}

/// No value is longer than JSON may be.
pub(crate) fn check_json_lengths(field: &FieldSchema, values: &[impl AsRef<[u8]>]) -> Result<(), Error> {
    let limit = limits::MAX_JSON_BYTES;
    let Some(length) = values.iter().map(|value| value.as_ref().len()).find(|length| *length > limit) else {
        return Ok(());
    };
    Err(if field.dynamic {
        refuse::mismatch(
            "valid length dynamic field",
            "length exceeds max length",
            format_args!("the length ({length}) of dynamic field exceeds max length ({limit})"),
        )
    } else {
        refuse::mismatch(
            "valid length json string",
            "length exceeds max length",
            format_args!("the length ({length}) of json field ({}) exceeds max length ({limit})", field.name),
        )
    })
}

fn vector_values(
    field: &FieldSchema,
    sent: Option<VectorData>,
    sent_dim: i64,
    presence: &Presence,
) -> Result<ColumnData, Error> {
    let dim = field.dim as usize;
    let Some(sent) = sent else {
        if presence.present() > 0 {
            return Err(wrong_type(field));
        }
        return Ok(absent_column(field, presence.rows()).data);
    };
    let data = match (field.data_type, sent) {
        (DataType::FloatVector, VectorData::FloatVector(array)) => {
            check_finite(&array.data)?;
            check_vectors(field, array.data.len(), sent_dim, presence)?;
            ColumnData::FloatVector { dim, values: presence.expand_vectors(array.data, dim, 0.0) }
        }
        (DataType::Float16Vector, sent) => {
            let values = match sent {
                VectorData::Float16Vector(bytes) => halves(field, &bytes, f16::from_le_bytes)?,
                VectorData::FloatVector(array) => array.data.into_iter().map(f16::from_f32).collect(),
                _ => return Err(wrong_type(field)),
            };
            if !values.iter().all(|value| value.is_finite()) {
                return Err(refuse::invalid("float16 vector contain nan or infinity value."));
            }
            check_vectors(field, values.len(), sent_dim, presence)?;
            ColumnData::Float16Vector { dim, values: presence.expand_vectors(values, dim, f16::ZERO) }
        }
        (DataType::BFloat16Vector, sent) => {
            let values = match sent {
                VectorData::Bfloat16Vector(bytes) => halves(field, &bytes, bf16::from_le_bytes)?,
                VectorData::FloatVector(array) => array.data.into_iter().map(bf16::from_f32).collect(),
                _ => return Err(wrong_type(field)),
            };
            if !values.iter().all(|value| value.is_finite()) {
                return Err(refuse::invalid("bfloat16 vector contain nan or infinity value."));
            }
            check_vectors(field, values.len(), sent_dim, presence)?;
            ColumnData::BFloat16Vector { dim, values: presence.expand_vectors(values, dim, bf16::ZERO) }
        }
        _ => return Err(wrong_type(field)),
    };
    Ok(data)
}

fn halves<T>(field: &FieldSchema, bytes: &[u8], read: fn([u8; 2]) -> T) -> Result<Vec<T>, Error> {
    let width = 2 * field.dim as usize;
    if !bytes.len().is_multiple_of(width.max(2)) {
        let name = if field.data_type == DataType::Float16Vector { "float16" } else { "bfloat" };
        return Err(refuse::invalid(format_args!(
            "the length({}) of {name} data should divide the row width({width})",
            bytes.len(),
        )));
    }
    Ok(bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect())
}

/// The elements make whole vectors of the field's dimension, one per row that has a value.
fn check_vectors(
    field: &FieldSchema,
    elements: usize,
    sent_dim: i64,
    presence: &Presence,
) -> Result<(), Error> {
    let dim = field.dim as usize;
    if !elements.is_multiple_of(dim.max(1)) {
        return Err(refuse::invalid(format_args!(
            "the length({elements}) of float data should divide the dim({dim})"
        )));
    }
    if sent_dim != i64::from(field.dim) {
        let what =
            format!("the dim ({sent_dim}) of field data({}) is not equal to schema dim ({dim})", field.name);
        return Err(refuse::mismatch(dim, sent_dim, what));
    }
    let found = elements / dim.max(1);
    if found != presence.present() {
        return Err(wrong_rows(field, found, presence.present()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "from_wire_tests.rs"]
mod tests;
