use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<SearchParams, Error> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| KeyValuePair { key: (*key).to_owned(), value: (*value).to_owned() })
        .collect();
    SearchParams::parse(&pairs, 16_384)
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    parse(pairs).unwrap_err().to_string()
}

#[test]
fn what_pymilvus_sends_is_read() {
    let params = parse(&[
        ("topk", "10"),
        ("round_decimal", "-1"),
        ("ignore_growing", "False"),
        ("offset", "5"),
        ("metric_type", "COSINE"),
        ("anns_field", "vector"),
        ("params", r#"{"metric_type": "COSINE", "ef": 64}"#),
    ])
    .unwrap();
    assert_eq!((params.limit, params.offset, params.round_decimal), (10, 5, -1));
    assert_eq!(params.metric.as_deref(), Some("COSINE"));
    assert_eq!(params.anns_field.as_deref(), Some("vector"));
    assert_eq!(params.index.vector().unwrap().ef, Some(64));
    assert!(!params.ignore_growing && !params.iterator && params.cursor.is_none());
}

#[test]
fn limits_are_refused_in_milvus_words() {
    assert_eq!(refusal(&[]), "topk is required: missing parameter");
    assert_eq!(
        refusal(&[("topk", "16385")]),
        "topk [16385] is invalid, it should be in range [1, 16384], but got 16385: \
         invalid parameter: invalid parameter",
    );
    assert!(refusal(&[("topk", "x")]).starts_with("topk [x] is invalid"));
    assert!(
        refusal(&[("topk", "1"), ("offset", "-1")])
            .starts_with("offset [-1] is invalid, it should be in range [1, 16384], but got -1")
    );
    assert!(refusal(&[("topk", "16384"), ("offset", "1")]).starts_with("offset+topk [16385] is invalid"));
    assert!(
        refusal(&[("topk", "1"), ("round_decimal", "7")])
            .starts_with("round_decimal [7] is invalid, should be -1 or an integer in range [0, 6]")
    );
    assert!(refusal(&[("topk", "1"), ("ignore_growing", "maybe")]).starts_with("parse ignore growing"));
    assert!(refusal(&[("topk", "1"), ("hints", "fast")]).starts_with("hints: fast not supported"));
    assert!(
        refusal(&[("topk", "1"), ("params", r#"{"range_filter": 1}"#)])
            .starts_with("range_filter requires radius to be set")
    );
}

#[test]
fn what_is_not_implemented_is_never_ignored() {
    for key in ["group_by_field", "group_by_fields", "order_by_fields"] {
        assert!(refusal(&[("topk", "1"), (key, "f")]).starts_with("operation not supported"));
    }
    assert!(parse(&[("topk", "1"), ("group_by_field", "")]).is_ok());
}

#[test]
fn cursors_are_read() {
    let token = "0193b2a0-1111-4222-8333-444455556666";
    let page = [
        ("topk", "100000"),
        ("iterator", "True"),
        ("search_iter_v2", "True"),
        ("search_iter_batch_size", "50"),
        ("search_iter_last_bound", "0.25"),
        ("search_iter_id", token),
    ];
    let params = parse(&page).unwrap();
    let cursor = Cursor { token: Some(token.to_owned()), batch: 50, last_bound: Some(0.25) };
    assert_eq!(params.cursor, Some(cursor));
    assert_eq!(params.limit, 16_384);

    let without = |key: &str| page.into_iter().filter(|(name, _)| *name != key).collect::<Vec<_>>();
    assert!(refusal(&without("search_iter_batch_size")).contains("batch size is required"));
    assert!(refusal(&[("topk", "1"), ("search_iter_v2", "true")]).contains("must be set in the SDK"));
    let with = |key: &'static str, value: &'static str| {
        let mut pairs = without(key);
        pairs.push((key, value));
        refusal(&pairs)
    };
    assert!(with("search_iter_id", "nonsense").contains("invalid token format"));
    assert!(with("search_iter_batch_size", "0").contains("batch size is invalid, it should be in range"));
    assert!(with("search_iter_last_bound", "x").contains("failed to parse input last bound"));
    let mut skipping = without("topk");
    skipping.extend([("topk", "10"), ("offset", "1")]);
    assert!(refusal(&skipping).contains("Setting an offset is not permitted"));
}

#[test]
fn time_zones_are_known_ones() {
    assert!(parse(&[("topk", "1"), ("timezone", "US/Pacific")]).is_ok());
    let refused = refusal(&[("topk", "1"), ("timezone", "Asia/Nowhere")]);
    assert!(refused.starts_with("unknown or invalid IANA Time Zone ID: Asia/Nowhere"), "{refused}");
}
