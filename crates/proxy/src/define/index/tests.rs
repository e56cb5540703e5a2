use redkite_catalog::IndexMethod;
use redkite_types::{DataType, FieldId, Metric};

use super::*;
use crate::convert;

type Params = &'static [(&'static str, &'static str)];

fn sent(params: &[(&str, &str)]) -> Vec<KeyValuePair> {
    let pair =
        |(key, value): &(&str, &str)| KeyValuePair { key: (*key).to_owned(), value: (*value).to_owned() };
    params.iter().map(pair).collect()
}

fn field(data_type: DataType) -> FieldSchema {
    let wire = redkite_proto::schema::FieldSchema {
        name: "f".to_owned(),
        type_params: sent(&[("dim", "8"), ("max_length", "64")]),
        ..redkite_proto::schema::FieldSchema::default()
    };
    convert::schema::field_from_wire(&wire, FieldId(101), data_type)
}

fn accepted(data_type: DataType, params: &[(&str, &str)]) -> Definition {
    define(&field(data_type), "f", &sent(params)).unwrap()
}

#[test]
fn vector_parameters_become_what_is_built() {
    let hnsw = |m, ef_construction| IndexMethod::Hnsw { m, ef_construction };
    let table: [(Params, IndexMethod, Metric); 10] = [
        (&[], hnsw(18, 240), Metric::Cosine),
        (&[("index_type", "AUTOINDEX"), ("metric_type", "L2")], hnsw(18, 240), Metric::L2),
        (&[("metric_type", "IP")], hnsw(18, 240), Metric::Ip),
        (&[("index_type", "HNSW"), ("metric_type", "L2")], hnsw(30, 360), Metric::L2),
        (
            &[("index_type", "HNSW"), ("metric_type", "L2"), ("M", "16"), ("efConstruction", "200")],
            hnsw(16, 200),
            Metric::L2,
        ),
        (
            &[
                ("index_type", "HNSW"),
                ("metric_type", "L2"),
                ("params", r#"{"M": 8, "efConstruction": "9"}"#),
            ],
            hnsw(8, 9),
            Metric::L2,
        ),
        (&[("index_type", "FLAT"), ("metric_type", "COSINE")], IndexMethod::Flat, Metric::Cosine),
        (
            &[("index_type", "IVF_FLAT"), ("metric_type", "L2"), ("nlist", "64")],
            IndexMethod::IvfFlat { nlist: 64 },
            Metric::L2,
        ),
        (
            &[("index_type", "IVF_SQ8"), ("metric_type", "L2"), ("warmup", "sync")],
            IndexMethod::IvfSq8 { nlist: 128 },
            Metric::L2,
        ),
        (&[("index_type", "DISKANN"), ("metric_type", "IP")], hnsw(30, 360), Metric::Ip),
    ];
    for (params, method, metric) in table {
        let definition = accepted(DataType::FloatVector, params);
        assert_eq!(definition.spec, IndexSpec { method, metric: Some(metric) }, "{params:?}");
    }
}

#[test]
fn describing_shows_what_was_sent() {
    let sent = [("index_type", "HNSW"), ("metric_type", "L2"), ("params", "{\"M\": 8}")];
    let shown = accepted(DataType::FloatVector, &sent).params;
    assert_eq!(shown, sent.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let shown = accepted(DataType::FloatVector, &[]).params;
    let expected = [("index_type", "AUTOINDEX"), ("metric_type", "COSINE")];
    assert_eq!(shown, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn scalar_parameters_become_what_is_built() {
    let table: [(DataType, Params, IndexMethod); 9] = [
        (DataType::Int64, &[], IndexMethod::Inverted),
        (DataType::Bool, &[("index_type", "AUTOINDEX")], IndexMethod::Bitmap),
        (DataType::VarChar, &[("index_type", "INVERTED")], IndexMethod::Inverted),
        (DataType::VarChar, &[("index_type", "Trie")], IndexMethod::Trie),
        (DataType::VarChar, &[("index_type", "BITMAP")], IndexMethod::Bitmap),
        (DataType::Double, &[("index_type", "STL_SORT")], IndexMethod::StlSort),
        (DataType::Int8, &[("index_type", "STL_SORT")], IndexMethod::StlSort),
        (DataType::Int8, &[("index_type", "BITMAP")], IndexMethod::Bitmap),
        (
            DataType::VarChar,
            &[("index_type", "NGRAM"), ("min_gram", "2"), ("max_gram", "3")],
            IndexMethod::Inverted,
        ),
    ];
    let path = accepted(DataType::Json, &[("index_type", "INVERTED"), ("json_cast_type", "double")]);
    assert_eq!(path.spec, IndexSpec { method: IndexMethod::Flat, metric: None });
    assert_eq!(path.path.unwrap().to_string(), "");
    assert!(path.params.contains(&("json_path".to_owned(), "f".to_owned())));
    for (data_type, params, method) in table {
        assert_eq!(accepted(data_type, params).spec, IndexSpec { method, metric: None }, "{params:?}");
    }
}

#[test]
fn bad_parameters_are_refused_in_milvus_words() {
    use DataType::{Bool, Double, FloatVector, Int64, Json};
    let table: [(DataType, Params, &str); 22] = [
        (
            FloatVector,
            &[("index_type", "NOPE"), ("metric_type", "L2")],
            "invalid parameter[expected=valid index][actual=invalid index type: NOPE]",
        ),
        (FloatVector, &[("index_type", "HYBRID")], "actual=invalid index type: HYBRID"),
        (
            FloatVector,
            &[("index_type", "AUTOINDEX"), ("M", "8")],
            "only metric type can be passed when use AutoIndex: invalid parameter",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW")],
            "metric type not set for vector index: invalid parameter\
             [expected=valid index params][actual=invalid index params]",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW"), ("metric_type", "HAMMING")],
            "float vector index does not support metric type: HAMMING: invalid parameter",
        ),
        (
            FloatVector,
            &[("index_type", "BIN_FLAT"), ("metric_type", "L2")],
            "data type FloatVector can't build with this index BIN_FLAT: invalid parameter",
        ),
        (
            FloatVector,
            &[("index_type", "INVERTED"), ("metric_type", "L2")],
            "data type FloatVector can't build with this index INVERTED",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW"), ("metric_type", "L2"), ("M", "-1")],
            "param 'M' (-1) should be in range [2, 2048]: invalid parameter",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW"), ("metric_type", "L2"), ("efConstruction", "-1")],
            "param 'efConstruction' (-1) should be in range [1, 2147483647]",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW"), ("metric_type", "L2"), ("M", "16.0")],
            "wrong data type in json",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW"), ("metric_type", "L2"), ("M", "True")],
            "invalid integer value, key: 'M', value: 'True': invalid parameter",
        ),
        (
            FloatVector,
            &[("index_type", "IVF_FLAT"), ("metric_type", "L2"), ("nlist", "65537")],
            "param 'nlist' (65537) should be in range [1, 65536]",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW"), ("metric_type", "L2"), ("warmup", "on")],
            "invalid warmup params: invalid warmup policy: on",
        ),
        (
            FloatVector,
            &[("index_type", "HNSW"), ("index_type", "HNSW")],
            "duplicated index param (key=index_type) (value=HNSW) found",
        ),
        (Int64, &[("index_type", "HNSW")], "index HNSW only supports vector data type: invalid parameter"),
        (Int64, &[("index_type", "TRIE")], "TRIE are only supported on varchar field: invalid parameter"),
        (
            Bool,
            &[("index_type", "STL_SORT")],
            "STL_SORT are only supported on numeric, varchar or timestamptz field, got Bool",
        ),
        (
            Double,
            &[("index_type", "BITMAP")],
            "bitmap index are only supported on bool, int, string and array field: invalid parameter",
        ),
        (Json, &[("index_type", "INVERTED")], "json index must specify cast type: missing parameter"),
        (
            Json,
            &[("index_type", "INVERTED"), ("json_cast_type", "float")],
            "json_cast_type FLOAT is not supported",
        ),
        (
            Json,
            &[("index_type", "BITMAP"), ("json_cast_type", "double")],
            "json_cast_type DOUBLE is not supported for BITMAP index",
        ),
        (Json, &[("index_type", "TRIE"), ("json_cast_type", "VARCHAR")], "TRIE are only supported on"),
    ];
    for (data_type, params, expected) in table {
        let message = define(&field(data_type), "f", &sent(params)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let key = FieldSchema { primary_key: true, ..field(Int64) };
    let message = define(&key, "f", &sent(&[("index_type", "BITMAP")])).unwrap_err().to_string();
    assert_eq!(message, "create bitmap index on primary key not supported: invalid parameter");
}

#[test]
fn only_some_parameters_may_be_altered() {
    check_alter(&sent(&[("mmap.enabled", "True"), ("warmup", "async")]), &[]).unwrap();
    check_alter(&[], &["indexoffsetcache.enabled".to_owned()]).unwrap();
    let refusal =
        |set: &[(&str, &str)], delete: &[String]| check_alter(&sent(set), delete).unwrap_err().to_string();
    assert!(refusal(&[("M", "8")], &[]).contains("M is not a configable index property"));
    assert!(refusal(&[], &["M".to_owned()]).contains("M is not a configable index property"));
    assert!(refusal(&[("warmup", "on")], &[]).contains("invalid warmup params"));
    assert!(refusal(&[("mmap.enabled", "x")], &[]).contains("invalid mmap.enabled value: x"));
    let both = refusal(&[("mmap.enabled", "true")], &["warmup".to_owned()]);
    assert!(both.contains("cannot provide both DeleteKeys and ExtraParams"));
}
