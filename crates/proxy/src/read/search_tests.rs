use redkite_catalog::IndexSpec;
use redkite_proto::schema::i_ds::IdField;
use redkite_types::{Column, ColumnData, DataType, FieldId, IndexId, PrimaryKeys, Timestamp};

use super::*;
use crate::testing;

fn index(method: IndexMethod, index_type: &str) -> IndexRecord {
    IndexRecord {
        id: IndexId(1),
        name: "vector".to_owned(),
        field: FieldId(102),
        params: vec![("index_type".to_owned(), index_type.to_owned())],
        spec: IndexSpec { method, metric: Some(Metric::Cosine) },
        created_at: Timestamp::ZERO,
    }
}

const HNSW: IndexMethod = IndexMethod::Hnsw { m: 16, ef_construction: 200 };

#[test]
fn the_metric_of_the_index_holds() {
    let index = index(HNSW, "HNSW");
    assert_eq!(matching_metric(&index, None).unwrap(), Metric::Cosine);
    assert_eq!(matching_metric(&index, Some("cosine")).unwrap(), Metric::Cosine);
    assert_eq!(
        matching_metric(&index, Some("IP")).unwrap_err().to_string(),
        "metric type not match: invalid parameter[expected=COSINE][actual=IP]",
    );
}

#[test]
fn a_graph_looks_at_no_fewer_candidates_than_results() {
    let small = VectorParams { ef: Some(5), nprobe: None };
    let refused = vector_params(&index(HNSW, "HNSW"), small, 10, false).unwrap_err().to_string();
    assert!(refused.contains("ef(5) should be larger than k(10)"));
    let raised = VectorParams { ef: Some(10), nprobe: None };
    assert_eq!(vector_params(&index(HNSW, "AUTOINDEX"), small, 10, false).unwrap(), raised);
    assert_eq!(vector_params(&index(HNSW, "HNSW"), small, 10, true).unwrap(), raised);
    assert_eq!(vector_params(&index(IndexMethod::Flat, "FLAT"), small, 10, false).unwrap(), small);
}

#[test]
fn one_of_several_vector_fields_must_be_named() {
    let one = testing::collection().schema;
    assert_eq!(anns_field(&one, None).unwrap().name, "vector");
    assert!(
        anns_field(&one, Some("text"))
            .unwrap_err()
            .to_string()
            .contains("failed to get field schema by name")
    );
    let two = testing::schema([
        testing::field("a", DataType::FloatVector),
        testing::field("b", DataType::FloatVector),
    ]);
    assert_eq!(anns_field(&two, Some("b")).unwrap().name, "b");
    let refused = anns_field(&two, None).unwrap_err().to_string();
    assert!(refused.starts_with("multiple anns_fields exist, please specify a anns_field in search_params"));
}

#[test]
fn the_primary_key_is_repeated_only_if_asked_for() {
    let schema = testing::collection().schema;
    let part = SearchPart {
        nq: 2,
        topks: vec![1, 0],
        ids: PrimaryKeys::Int64(vec![9]),
        scores: vec![0.12345],
        timestamps: vec![Timestamp::ZERO],
        columns: vec![Column::new(FieldId(101), ColumnData::VarChar(["x"].into_iter().collect()))],
    };
    let wanted = ["text".to_owned(), "id".to_owned()];
    let output = Output::resolve(&schema, &wanted).unwrap();
    let data = encode(&schema, part.clone(), &output, 2, 10);
    assert_eq!(data.topks, [1, 0]);
    assert_eq!(data.scores, [0.12]);
    assert_eq!(data.output_fields, ["text", "id"]);
    assert_eq!(data.primary_field_name, "id");
    let names: Vec<_> = data.fields_data.iter().map(|field| field.field_name.as_str()).collect();
    assert_eq!(names, ["text", "id"]);
    assert!(matches!(data.ids.unwrap().id_field, Some(IdField::IntId(ids)) if ids.data == [9]));

    let output = Output::resolve(&schema, &wanted[..1]).unwrap();
    assert_eq!(encode(&schema, part, &output, -1, 10).fields_data.len(), 1);
}

#[test]
fn no_answer_carries_more_results_than_a_message() {
    check_entries(16_384, 3000).unwrap();
    check_entries(1, 1_000_000).unwrap();
    let refused = check_entries(16_384, 16_384).unwrap_err().to_string();
    assert_eq!(refused, "number of result entries is too large: invalid parameter");
}
