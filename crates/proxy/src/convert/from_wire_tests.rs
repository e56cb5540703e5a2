use bytes::Bytes;
use redkite_proto::schema::{BoolArray, IntArray, JsonArray, LongArray, StringArray};
use redkite_types::Bitmap;

use super::*;
use crate::convert::to_wire;
use crate::testing;

fn field(data_type: DataType) -> FieldSchema {
    FieldSchema { max_length: 5, ..testing::field("f", data_type) }
}

fn nullable(data_type: DataType) -> FieldSchema {
    FieldSchema { nullable: true, ..field(data_type) }
}

fn scalars(data: ScalarData, valid_data: &[bool]) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(data), valid_data: Vec::new() }));
    FieldData { field, valid_data: valid_data.to_vec(), ..FieldData::default() }
}

fn vectors(dim: i64, data: VectorData, valid_data: &[bool]) -> FieldData {
    let field = Some(Field::Vectors(VectorField { dim, data: Some(data), valid_data: Vec::new() }));
    FieldData { field, valid_data: valid_data.to_vec(), ..FieldData::default() }
}

fn floats(dim: i64, values: &[f32], valid_data: &[bool]) -> FieldData {
    vectors(dim, VectorData::FloatVector(values.to_vec().into()), valid_data)
}

fn refusal(field: &FieldSchema, sent: FieldData, rows: usize) -> String {
    column(field, sent, rows).unwrap_err().to_string()
}

#[test]
fn nulls_get_fillers_and_cleared_bits() {
    let sent = scalars(ScalarData::LongData(LongArray { data: vec![7, 9] }), &[true, false, true]);
    let read = column(&nullable(DataType::Int64), sent, 3).unwrap();
    assert_eq!(read.data, ColumnData::Int64(vec![7, 0, 9]));
    assert_eq!(read.validity, Some(Bitmap::from_bools([true, false, true])));
}

#[test]
fn newer_clients_put_the_flags_inside() {
    let data = Some(ScalarData::LongData(LongArray { data: vec![7] }));
    let inner = Field::Scalars(ScalarField { data, valid_data: vec![false, true] });
    let sent = FieldData { field: Some(inner), ..FieldData::default() };
    let read = column(&nullable(DataType::Int64), sent, 2).unwrap();
    assert_eq!(read.validity, Some(Bitmap::from_bools([false, true])));
}

#[test]
fn defaults_replace_nulls_even_in_nullable_fields() {
    let with_default =
        FieldSchema { default_value: Some(Value::VarChar("d".to_owned())), ..nullable(DataType::VarChar) };
    let sent = scalars(ScalarData::StringData(StringArray { data: vec!["x".to_owned()] }), &[false, true]);
    let read = column(&with_default, sent, 2).unwrap();
    assert_eq!(read.data, ColumnData::VarChar(["d", "x"].into_iter().collect()));
    assert_eq!(read.validity, None);
    assert_eq!(absent_column(&with_default, 2).data, ColumnData::VarChar(["d", "d"].into_iter().collect()));
}

#[test]
fn all_null_columns_may_come_without_data() {
    let empty = FieldData { valid_data: vec![false, false], ..FieldData::default() };
    let read = column(&nullable(DataType::VarChar), empty.clone(), 2).unwrap();
    assert!(!read.validity.unwrap().any());
    let read = column(&nullable(DataType::FloatVector), empty, 2).unwrap();
    assert_eq!(read.data, ColumnData::FloatVector { dim: 2, values: vec![0.0; 4] });
}

#[test]
fn null_vectors_are_compact_on_the_wire() {
    let schema = nullable(DataType::FloatVector);
    let read = column(&schema, floats(2, &[1.0, 2.0], &[false, true]), 2).unwrap();
    assert_eq!(read.data, ColumnData::FloatVector { dim: 2, values: vec![0.0, 0.0, 1.0, 2.0] });
    let written = to_wire::column(&schema, read, &[]);
    let expected = floats(2, &[1.0, 2.0], &[false, true]);
    assert_eq!(written.field, expected.field);
    assert_eq!(written.valid_data, expected.valid_data);
}

#[test]
fn every_type_survives_a_round_trip() {
    let bytes = |values: &[&'static [u8]]| values.iter().map(|value| Bytes::from_static(value)).collect();
    let cases = [
        (DataType::Bool, scalars(ScalarData::BoolData(BoolArray { data: vec![true, false] }), &[])),
        (DataType::Int8, scalars(ScalarData::IntData(IntArray { data: vec![-128, 127] }), &[])),
        (DataType::Int16, scalars(ScalarData::IntData(IntArray { data: vec![-32_768, 32_767] }), &[])),
        (DataType::Int32, scalars(ScalarData::IntData(IntArray { data: vec![i32::MIN, 1] }), &[])),
        (DataType::Int64, scalars(ScalarData::LongData(LongArray { data: vec![i64::MIN, 1] }), &[])),
        (DataType::Float, scalars(ScalarData::FloatData(vec![0.5, -1.0].into()), &[])),
        (DataType::Double, scalars(ScalarData::DoubleData(vec![0.5, 1e300].into()), &[])),
        (
            DataType::VarChar,
            scalars(ScalarData::StringData(StringArray { data: vec![String::new(), "é".to_owned()] }), &[]),
        ),
        (DataType::Json, scalars(ScalarData::JsonData(JsonArray { data: bytes(&[b"{}", b"[1.0]"]) }), &[])),
        (DataType::FloatVector, floats(2, &[1.0, 2.0, 3.0, 4.0], &[])),
        (DataType::Float16Vector, vectors(2, VectorData::Float16Vector(Bytes::from_static(&[1; 8])), &[])),
        (DataType::BFloat16Vector, vectors(2, VectorData::Bfloat16Vector(Bytes::from_static(&[2; 8])), &[])),
    ];
    for (data_type, sent) in cases {
        let schema = field(data_type);
        let read = column(&schema, sent.clone(), 2).unwrap();
        let written = to_wire::column(&schema, read, &[]);
        assert_eq!(written.field, sent.field, "{data_type}");
        assert_eq!(written.r#type, data_type.wire());
    }
}

#[test]
fn float_vectors_are_rounded_for_half_precision_fields() {
    let read = column(&field(DataType::Float16Vector), floats(2, &[1.0, 0.5], &[]), 1).unwrap();
    let values = vec![f16::from_f32(1.0), f16::from_f32(0.5)];
    assert_eq!(read.data, ColumnData::Float16Vector { dim: 2, values });
}

#[test]
fn refusals_are_in_milvus_words() {
    let ints = |values: &[i32]| scalars(ScalarData::IntData(IntArray { data: values.to_vec() }), &[]);
    assert_eq!(
        refusal(&field(DataType::Int8), ints(&[128]), 1),
        "the 0th element (128) out of range: [-128, 127]: \
         invalid parameter[expected=integer doesn't overflow][actual=out of range]",
    );
    assert_eq!(
        refusal(&field(DataType::Int64), ints(&[1]), 1),
        "field 'f' is illegal, array type mismatch: \
         invalid parameter[expected=need long int array][actual=got nil]",
    );
    assert_eq!(
        refusal(&field(DataType::Int32), ints(&[1]), 2),
        "the num_rows (1) of field (f) is not equal to passed num_rows (2): \
         invalid parameter[expected=2][actual=1]",
    );
    let long = scalars(ScalarData::StringData(StringArray { data: vec!["ééé".to_owned()] }), &[]);
    assert_eq!(
        refusal(&field(DataType::VarChar), long, 1),
        "length of varchar field f exceeds max length, row number: 0, length: 6, max length: 5: invalid parameter",
    );
    let flags = scalars(ScalarData::LongData(LongArray { data: vec![1] }), &[true]);
    assert!(
        refusal(&field(DataType::Int64), flags, 1)
            .starts_with("the length of valid_data of field(f) is wrong")
    );
}

#[test]
fn vectors_must_fit_the_field() {
    let schema = field(DataType::FloatVector);
    assert!(
        refusal(&schema, floats(2, &[1.0; 3], &[]), 1)
            .starts_with("the length(3) of float data should divide the dim(2)")
    );
    assert!(
        refusal(&schema, floats(4, &[1.0; 4], &[]), 1)
            .starts_with("the dim (4) of field data(f) is not equal to schema dim (2)")
    );
    assert!(refusal(&schema, floats(2, &[1.0; 4], &[]), 1).starts_with("the num_rows (2) of field (f)"));
    assert!(
        refusal(&schema, floats(2, &[1.0, f32::NAN], &[]), 1)
            .starts_with("value 'NaN' is not a number or infinity")
    );
    assert!(refusal(&schema, floats(2, &[f32::INFINITY, 1.0], &[]), 1).starts_with("value '+Inf' is not"));
}

#[test]
fn only_the_dynamic_field_is_cut_down() {
    let json =
        scalars(ScalarData::JsonData(JsonArray { data: vec![Bytes::from_static(br#"{"a":1,"b":2}"#)] }), &[]);
    let declared = field(DataType::Json);
    let dynamic = FieldSchema { dynamic: true, ..declared.clone() };
    let written = |field: &FieldSchema| {
        let read = column(field, json.clone(), 1).unwrap();
        to_wire::column(field, read, &["a".to_owned()]).field
    };
    assert_eq!(written(&declared), json.field);
    let cut = scalars(ScalarData::JsonData(JsonArray { data: vec![Bytes::from_static(br#"{"a":1}"#)] }), &[]);
    assert_eq!(written(&dynamic), cut.field);
}
