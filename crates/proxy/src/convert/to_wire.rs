//! How is a column written into a response?
//!
//! Scalars have one value per row, with a filler in null rows. Vectors are compact: null rows have
//! none. Nullable fields carry one flag per row.

use bytes::Bytes;
use half::{bf16, f16};
use redkite_proto::schema::field_data::Field;
use redkite_proto::schema::i_ds::IdField;
use redkite_proto::schema::scalar_field::Data as ScalarData;
use redkite_proto::schema::vector_field::Data as VectorData;
use redkite_proto::schema::{
    BoolArray, FieldData, IDs, IntArray, JsonArray, LongArray, ScalarField, StringArray, VectorField,
};
use redkite_types::{Bitmap, Column, ColumnData, FieldSchema, VarColumn};

use super::{dynamic, keys};

/// The column of a field; `dynamic_keys` restricts the dynamic field to some keys, if there are any.
pub(crate) fn column(field: &FieldSchema, column: Column, dynamic_keys: &[String]) -> FieldData {
    let Column { data, validity, .. } = column;
    let valid_data = match (&validity, field.nullable) {
        (Some(validity), _) => (0..data.len()).map(|row| validity.get(row)).collect(),
        (None, true) => vec![true; data.len()],
        (None, false) => Vec::new(),
    };
    FieldData {
        r#type: field.data_type.wire(),
        field_name: field.name.clone(),
        field_id: field.id.0,
        is_dynamic: field.dynamic,
        field: Some(values(data, validity.as_ref(), if field.dynamic { dynamic_keys } else { &[] })),
        valid_data,
    }
}

fn values(data: ColumnData, validity: Option<&Bitmap>, dynamic_keys: &[String]) -> Field {
    let scalar = match data {
        ColumnData::Bool(data) => ScalarData::BoolData(BoolArray { data }),
        ColumnData::Int8(data) => small_ints(data),
        ColumnData::Int16(data) => small_ints(data),
        ColumnData::Int32(data) => ScalarData::IntData(IntArray { data }),
        ColumnData::Int64(data) => ScalarData::LongData(LongArray { data }),
        ColumnData::Float(data) => ScalarData::FloatData(data.into()),
        ColumnData::Double(data) => ScalarData::DoubleData(data.into()),
        ColumnData::VarChar(texts) => {
            ScalarData::StringData(StringArray { data: keys::strings(texts.view()) })
        }
        ColumnData::Json(values) => ScalarData::JsonData(JsonArray { data: json(&values, dynamic_keys) }),
        ColumnData::FloatVector { dim, values } => {
            return vectors(dim, VectorData::FloatVector(present(values, dim, validity).into()));
        }
        ColumnData::Float16Vector { dim, values } => {
            let bytes = present(values, dim, validity).into_iter().flat_map(f16::to_le_bytes);
            return vectors(dim, VectorData::Float16Vector(bytes.collect::<Vec<u8>>().into()));
        }
        ColumnData::BFloat16Vector { dim, values } => {
            let bytes = present(values, dim, validity).into_iter().flat_map(bf16::to_le_bytes);
            return vectors(dim, VectorData::Bfloat16Vector(bytes.collect::<Vec<u8>>().into()));
        }
    };
    Field::Scalars(ScalarField { data: Some(scalar), valid_data: Vec::new() })
}

fn small_ints<T: Into<i32>>(values: Vec<T>) -> ScalarData {
    ScalarData::IntData(IntArray { data: values.into_iter().map(Into::into).collect() })
}

fn json(values: &VarColumn, dynamic_keys: &[String]) -> Vec<Bytes> {
    if dynamic_keys.is_empty() {
        return values.iter().map(Bytes::copy_from_slice).collect();
    }
    values.iter().map(|row| dynamic::project(row, dynamic_keys).into()).collect()
}

fn vectors(dim: usize, data: VectorData) -> Field {
    let dim = i64::try_from(dim).expect("dimensions are at most 32768");
    Field::Vectors(VectorField { dim, data: Some(data), valid_data: Vec::new() })
}

/// The vectors of the rows that have one.
fn present<T: Copy>(values: Vec<T>, dim: usize, validity: Option<&Bitmap>) -> Vec<T> {
    match validity {
        None => values,
        Some(validity) => {
            validity.ones().flat_map(|row| values[row * dim..(row + 1) * dim].iter().copied()).collect()
        }
    }
}

/// The primary key as a column, from the keys of a response.
pub(crate) fn key_column(field: &FieldSchema, ids: &IDs) -> FieldData {
    let data = match &ids.id_field {
        Some(IdField::IntId(keys)) => Some(ScalarData::LongData(keys.clone())),
        Some(IdField::StrId(keys)) => Some(ScalarData::StringData(keys.clone())),
        Some(IdField::UuidId(_)) | None => None,
    };
    FieldData {
        r#type: field.data_type.wire(),
        field_name: field.name.clone(),
        field_id: field.id.0,
        field: Some(Field::Scalars(ScalarField { data, valid_data: Vec::new() })),
        ..FieldData::default()
    }
}
