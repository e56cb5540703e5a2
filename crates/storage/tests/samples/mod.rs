//! Rows with a field of every type, the same in every run.

#![allow(dead_code, reason = "each test binary uses a part")]

use half::{bf16, f16};
use redkite_storage::format::RowSource;
use redkite_types::{
    Batch, Bitmap, CollectionSchema, Column, ColumnData, DataType, FieldId, FieldSchema, Timestamp, Value,
};

/// A field of every type; 100 is the key.
pub(crate) fn schema() -> CollectionSchema {
    let types = [
        (DataType::Int64, 0),
        (DataType::Bool, 0),
        (DataType::Int8, 0),
        (DataType::Int16, 0),
        (DataType::Int32, 0),
        (DataType::Float, 0),
        (DataType::Double, 0),
        (DataType::VarChar, 0),
        (DataType::VarChar, 0),
        (DataType::Json, 0),
        (DataType::FloatVector, 3),
        (DataType::Float16Vector, 2),
        (DataType::BFloat16Vector, 2),
    ];
    let fields = (100..).zip(types).map(|(id, (data_type, dim))| FieldSchema {
        id: FieldId(id),
        name: format!("f{id}"),
        description: String::new(),
        data_type,
        primary_key: id == 100,
        auto_id: false,
        nullable: id == 107,
        default_value: (id == 103).then_some(Value::Int64(42)),
        dynamic: false,
        partition_key: false,
        clustering_key: false,
        dim,
        max_length: 0,
        type_params: Vec::new(),
    });
    CollectionSchema {
        description: String::new(),
        fields: fields.collect(),
        enable_dynamic_field: false,
        version: 1,
    }
}

/// Rows whose keys are `first`, `first + 1`, …
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_precision_loss)]
pub(crate) fn batch(rows: usize, first: i64) -> Batch {
    let range = || 0..rows;
    let data = [
        ColumnData::Int64(range().map(|row| first + row as i64).collect()),
        ColumnData::Bool(range().map(|row| row % 3 == 0).collect()),
        ColumnData::Int8(range().map(|row| (row % 200) as u8 as i8).collect()),
        ColumnData::Int16(range().map(|row| row as i16).collect()),
        ColumnData::Int32(range().map(|row| row as i32).collect()),
        ColumnData::Float(range().map(|row| row as f32 / 2.0).collect()),
        ColumnData::Double(range().map(|row| -(row as f64)).collect()),
        ColumnData::VarChar(
            range().map(|row| if row % 4 == 0 { String::new() } else { format!("t{row}") }).collect(),
        ),
        ColumnData::VarChar(range().map(|row| "ä".repeat(row % 5)).collect()),
        ColumnData::Json(range().map(|row| format!("{{\"n\":{row}}}")).collect()),
        ColumnData::FloatVector { dim: 3, values: (0..rows * 3).map(|at| at as f32).collect() },
        ColumnData::Float16Vector {
            dim: 2,
            values: (0..rows * 2).map(|at| f16::from_f32(at as f32)).collect(),
        },
        ColumnData::BFloat16Vector {
            dim: 2,
            values: (0..rows * 2).map(|at| bf16::from_f32(at as f32)).collect(),
        },
    ];
    let columns = (100..).zip(data).map(|(id, data)| Column {
        field: FieldId(id),
        data,
        validity: (id == 107).then(|| Bitmap::from_fn(rows, |row| row % 4 != 0)),
    });
    Batch::new(columns.collect())
}

/// Ascending timestamps, `step` apart.
pub(crate) fn timestamps(rows: usize, step: u64) -> Vec<Timestamp> {
    (1..).map(|row| Timestamp::from_physical(1_000 + row * step)).take(rows).collect()
}

/// The rows as a source for a writer.
pub(crate) fn source<'a>(batch: &'a Batch, timestamps: &'a [Timestamp]) -> RowSource<'a> {
    let columns = batch.columns.iter().map(|column| (column.field, column.view())).collect();
    RowSource { timestamps, columns }
}
