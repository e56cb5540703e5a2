use bytes::Bytes;
use redkite_proto::schema::vector_field::Data as VectorData;
use redkite_proto::schema::{JsonArray, LongArray, StringArray, VectorField};
use redkite_types::{FieldId, Value};

use super::*;
use crate::testing;

fn scalars(name: &str, data: ScalarData) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(data), valid_data: Vec::new() }));
    FieldData { field_name: name.to_owned(), field, ..FieldData::default() }
}

fn longs(name: &str, values: &[i64]) -> FieldData {
    scalars(name, ScalarData::LongData(LongArray { data: values.to_vec() }))
}

fn texts(name: &str, values: &[&str]) -> FieldData {
    let data = values.iter().map(|value| (*value).to_owned()).collect();
    scalars(name, ScalarData::StringData(StringArray { data }))
}

fn vectors(name: &str, rows: usize) -> FieldData {
    let data = Some(VectorData::FloatVector(vec![1.0; 2 * rows].into()));
    let field = Some(Field::Vectors(VectorField { dim: 2, data, valid_data: Vec::new() }));
    FieldData { field_name: name.to_owned(), field, ..FieldData::default() }
}

fn dynamic(rows: &[&'static str]) -> FieldData {
    let data = rows.iter().map(|row| Bytes::from_static(row.as_bytes())).collect();
    FieldData { is_dynamic: true, ..scalars("", ScalarData::JsonData(JsonArray { data })) }
}

fn batch(collection: &CollectionRecord, columns: Vec<FieldData>, rows: u32) -> Result<Batch, Error> {
    let sent = SentRows::new(collection, columns, rows)?;
    let keys = sent
        .needs_keys()
        .then(|| generated_keys(collection.schema.primary_key().data_type, 1000, sent.rows()));
    Ok(sent.checked(keys.is_some())?.into_batch(keys))
}

fn refusal(collection: &CollectionRecord, columns: Vec<FieldData>, rows: u32) -> String {
    batch(collection, columns, rows).unwrap_err().to_string()
}

/// Like `testing::collection`, but the server makes the keys.
fn auto_id(data_type: DataType) -> CollectionRecord {
    let mut collection = testing::collection();
    collection.schema.fields[0].auto_id = true;
    collection.schema.fields[0].data_type = data_type;
    collection
}

#[test]
fn columns_are_brought_into_schema_order() {
    let columns = vec![vectors("vector", 2), texts("text", &["a", "b"]), longs("id", &[1, 2])];
    let batch = batch(&testing::collection(), columns, 2).unwrap();
    let fields: Vec<_> = batch.columns.iter().map(|column| column.field).collect();
    assert_eq!(fields, [FieldId(100), FieldId(101), FieldId(102), FieldId(103)]);
    assert_eq!(batch.columns[3].data, ColumnData::Json(["{}", "{}"].into_iter().collect()));
}

#[test]
fn nullable_fields_may_be_left_out() {
    let rows = vec![longs("id", &[1]), vectors("vector", 1), dynamic(&[r#"{"a": 1}"#])];
    let batch = batch(&testing::collection(), rows, 1).unwrap();
    assert!(!batch.columns[1].validity.as_ref().unwrap().any());
    assert_eq!(batch.columns[3].data, ColumnData::Json([r#"{"a": 1}"#].into_iter().collect()));
}

#[test]
fn fields_with_a_default_may_be_left_out() {
    let mut collection = testing::collection();
    collection.schema.fields[1].default_value = Some(Value::VarChar("d".to_owned()));
    let batch = batch(&collection, vec![longs("id", &[1]), vectors("vector", 1)], 1).unwrap();
    assert_eq!(batch.columns[1].data, ColumnData::VarChar(["d"].into_iter().collect()));
}

#[test]
fn the_server_makes_keys() {
    let made = batch(&auto_id(DataType::Int64), vec![vectors("vector", 2)], 2).unwrap();
    assert_eq!(made.columns[0].data, ColumnData::Int64(vec![1000, 1001]));
    let made = batch(&auto_id(DataType::VarChar), vec![vectors("vector", 1)], 1).unwrap();
    assert_eq!(made.columns[0].data, ColumnData::VarChar(["1000"].into_iter().collect()));
}

#[test]
fn keys_may_be_chosen_only_where_allowed() {
    let mut collection = auto_id(DataType::Int64);
    let columns = || vec![longs("id", &[7]), vectors("vector", 1)];
    assert!(refusal(&collection, columns(), 1).starts_with("more fieldData has pass in: invalid parameter"));
    collection.properties.insert(ALLOW_INSERT_AUTO_ID.to_owned(), "true".to_owned());
    assert_eq!(batch(&collection, columns(), 1).unwrap().columns[0].data, ColumnData::Int64(vec![7]));
    assert_eq!(
        batch(&collection, vec![vectors("vector", 1)], 1).unwrap().columns[0].data,
        ColumnData::Int64(vec![1000]),
    );
}

#[test]
fn refusals_are_in_milvus_words() {
    let collection = testing::collection();
    let complete = || vec![longs("id", &[1]), vectors("vector", 1)];
    assert_eq!(
        refusal(&collection, complete(), 0),
        "num_rows should be greater than 0: invalid parameter[expected=invalid num_rows][actual=0]",
    );
    assert_eq!(
        refusal(&collection, vec![longs("id", &[1])], 1),
        "fieldSchema(vector) has no corresponding fieldData pass in: invalid parameter",
    );
    let with = |column: FieldData| complete().into_iter().chain([column]).collect::<Vec<_>>();
    assert_eq!(
        refusal(&collection, with(longs("other", &[1])), 1),
        "more fieldData has pass in: invalid parameter[expected=4][actual=5]",
    );
    assert_eq!(
        refusal(&collection, with(longs("id", &[1])), 1),
        "duplicated field id found: invalid parameter"
    );
    assert!(
        refusal(&collection, with(dynamic(&[r#"{"text": 1}"#])), 1)
            .starts_with("dynamic field name cannot include the static field name: text")
    );
    assert!(refusal(&collection, with(dynamic(&["1"])), 1).starts_with("invalid dynamic field data"));
    let mut sent = SentRows::new(&collection, vec![vectors("vector", 1)], 1).unwrap();
    assert_eq!(
        sent.take_keys().unwrap_err().to_string(),
        "must assign pk when upsert, primary field: id: invalid parameter",
    );
}

#[test]
fn claimed_rows_cost_nothing() {
    let mut collection = auto_id(DataType::Int64);
    collection.schema.fields.remove(2);
    let refused = |columns, rows| {
        SentRows::new(&collection, columns, rows).unwrap().checked(true).err().unwrap().to_string()
    };
    let too_large = "parameter too large[message=insert request size exceeds maxInsertSize]";
    assert_eq!(refused(Vec::new(), u32::MAX), too_large);
    assert!(refused(vec![texts("text", &["a"])], u32::MAX).starts_with("the num_rows (1) of field (text)"));

    collection.schema.fields[1].default_value = Some(Value::VarChar("x".repeat(65_535)));
    let gaps = FieldData { valid_data: vec![false; 10_000], ..texts("text", &[]) };
    assert_eq!(
        SentRows::new(&collection, vec![gaps], 10_000).unwrap().checked(true).err().unwrap().to_string(),
        too_large,
    );
}

#[test]
fn upserts_keep_or_replace_the_keys_sent() {
    let collection = testing::collection();
    let mut sent = SentRows::new(&collection, vec![longs("id", &[5]), vectors("vector", 1)], 1).unwrap();
    let keys = sent.take_keys().unwrap();
    assert_eq!(keys, PrimaryKeys::Int64(vec![5]));
    assert_eq!(
        sent.checked(true).unwrap().into_batch(Some(keys)).columns[0].data,
        ColumnData::Int64(vec![5])
    );
}
