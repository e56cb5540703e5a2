use proptest::prelude::*;
use redkite_types::schema::DYNAMIC_FIELD_NAME;
use redkite_types::{DataType, FieldId, FieldSchema, PrimaryKeys};

use super::*;
use crate::plan::Literal;

fn field(id: i64, name: &str, data_type: DataType) -> FieldSchema {
    // What is not given here has serde defaults, so that new schema fields do not matter.
    let dim = if data_type.is_vector() { 8 } else { 0 };
    let json = serde_json::json!({
        "id": id, "name": name, "data_type": data_type, "primary_key": id == 100, "nullable": id > 100,
        "dynamic": name == DYNAMIC_FIELD_NAME, "dim": dim,
    });
    serde_json::from_value(json).unwrap()
}

fn schema(dynamic: bool) -> CollectionSchema {
    let mut fields = vec![
        field(100, "int64", DataType::Int64),
        field(101, "int8", DataType::Int8),
        field(102, "float", DataType::Float),
        field(103, "double", DataType::Double),
        field(104, "bool", DataType::Bool),
        field(105, "varchar", DataType::VarChar),
        field(106, "json_field", DataType::Json),
        field(107, "vec", DataType::FloatVector),
        field(108, "int32", DataType::Int32),
    ];
    if dynamic {
        fields.push(field(109, DYNAMIC_FIELD_NAME, DataType::Json));
    }
    CollectionSchema { description: String::new(), fields, enable_dynamic_field: dynamic, version: 0 }
}

fn plan(text: &str) -> Result<Plan, FilterError> {
    parse(text, &schema(true), &Templates::new())
}

fn shown(text: &str) -> String {
    match plan(text) {
        Ok(plan) => plan.predicate.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

/// Asserts a table of expressions and what they mean, `#100` being the field with that id.
fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter(|(text, expected)| shown(text) != *expected)
        .map(|(text, expected)| format!("{text}\n  expected {expected}\n  found    {}", shown(text)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn comparisons() {
    check(&[
        ("", "true"),
        ("  ", "true"),
        ("true", "true"),
        ("False", "false"),
        ("1 < 2", "true"),
        ("int64 == 1", "#100 == 1"),
        ("1 < int64", "#100 > 1"),
        ("float == 1", "#102 == 1.0"),
        ("double > 1.5e3", "#103 > 1500.0"),
        ("bool == True", "#104 == true"),
        ("bool <= False", "#104 <= false"),
        (r#"varchar != "it's""#, r#"#105 != "it's""#),
        (r"varchar == 'a\'b\n\u4e2d'", "#105 == \"a'b\\n中\""),
        ("varchar == '中文'", "#105 == \"中文\""),
        (r"varchar == r'a\nb'", r#"#105 == "a\\nb""#),
        ("int64 == 0x1F", "#100 == 31"),
        ("int64 == -9223372036854775808", "#100 == -9223372036854775808"),
        ("int8 == 9707199254740992", "#101 == 9707199254740992"),
        ("int64 < int8", "#100 < #101"),
        ("int64 == double", "#100 == #103"),
        ("float == 10**2", "#102 == 100.0"),
        ("int64 == 2 ** 3 ** 2", "#100 == 64"),
        ("float <= -4**5/2", "#102 <= -512.0"),
        ("int64 == +3**6", "#100 == 729"),
        ("int64 > 1 + 2 * 3", "#100 > 7"),
        ("int64 > 7 / 2", "#100 > 3"),
    ]);
}

#[test]
fn ranges() {
    check(&[
        ("1 < int64 <= 5", "1 < #100 <= 5"),
        ("5 >= int64 > 1", "1 < #100 <= 5"),
        ("1 <= float < 5", "1.0 <= #102 < 5.0"),
        ("'a' < varchar < 'b'", r#""a" < #105 < "b""#),
        ("200+300 < int64 <= 500+500", "500 < #100 <= 1000"),
        ("1 < json_field['a'][0] <= 5.5", r#"1 < #106["a"]["0"] <= 5.5"#),
        ("1 < x < 5 and int64 > 1", r#"(1 < #109["x"] < 5 and #100 > 1)"#),
        ("5 < int64 < 1", "error: invalid range: lowerbound is greater than upperbound"),
        ("1 < int64 < 1.5", "error: invalid range operations"),
        ("false < bool < true", "error: invalid range operations on boolean expr"),
        ("int8 < int64 < 5", "error: lowerbound cannot be a non-const expression: int8"),
        ("1 < int64 < int8", "error: upperbound cannot be a non-const expression: int8"),
        ("1 < vec < 2", "error: comparisons between FloatVector and Int64 are not supported"),
    ]);
}

#[test]
fn logic() {
    check(&[
        ("int64 == 1 && int8 == 2 || int32 == 3", "((#100 == 1 and #101 == 2) or #108 == 3)"),
        ("int64 > 1 or int8 > 2 and int32 > 3", "(#100 > 1 or (#101 > 2 and #108 > 3))"),
        ("NOT (int64 > 1)", "not (#100 > 1)"),
        ("!(int64 > 1)", "not (#100 > 1)"),
        ("not not (int64 > 1)", "#100 > 1"),
        ("int64 > 1 and true", "#100 > 1"),
        ("int64 > 1 and false", "false"),
        ("int64 > 1 or true", "true"),
        ("int64 == 3 or int64 == 1 or int64 == 3", "#100 in [1, 3]"),
        ("int64 == 1 or int8 > 2 or int64 == 2", "(#100 in [1, 2] or #101 > 2)"),
        ("not varchar like 'a%'", r#"not (#105 like "a%")"#),
        ("not exists json_field['a']", r#"not (exists #106["a"])"#),
        ("not int64 > 1", "error: not op can only be applied on boolean expression"),
        ("not 1", "error: not can only apply on boolean"),
        ("1 and 2", "error: and can only apply on boolean"),
        ("bool and int64 > 1", "error: 'and' can only be used between boolean expressions"),
        ("int64 > 1 or int64", "error: 'or' can only be used between boolean expressions"),
    ]);
}

#[test]
fn membership() {
    check(&[
        ("int64 in [3, 1, 3]", "#100 in [1, 3]"),
        ("int64 IN [3,]", "#100 in [3]"),
        ("int64 not in [1]", "not (#100 in [1])"),
        ("int64 in []", "false"),
        ("int64 not in [ ]", "true"),
        ("int64 in [300/2, 900%40, -10*30+800]", "#100 in [20, 150, 500]"),
        ("int64 in [-1, -9223372036854775808]", "#100 in [-9223372036854775808, -1]"),
        ("float in [+3**6, 2**10/2]", "#102 in [512.0, 729.0]"),
        ("varchar in ['b', \"a\"]", r#"#105 in ["a", "b"]"#),
        ("bool in [True, False]", "#104 in [false, true]"),
        ("json_field['a'] in [1, 1.5, 'x', true, [1]]", r#"#106["a"] in [true, 1, 1.5, "x", [1]]"#),
        ("int64 in [0, 1.0]", "error: value 'float_val:1' in list cannot be casted to Int64"),
        ("varchar in [0, \"1\"]", "error: value 'int64_val:0' in list cannot be casted to VarChar"),
        ("int64 in int8", "error: value 'int8' in list cannot be a non-const expression"),
        ("int64 in ( int8 )", "error: value '(int8)' in list cannot be a non-const expression"),
        ("int64 in 5", "error: the right-hand side of 'in' must be a list, but got: 5"),
        ("int64 in [int8]", "error: array element type must be generic value, but got: int8"),
        ("5 in [1]", "error: 'term' can only be used on non-const expression, but got: 5"),
        ("int64 + 1 in [1]", "error: 'term' can only be used on single field, but got: int64+1"),
        (
            "vec in [[0.1]]",
            "error: value 'array_val:{array:{float_val:0.1}}' in list cannot be casted to FloatVector",
        ),
        ("int64 inn [1, 2]", "error: invalid expression: int64 inn [1, 2]"),
        ("not int64 in [1]", "error: not op can only be applied on boolean expression"),
    ]);
}

#[test]
fn texts_and_null() {
    check(&[
        ("varchar like 'a%'", r#"#105 like "a%""#),
        ("varchar LIKE '%a_b%'", r#"#105 like "%a_b%""#),
        (r"varchar like '50\%'", r#"#105 like "50\\%""#),
        (r"varchar like '50\\%'", r#"#105 like "50\\%""#),
        ("json_field['a'] like 'x%'", r#"#106["a"] like "x%""#),
        ("varchar is null", "#105 is null"),
        ("varchar IS NOT NULL", "not (#105 is null)"),
        ("not (int8 is null)", "not (#101 is null)"),
        ("json_field is null", "#106 is null"),
        ("json_field['a'] is null", r#"not (exists #106["a"])"#),
        ("json_field['a'] IS NOT NULL", r#"exists #106["a"]"#),
        ("null is null", r#"not (exists #109["null"])"#),
        ("is is null", r#"not (exists #109["is"])"#),
        ("int64 like 'a'", "error: like operation on non-string or no-json field is unsupported"),
        ("varchar like 5", "error: like pattern should be a string literal or template variable, got: 5"),
        (
            "varchar like int8",
            "error: like pattern should be a string literal or template variable, got: int8",
        ),
        ("vec is null", "error: IsNull/IsNotNull operations are not supported on vector fields"),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("int64 + 1 == 3", "#100 + 1 == 3"),
        ("(int64 + 1) == 3", "#100 + 1 == 3"),
        ("3 < 2 * int64", "#100 * 2 > 3"),
        ("int64 % 100 == 0", "#100 % 100 == 0"),
        ("float / 1 == 1", "#102 / 1.0 == 1.0"),
        ("json_field['a'] + 1 >= 2", r#"#106["a"] + 1 >= 2"#),
        ("json_field['a'] * 1.0 == 1", r#"#106["a"] * 1.0 == 1.0"#),
        ("json_field / 1 == 1", "#106 / 1 == 1"),
        (
            "int64 + 1.5 > 1",
            "error: 'add' cannot perform arithmetic between Int64 field and Double: query plan failed",
        ),
        (
            "varchar + 1 > 1",
            "error: 'add' cannot perform arithmetic between VarChar field and Int64: query plan failed",
        ),
        ("float % 2 == 1", "error: modulo can only apply on integer types"),
        ("int64 / 0 == 1", "error: division or modulus by zero"),
        ("1 / 0 == 1", "error: cannot divide by zero"),
        ("2 - int64 == 1", "error: module field is not yet supported"),
        ("int64 + int8 == 1", "error: not supported to do arithmetic operations between multiple fields"),
        ("(int64 + 1) * 2 == 1", "error: complicated arithmetic operations are not supported"),
        ("int64 + 1 == int8", "error: only comparison between two fields is supported"),
        ("int64 + 1 == 1.5", "error: cannot cast value to Int64, value: float_val:1.5"),
        ("int64 ** 2 == 1", "error: power can only apply on constants: int64**2"),
        ("(int64 | int8) == 1", "error: BitOr is not supported: (int64|int8)"),
        ("int64 | int8 == 1", "error: BitOr is not supported: int64|int8==1"),
        ("int64 & 1 == 1", "error: BitAnd is not supported: int64&1==1"),
        ("-int64 == 1", "error: unexpected op: -"),
        ("'a' + 1 == 1", "error: add cannot apply on string field"),
    ]);
}

#[test]
fn json() {
    check(&[
        ("json_field['a'][\"b\"][0] > 0", r#"#106["a"]["b"]["0"] > 0"#),
        ("$meta['k'] == 'v'", r##"#109["k"] == "v""##),
        ("dyn == 5", r#"#109["dyn"] == 5"#),
        ("dyn['a'] == 5", r#"#109["dyn"]["a"] == 5"#),
        ("json_field['中文'] == 1", r##"#106["中文"] == 1"##),
        ("json_field['a'] == [1, 2]", r#"#106["a"] == [1, 2]"#),
        ("json_contains(json_field['a'], 1)", r#"json_contains(#106["a"], [1])"#),
        ("ARRAY_CONTAINS_ALL(json_field['a'], [1, 'b'])", r#"json_contains_all(#106["a"], [1, "b"])"#),
        ("json_contains_any(dyn, [1])", r#"json_contains_any(#109["dyn"], [1])"#),
        ("array_length(json_field['a']) < 10", r#"array_length(#106["a"]) < 10"#),
        ("EXISTS json_field['a']['b']", r#"exists #106["a"]["b"]"#),
        ("exists(json_field['a'])", r#"exists #106["a"]"#),
        ("exists json_field", "error: exists operations are only supportted on json key"),
        ("exists int64", "error: exists operations are only supportted on json field, got:Int64"),
        ("int64['a'] == 1", "error: Int64 data type not supported accessed with []"),
        ("json_field[''] == 1", "error: invalid identifier: json_field['']"),
        (
            "json_field['a'] == json_field['b']",
            "error: two column comparison with JSON type is not supported",
        ),
        ("json_contains_all(json_field['a'], 1)", "error: ContainsAll operation element must be an array"),
        ("json_contains_any(json_field['a'], 1)", "error: ContainsAny operation element must be an array"),
        (
            "json_contains(int64, 1)",
            "error: contains operation are only supported on json or array fields now, got: int64",
        ),
    ]);
}

#[test]
fn mismatches_and_mistakes() {
    check(&[
        ("varchar >= 0", "error: comparisons between VarChar and Int64 are not supported"),
        ("0 <= varchar", "error: comparisons between Int64 and VarChar are not supported"),
        ("bool == 1", "error: comparisons between Bool and Int64 are not supported"),
        ("int64 == '1'", "error: comparisons between Int64 and VarChar are not supported"),
        ("int64 == varchar", "error: comparisons between Int64 and VarChar are not supported"),
        ("vec == 1", "error: comparisons between FloatVector and Int64 are not supported"),
        ("int64 == [1]", "error: cannot cast value to Int64, value: array_val:{array:{int64_val:1}}"),
        ("int64 == 1.5", "error: cannot cast value to Int64, value: float_val:1.5"),
        ("1 < 'a'", "error: comparison operations cannot be applied to two incompatible operands: 1<'a'"),
        ("(int64 > 1) == true", "error: not supported to combine multiple fields"),
        ("int64 == 9223372036854775808", "error: parsing \"9223372036854775808\": value out of range"),
        ("int64", "error: predicate is not a boolean expression: int64, data type: Int64"),
        ("dyn", "error: predicate is not a boolean expression: dyn, data type: JSON"),
        ("12-s", "error: predicate is not a boolean expression: 12-s, data type: Int64"),
        ("bool", "error: predicate is not a boolean expression: bool, data type: Bool"),
        ("中文", "error: line 1:0 token recognition error at: '中文'"),
        ("int64 == 'abc", "error: line 1:9 token recognition error at: ''abc'"),
        ("int64 >", "error: line 1:7 mismatched input '<EOF>' expecting an expression"),
        ("(int64 > 1", "error: line 1:10 mismatched input '<EOF>' expecting ')'"),
        ("int64 > 1 int8", "error: invalid expression: int64 > 1 int8"),
        ("text_match(varchar, 'a')", "error: text_match is not supported yet"),
        ("ST_WITHIN(varchar, 'a')", "error: st_within is not supported yet"),
        ("random_sample(0.1)", "error: random_sample is not supported yet"),
        ("varchar =~ 'a.*'", "error: regex match is not supported yet"),
        ("t > ISO '2025-01-01T00:00:00Z'", "error: timestamptz is not supported yet"),
        ("s[x] > 1", "error: a struct sub-field is not supported yet"),
    ]);
}

#[test]
fn names_without_dynamic_field_must_exist() {
    let error = parse("int63 == 1", &schema(false), &Templates::new()).unwrap_err();
    assert_eq!(error.to_string(), "field int63 not exist");
    assert_eq!(error.span, 0..5);
}

#[test]
fn clients_get_milvus_words() {
    let message = |text: &str, purpose| {
        parse(text, &schema(false), &Templates::new()).unwrap_err().client_message(text, purpose)
    };
    assert_eq!(
        message("varchar >= 0", PlanPurpose::Query),
        "failed to create query plan: cannot parse expression: varchar >= 0: comparisons between VarChar and \
         Int64 are not supported: query plan failed: invalid parameter"
    );
    assert_eq!(
        message("nope == 0", PlanPurpose::Delete),
        "failed to create delete plan: cannot parse expression: nope == 0: field nope not exist: invalid \
         parameter: invalid parameter"
    );
    assert_eq!(
        message("int64", PlanPurpose::Query),
        "failed to create query plan: predicate is not a boolean expression: int64, data type: Int64: query plan \
         failed: invalid parameter"
    );
}

#[test]
fn templates_stand_for_literals() {
    let templates = Templates::from([
        ("one".to_owned(), TemplateValue::Int64(1)),
        ("half".to_owned(), TemplateValue::Double(0.5)),
        ("name".to_owned(), TemplateValue::String("a%".to_owned())),
        ("yes".to_owned(), TemplateValue::Bool(true)),
        ("list".to_owned(), TemplateValue::List(vec![TemplateValue::Int64(2), TemplateValue::Int64(1)])),
        ("json".to_owned(), TemplateValue::Json(br#"[1, "x", 1.5]"#.to_vec())),
        ("object".to_owned(), TemplateValue::Json(b"{}".to_vec())),
    ]);
    let shown = |text: &str| match parse(text, &schema(true), &templates) {
        Ok(plan) => plan.predicate.to_string(),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(shown("int64 > {one}"), "#100 > 1");
    assert_eq!(shown("float > {one}"), "#102 > 1.0");
    assert_eq!(shown("{half} <= double < 3"), "0.5 <= #103 < 3.0");
    assert_eq!(shown("int64 + {one} == {one}"), "#100 + 1 == 1");
    assert_eq!(shown("int64 in {list}"), "#100 in [1, 2]");
    assert_eq!(shown("varchar like {name}"), r#"#105 like "a%""#);
    assert_eq!(shown("bool == {yes} && int64 > {one}"), "(#104 == true and #100 > 1)");
    assert_eq!(shown("json_field['a'] in {json}"), r#"#106["a"] in [1, 1.5, "x"]"#);
    assert_eq!(
        shown("json_contains_any(json_field['a'], {list})"),
        r#"json_contains_any(#106["a"], [2, 1])"#
    );
    assert_eq!(
        shown("int64 > {two}"),
        "error: the value of expression template variable name {two} is not found"
    );
    assert_eq!(
        shown("int64 in {one}"),
        "error: the value of term expression template variable {one} is not array"
    );
    assert_eq!(shown("int64 > {name}"), "error: cannot cast value to Int64, value: string_val:\"a%\"");
    assert_eq!(
        shown("varchar like {one}"),
        "error: the value of like expression template variable {one} is not string"
    );
    assert_eq!(shown("int64 == {object}"), "error: {} is of unknown type");
}

#[test]
fn keys_are_found() {
    let exact = |text: &str| plan(text).unwrap().primary_keys();
    let candidates = |text: &str| plan(text).unwrap().candidate_keys();
    let ints = |keys: &[i64]| Some(PrimaryKeys::Int64(keys.to_vec()));
    assert_eq!(exact("int64 == 5"), ints(&[5]));
    assert_eq!(exact("int64 in [5, 3]"), ints(&[3, 5]));
    assert_eq!(exact("int64 in []"), ints(&[]));
    assert_eq!(exact("int64 == 1 or int64 == 2"), ints(&[1, 2]));
    assert_eq!(exact("int64 > 5"), None);
    assert_eq!(exact("int64 == 5 and int8 == 1"), None);
    assert_eq!(candidates("int64 in [5, 3] and int8 == 1"), ints(&[3, 5]));
    assert_eq!(candidates("(int64 in [5, 3] and int8 == 1) or int64 == 9"), ints(&[3, 5, 9]));
    assert_eq!(candidates("int64 in [5, 3] or int8 == 1"), None);
    assert_eq!(candidates("not (int64 in [5, 3])"), None);
    assert_eq!(exact("int8 == 5"), None);
}

#[test]
fn fields_are_listed_once() {
    let fields = plan("int8 > 1 and (dyn == 2 or int8 < int32)").unwrap().fields();
    assert_eq!(fields, [FieldId(101), FieldId(108), FieldId(109)]);
}

#[test]
fn nesting_has_a_bound() {
    for deep in [
        "(".repeat(100_000) + "int64 > 1" + &")".repeat(100_000),
        "not ".repeat(100_000) + "(int64 > 1)",
        "-".repeat(100_000) + "1 == int64",
        "int64 == ".to_owned() + &"1 + ".repeat(100_000) + "1",
        "exists ".repeat(100_000) + "a",
        "[".repeat(100_000),
        "json_contains(".repeat(100_000),
    ] {
        let error = plan(&deep).unwrap_err();
        assert!(error.message.contains("nested more than"), "{}", error.message);
    }
}

#[test]
fn chains_and_lists_have_none() {
    let ored: Vec<String> = (0..20_000).map(|key| format!("int8 > {key}")).collect();
    let plan = plan(&ored.join(" or ")).unwrap();
    assert!(matches!(plan.predicate, Predicate::Or(parts) if parts.len() == 20_000));
    let keys: Vec<String> = (0..100_000).map(|key| key.to_string()).collect();
    let plan =
        super::parse(&format!("int64 in [{}]", keys.join(",")), &schema(true), &Templates::new()).unwrap();
    assert_eq!(plan.primary_keys().map(|keys| keys.len()), Some(100_000));
}

#[test]
fn plans_survive_serialisation() {
    let text = "json_field['a'] in [1, 1.5, 'x'] and (varchar like 'a_%' or not (1 < int64 <= 5))";
    let plan = plan(text).unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_parses_or_errs(text in "\\PC{0,60}") {
        let _ = plan(&text);
    }

    #[test]
    fn any_words_parse_or_err(words in prop::collection::vec(prop::sample::select(vec![
        "int64", "varchar", "json_field", "bool", "vec", "dyn", "$meta", "==", "!=", "<", "<=", ">", ">=", "and", "or",
        "not", "!", "in", "like", "exists", "is", "null", "(", ")", "[", "]", "{", "}", ",", "+", "-", "*", "/", "%",
        "**", "1", "0", "1.5", "'a'", "\"b\\n\"", "true", "['k']", "[0]", "json_contains(", "array_length(", "&", "|",
        "9223372036854775808", "=~", "中", "\\",
    ]), 0..14)) {
        let text = words.join(" ");
        if let Err(error) = plan(&text) {
            prop_assert!(error.span.end <= text.len());
            let _ = error.client_message(&text, PlanPurpose::Query);
        }
    }

    #[test]
    fn strings_round_trip(value in "\\PC{0,20}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let plan = plan(&format!("varchar == \"{quoted}\"")).unwrap();
        let is_value =
            matches!(&plan.predicate, Predicate::Compare { value: Literal::VarChar(found), .. } if *found == value);
        prop_assert!(is_value);
    }
}
