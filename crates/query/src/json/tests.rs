use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn find<'a>(text: &'a [u8], path: &[&str]) -> Option<JsonValue<'a>> {
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    JsonPath::new(&path).find(text)
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ab\"\\\\\n\u{e9}{}\\[\\],:]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[ab01\"\\\\]{0,2}", inner), 0..5)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// What serde_json finds at the path.
fn model<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Object(members) => members.get(key),
        Value::Array(elements) => elements.get(key.parse::<usize>().ok().filter(|_| key.len() == 1)?),
        _ => None,
    })
}

fn same(found: JsonValue<'_>, expected: &Value) -> bool {
    match (found, expected) {
        (JsonValue::Null, Value::Null) => true,
        (JsonValue::Bool(found), Value::Bool(expected)) => found == *expected,
        (JsonValue::String(found), Value::String(expected)) => {
            found.text() == *expected && found.equals(expected)
        }
        (JsonValue::Number(Number::Int(found)), Value::Number(expected)) => expected.as_i64() == Some(found),
        (JsonValue::Number(Number::Large(found)), Value::Number(expected)) => {
            expected.as_u64() == Some(found)
        }
        (JsonValue::Number(Number::Double(found)), Value::Number(expected)) => {
            expected.is_f64() && expected.as_f64() == Some(found)
        }
        (JsonValue::Array(found), Value::Array(expected)) => {
            let found: Vec<_> = elements(found).collect();
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| same(*found, expected))
        }
        (JsonValue::Object(_), Value::Object(_)) => true,
        _ => false,
    }
}

fn exists(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(elements) => elements.iter().any(exists),
        Value::Object(members) => members.values().any(exists),
        _ => true,
    }
}

proptest! {
    #[test]
    fn finds_what_a_full_parse_finds(value in json(), path in prop::collection::vec("[ab01\"\\\\]{0,1}", 0..4), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let found = JsonPath::new(&path).find(&text);
        match model(&value, &path) {
            None => prop_assert_eq!(found, None),
            Some(expected) => {
                let found = found.unwrap();
                prop_assert!(same(found, expected), "{:?} {}", found, expected);
                prop_assert_eq!(found.exists(), exists(expected));
            }
        }
    }

    #[test]
    fn garbage_never_panics(text in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ntf01-.eE au".to_vec()), 0..40), key in "[a0]") {
        let path = [key];
        if let Some(value) = JsonPath::new(&path).find(&text) {
            value.exists();
            if let JsonValue::Array(array) = value {
                elements(array).for_each(drop);
            }
        }
    }
}

#[test]
fn numbers_compare_exactly() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let big = 9_007_199_254_740_993_i64;
    assert_eq!(Number::Int(big).order(Number::Double(9_007_199_254_740_992.0)), Some(Greater));
    assert_eq!(Number::Double(1.5).order(Number::Int(1)), Some(Greater));
    assert_eq!(Number::Double(-1.5).order(Number::Int(-1)), Some(Less));
    assert_eq!(Number::Int(2).order(Number::Double(2.0)), Some(Equal));
    assert_eq!(Number::Large(u64::MAX).order(Number::Int(i64::MAX)), Some(Greater));
    assert_eq!(Number::Int(i64::MAX).order(Number::Double(f64::INFINITY)), Some(Less));
    assert_eq!(Number::Int(i64::MIN).order(Number::Double(-9.3e18)), Some(Greater));
    assert_eq!(Number::Int(1).order(Number::Double(f64::NAN)), None);
}

#[test]
fn first_of_repeated_keys_counts() {
    assert_eq!(find(br#"{"a": 1, "a": 2}"#, &["a"]), Some(JsonValue::Number(Number::Int(1))));
}

#[test]
fn deep_nesting_is_no_recursion() {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let text = [b"{\"a\":".as_slice(), &deep, b",\"b\":true}"].concat();
    assert_eq!(find(&text, &["b"]), Some(JsonValue::Bool(true)));
    assert!(!find(&text, &["a"]).unwrap().exists());
}

#[test]
fn positions_are_plain_numbers() {
    let text = json!({"a": [10, 20], "0": "key"}).to_string();
    assert_eq!(find(text.as_bytes(), &["a", "1"]), Some(JsonValue::Number(Number::Int(20))));
    assert_eq!(find(text.as_bytes(), &["a", "01"]), None);
    assert_eq!(find(text.as_bytes(), &["a", "-1"]), None);
    assert!(matches!(find(text.as_bytes(), &["0"]), Some(JsonValue::String(_))));
}
