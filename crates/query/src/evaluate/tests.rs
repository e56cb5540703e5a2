//! Evaluation against an interpreter that looks at one row at a time.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use redkite_index::scalar::{ScalarIndexKind, build, open};
use redkite_types::{Column, ColumnData, Value};

use super::*;
use crate::plan::{ArithmeticOp, ContainsMode, LikePattern, Literal};

/// Columns by field; fields are numbered like the types below.
struct Table {
    rows: usize,
    columns: Vec<Column>,
    indexes: HashMap<FieldId, Box<dyn ScalarIndex>>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.columns).finish()
    }
}

impl RowSource for Table {
    fn rows(&self) -> usize {
        self.rows
    }

    fn column(&self, field: FieldId) -> Option<ColumnView<'_>> {
        self.columns.iter().find(|column| column.field == field).map(Column::view)
    }

    fn scalar_index(&self, field: FieldId) -> Option<&dyn ScalarIndex> {
        self.indexes.get(&field).map(AsRef::as_ref)
    }
}

const TYPES: [DataType; 9] = [
    DataType::Bool,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::Float,
    DataType::Double,
    DataType::VarChar,
    DataType::Json,
];

const JSONS: [&str; 14] = [
    "null",
    "{}",
    r#"{"a":1}"#,
    r#"{"a":2.0,"b":"x"}"#,
    r#"{"a":"ab"}"#,
    r#"{"a":null}"#,
    r#"{"a":true}"#,
    r#"{"a":[1,2,"ab",true]}"#,
    r#"{"a":[]}"#,
    r#"{"a":[[1,2],3]}"#,
    r#"{"a":{"b":1}}"#,
    r#"{"a":18446744073709551615}"#,
    r#"{"a":-1.5}"#,
    "[1,2]",
];

fn pool(data_type: DataType) -> Vec<Value> {
    let ints = |extremes: [i64; 2]| [extremes[0], -3, -1, 0, 1, 2, 7, extremes[1]].map(Value::Int64).to_vec();
    match data_type {
        DataType::Bool => vec![Value::Bool(false), Value::Bool(true)],
        DataType::Int8 => ints([-128, 127]),
        DataType::Int16 => ints([-32_768, 32_767]),
        DataType::Int32 => ints([i32::MIN.into(), i32::MAX.into()]),
        DataType::Int64 => ints([i64::MIN, i64::MAX]),
        DataType::Float | DataType::Double => {
            [f64::NEG_INFINITY, -1.5, -0.0, 0.0, f64::from(0.1_f32), 2.0, f64::NAN]
                .map(Value::Double)
                .to_vec()
        }
        DataType::VarChar => {
            ["", "a", "ab", "abc", "b", "éa"].map(|text| Value::VarChar(text.into())).to_vec()
        }
        _ => JSONS.map(|text| Value::Json(text.into())).to_vec(),
    }
}

fn table() -> impl Strategy<Value = Table> {
    let row = prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.85)), TYPES.len());
    (prop::collection::vec(row, 0..200), any::<[bool; 9]>(), 0..4_usize).prop_map(|(rows, nullable, kind)| {
        let columns: Vec<Column> = TYPES
            .iter()
            .enumerate()
            .map(|(index, data_type)| {
                let (pool, mut data) = (pool(*data_type), ColumnData::empty(*data_type, 0));
                rows.iter().for_each(|row| data.push_value(row[index].0.get(&pool)));
                let validity =
                    nullable[index].then(|| Bitmap::from_bools(rows.iter().map(|row| row[index].1)));
                Column { field: field(index), data, validity }
            })
            .collect();
        let indexes = columns
            .iter()
            .filter_map(|column| {
                let bytes = build(ScalarIndexKind::ALL[kind], column.view()).ok()?;
                Some((column.field, open(Arc::new(bytes)).unwrap()))
            })
            .collect();
        Table { rows: rows.len(), columns, indexes }
    })
}

fn field(index: usize) -> FieldId {
    FieldId(100 + i64::try_from(index).unwrap())
}

fn column_ref(index: usize) -> ColumnRef {
    ColumnRef { field: field(index), data_type: TYPES[index], path: Vec::new() }
}

fn any_column() -> impl Strategy<Value = ColumnRef> {
    let paths = [vec![], vec!["a"], vec!["a", "b"], vec!["a", "0"], vec!["0"]];
    (0..TYPES.len(), prop::sample::select(paths.to_vec())).prop_map(|(index, path)| {
        let json = TYPES[index] == DataType::Json;
        let path = if json { path.iter().map(ToString::to_string).collect() } else { Vec::new() };
        ColumnRef { path, ..column_ref(index) }
    })
}

fn op() -> impl Strategy<Value = CompareOp> {
    use CompareOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    prop::sample::select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual])
}

/// A literal that the type checker lets stand against the column.
fn literal(data_type: DataType) -> BoxedStrategy<Literal> {
    let ints = prop::sample::select(vec![i64::MIN, -129, -3, 0, 1, 2, 7, 127, 200, i64::MAX])
        .prop_map(Literal::Int64);
    let doubles = prop::sample::select(vec![-1.5, 0.0, 0.1, 2.0, 1e300]).prop_map(Literal::Double);
    let texts =
        prop::sample::select(vec!["", "a", "ab", "b", "x"]).prop_map(|text| Literal::VarChar(text.into()));
    let bools = any::<bool>().prop_map(Literal::Bool);
    match data_type {
        DataType::Bool => bools.boxed(),
        DataType::Float | DataType::Double => doubles.boxed(),
        DataType::VarChar => texts.boxed(),
        DataType::Json => {
            let scalar = prop_oneof![ints, doubles, texts, bools].boxed();
            let list = prop::collection::vec(scalar.clone(), 0..3).prop_map(Literal::List);
            prop_oneof![4 => scalar, 1 => list].boxed()
        }
        _ => ints.boxed(),
    }
}

fn leaf() -> impl Strategy<Value = Predicate> {
    any_column().prop_flat_map(|column| {
        let data_type = column.data_type;
        let with = move || (Just(column.clone()), literal(data_type), literal(data_type), op());
        let compare = with().prop_map(|(column, value, _, op)| Predicate::Compare { column, op, value });
        let between = (with(), any::<[bool; 2]>()).prop_map(|((column, lower, upper, _), inclusive)| {
            let [lower_inclusive, upper_inclusive] = inclusive;
            Predicate::Between { column, lower, lower_inclusive, upper, upper_inclusive }
        });
        let any_of =
            (with(), prop::collection::vec(literal(data_type), 0..12)).prop_map(|((column, ..), values)| {
                Predicate::In { column, values: values.into_iter().collect() }
            });
        let mut leaves = vec![compare.boxed(), between.boxed(), any_of.boxed()];
        if matches!(data_type, DataType::VarChar | DataType::Json) {
            let patterns = prop::sample::select(vec!["a%", "%b", "%b%", "a", "a_", "", "_a%"]);
            leaves.push(
                (with(), patterns)
                    .prop_map(|((column, ..), pattern)| Predicate::Like {
                        column,
                        pattern: LikePattern::parse(pattern),
                    })
                    .boxed(),
            );
        }
        if data_type == DataType::Json {
            let mode = prop::sample::select(vec![ContainsMode::One, ContainsMode::All, ContainsMode::Any]);
            leaves.push(with().prop_map(|(column, ..)| Predicate::Exists { column }).boxed());
            leaves.push(
                (with(), mode, prop::collection::vec(literal(data_type), 0..4))
                    .prop_map(|((column, ..), mode, values)| Predicate::Contains { column, mode, values })
                    .boxed(),
            );
            leaves.push(
                (with(), 0..5_i64)
                    .prop_map(|((column, _, _, op), length)| Predicate::ArrayLength {
                        column,
                        op,
                        value: Literal::Int64(length),
                    })
                    .boxed(),
            );
        } else {
            leaves.push(with().prop_map(|(column, ..)| Predicate::IsNull { column }).boxed());
        }
        if data_type.is_integer() || data_type.is_floating() || data_type == DataType::Json {
            use ArithmeticOp::{Add, Divide, Modulo, Multiply, Subtract};
            let arith = prop::sample::select(vec![Add, Subtract, Multiply, Divide, Modulo]);
            let numbers = if data_type == DataType::Json { DataType::Int64 } else { data_type };
            leaves.push(
                (with(), arith, literal(numbers), literal(numbers))
                    .prop_map(|((column, _, _, op), arith, operand, value)| Predicate::Arithmetic {
                        column,
                        arith,
                        operand,
                        op,
                        value,
                    })
                    .boxed(),
            );
        }
        proptest::strategy::Union::new(leaves)
    })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let columns = (1..7_usize, op(), 1..7_usize).prop_map(|(left, op, right)| Predicate::CompareColumns {
        left: column_ref(left),
        op,
        right: column_ref(right),
    });
    let leaf = prop_oneof![1 => any::<bool>().prop_map(Predicate::Always), 2 => columns, 20 => leaf()];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let several = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            several.clone().prop_map(Predicate::And),
            several.prop_map(Predicate::Or),
            inner.prop_map(|inner| Predicate::Not(Box::new(inner))),
        ]
    })
}

/// The answer for one row: Kleene's logic with `None` for UNKNOWN.
fn naive(predicate: &Predicate, table: &Table, row: usize) -> Option<bool> {
    match predicate {
        Predicate::Always(value) => Some(*value),
        Predicate::Not(inner) => naive(inner, table, row).map(|value| !value),
        Predicate::And(parts) => fold(parts.iter().map(|part| naive(part, table, row)), false),
        Predicate::Or(parts) => fold(parts.iter().map(|part| naive(part, table, row)), true),
        Predicate::IsNull { column } => Some(cell(column, table, row).is_none()),
        Predicate::CompareColumns { left, op, right } => {
            let (left, right) = (cell(left, table, row)?, cell(right, table, row)?);
            Some(op.holds(order_cells(&left, &right)))
        }
        Predicate::Exists { column } => {
            Some(cell(column, table, row).is_some_and(|value| !is_hollow(&value)))
        }
        Predicate::Compare { column, op, value } => {
            Some(op.holds(order_literal(&cell(column, table, row)?, value, column.data_type)))
        }
        Predicate::Between { column, lower, lower_inclusive, upper, upper_inclusive } => {
            let cell = cell(column, table, row)?;
            let lower = order_literal(&cell, lower, column.data_type);
            let upper = order_literal(&cell, upper, column.data_type);
            let above =
                lower == Some(Ordering::Greater) || (*lower_inclusive && lower == Some(Ordering::Equal));
            Some(
                above
                    && (upper == Some(Ordering::Less)
                        || (*upper_inclusive && upper == Some(Ordering::Equal))),
            )
        }
        Predicate::In { column, values } => {
            let cell = cell(column, table, row)?;
            let literals = (values.ints.iter().map(|int| Literal::Int64(*int)))
                .chain(values.doubles.iter().map(|double| Literal::Double(*double)))
                .chain(values.strings.iter().cloned().map(Literal::VarChar))
                .chain(values.lists.iter().cloned().map(Literal::List))
                .chain(values.has_false.then_some(Literal::Bool(false)))
                .chain(values.has_true.then_some(Literal::Bool(true)));
            let mut literals = literals;
            Some(
                literals
                    .any(|literal| order_literal(&cell, &literal, column.data_type) == Some(Ordering::Equal)),
            )
        }
        Predicate::Like { column, pattern } => match cell(column, table, row)? {
            serde_json::Value::String(text) => Some(pattern.matches(&text)),
            _ => Some(false),
        },
        Predicate::Contains { column, mode, values } => {
            let serde_json::Value::Array(array) = cell(column, table, row)? else { return Some(false) };
            let has = |value: &Literal| {
                array.iter().any(|cell| order_literal(cell, value, DataType::Json) == Some(Ordering::Equal))
            };
            Some(match mode {
                ContainsMode::All => values.iter().all(has),
                ContainsMode::One | ContainsMode::Any => values.iter().any(has),
            })
        }
        Predicate::ArrayLength { column, op, value } => {
            let serde_json::Value::Array(array) = cell(column, table, row)? else { return Some(false) };
            let length = serde_json::Value::from(array.len());
            Some(op.holds(order_literal(&length, value, DataType::Json)))
        }
        Predicate::Arithmetic { column, arith, operand, op, value } => {
            let cell = cell(column, table, row)?;
            Some(arithmetic_holds(&cell, column.data_type, *arith, operand, *op, value))
        }
    }
}

fn fold(answers: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let answers: Vec<_> = answers.collect();
    if answers.contains(&Some(decisive)) {
        return Some(decisive);
    }
    (!answers.contains(&None)).then_some(!decisive)
}

/// Every cell as JSON; non-finite floats, which JSON has not, as their names.
fn cell(column: &ColumnRef, table: &Table, row: usize) -> Option<serde_json::Value> {
    let view = table.column(column.field).unwrap();
    if !view.is_valid(row) {
        return None;
    }
    Some(match view.data.value(row) {
        Value::Bool(value) => value.into(),
        Value::Int64(value) => value.into(),
        Value::Double(value) if value.is_finite() => value.into(),
        Value::Double(value) => serde_json::json!({ "float": value.to_string() }),
        Value::VarChar(value) => value.into(),
        Value::Null => return None,
        Value::Json(text) => {
            let mut value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            for key in &column.path {
                value = match &mut value {
                    serde_json::Value::Object(members) => members.remove(key)?,
                    serde_json::Value::Array(elements) => {
                        let position = key.parse::<usize>().ok()?;
                        elements.get(position).cloned()?
                    }
                    _ => return None,
                };
            }
            if value.is_null() {
                return None;
            }
            value
        }
    })
}

fn is_hollow(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(elements) => elements.iter().all(is_hollow),
        serde_json::Value::Object(members) => members.values().all(is_hollow),
        _ => false,
    }
}

fn double(value: &serde_json::Value) -> Option<f64> {
    match value {
        serde_json::Value::Object(members) => members.get("float")?.as_str()?.parse().ok(),
        other => other.as_f64(),
    }
}

/// Integers exactly; doubles only ever meet small integers here, where f64 is exact as well, and
/// extremes, which `i128` orders.
fn order_numbers(left: &serde_json::Value, right: &serde_json::Value) -> Option<Ordering> {
    let whole =
        |value: &serde_json::Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => double(left)?.partial_cmp(&double(right)?),
    }
}

fn order_cells(left: &serde_json::Value, right: &serde_json::Value) -> Option<Ordering> {
    order_numbers(left, right)
}

fn order_literal(cell: &serde_json::Value, literal: &Literal, data_type: DataType) -> Option<Ordering> {
    match (cell, literal) {
        (serde_json::Value::Bool(cell), Literal::Bool(literal)) => Some(cell.cmp(literal)),
        (serde_json::Value::String(cell), Literal::VarChar(literal)) => Some(cell.as_str().cmp(literal)),
        (cell, Literal::Int64(literal)) if cell.is_number() => order_numbers(cell, &(*literal).into()),
        (cell, Literal::Double(literal)) => {
            let literal = if data_type == DataType::Float { f64::from(*literal as f32) } else { *literal };
            double(cell)?.partial_cmp(&literal)
        }
        (serde_json::Value::Array(cells), Literal::List(list)) => {
            let same = cells.len() == list.len()
                && cells.iter().zip(list).all(|(cell, literal)| {
                    order_literal(cell, literal, DataType::Json) == Some(Ordering::Equal)
                });
            same.then_some(Ordering::Equal)
        }
        _ => None,
    }
}

fn arithmetic_holds(
    cell: &serde_json::Value,
    data_type: DataType,
    arith: ArithmeticOp,
    operand: &Literal,
    op: CompareOp,
    value: &Literal,
) -> bool {
    match (cell.as_i64(), operand, value) {
        (Some(cell), Literal::Int64(operand), Literal::Int64(value)) if data_type != DataType::Double => {
            let (cell, operand) = (i128::from(cell), i128::from(*operand));
            let out = match arith {
                ArithmeticOp::Add => Some(cell + operand),
                ArithmeticOp::Subtract => Some(cell - operand),
                ArithmeticOp::Multiply => Some(cell * operand),
                ArithmeticOp::Divide => cell.checked_div(operand),
                ArithmeticOp::Modulo => cell.checked_rem(operand),
            };
            let out = out.and_then(|out| i64::try_from(out).ok());
            out.is_some_and(|out| op.holds(Some(out.cmp(value))))
        }
        _ => {
            let number = |literal: &Literal| match literal {
                Literal::Int64(value) => *value as f64,
                Literal::Double(value) => *value,
                _ => unreachable!("numbers only"),
            };
            let Some(cell) = double(cell) else { return op == CompareOp::NotEqual };
            let (operand, value) = (number(operand), number(value));
            if data_type == DataType::Float {
                let (cell, operand) = (cell as f32, operand as f32);
                let out = match arith {
                    ArithmeticOp::Add => cell + operand,
                    ArithmeticOp::Subtract => cell - operand,
                    ArithmeticOp::Multiply => cell * operand,
                    ArithmeticOp::Divide => cell / operand,
                    ArithmeticOp::Modulo => cell % operand,
                };
                return op.holds(out.partial_cmp(&(value as f32)));
            }
            let out = match arith {
                ArithmeticOp::Add => cell + operand,
                ArithmeticOp::Subtract => cell - operand,
                ArithmeticOp::Multiply => cell * operand,
                ArithmeticOp::Divide => cell / operand,
                ArithmeticOp::Modulo => cell % operand,
            };
            op.holds(out.partial_cmp(&value))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_the_row_by_row_interpreter(
        mut table in table(),
        predicates in prop::collection::vec(predicate(), 1..6),
        keep in prop::sample::select(vec![1_usize, 2, 40, 1000]),
    ) {
        let candidates = Bitmap::from_fn(table.rows, |row| row % keep == 0);
        for indexed in [true, false] {
            if !indexed {
                table.indexes.clear();
            }
            for predicate in &predicates {
                let expected = Bitmap::from_fn(table.rows, |row| naive(predicate, &table, row) == Some(true));
                prop_assert_eq!(evaluate(predicate, &table, None).unwrap(), expected.clone(), "{:?}", predicate);
                let mut among = expected;
                among.and(&candidates);
                prop_assert_eq!(evaluate(predicate, &table, Some(&candidates)).unwrap(), among, "{:?}", predicate);
            }
        }
    }
}

#[test]
fn columns_that_do_not_fit_are_errors() {
    let table = Table {
        rows: 2,
        columns: vec![Column::new(field(4), ColumnData::Int64(vec![1]))],
        indexes: HashMap::new(),
    };
    let compare = |column| Predicate::Compare { column, op: CompareOp::Equal, value: Literal::Int64(1) };
    assert_eq!(
        evaluate(&compare(column_ref(3)), &table, None),
        Err(EvalError::MissingColumn { field: field(3) })
    );
    assert_eq!(
        evaluate(&compare(column_ref(4)), &table, None),
        Err(EvalError::Length { field: field(4), found: 1, rows: 2 })
    );
    let wrong = ColumnRef { data_type: DataType::Int8, ..column_ref(4) };
    let expected = EvalError::Type { field: field(4), planned: DataType::Int8, found: DataType::Int64 };
    assert_eq!(evaluate(&compare(wrong), &table, None), Err(expected));
}

#[test]
fn large_sets_of_every_shape() {
    let values: Vec<i64> = (0..5000).map(|row| row * 7 - 10_000).chain([i64::MIN, i64::MAX]).collect();
    let table = Table {
        rows: values.len(),
        columns: vec![Column::new(field(4), ColumnData::Int64(values.clone()))],
        indexes: HashMap::new(),
    };
    let close: Vec<i64> = (-300..300).collect();
    let spread: Vec<i64> =
        (0..3000).map(|member| (member - 1500) * 1_000_003).chain([i64::MIN, i64::MAX]).collect();
    for members in [close, spread] {
        let predicate = Predicate::In {
            column: column_ref(4),
            values: members.iter().copied().map(Literal::Int64).collect(),
        };
        let expected = Bitmap::from_bools(values.iter().map(|value| members.contains(value)));
        assert_eq!(evaluate(&predicate, &table, None).unwrap(), expected);
        let few = Bitmap::from_fn(values.len(), |row| row % 100 == 0);
        let mut among = expected;
        among.and(&few);
        assert_eq!(evaluate(&predicate, &table, Some(&few)).unwrap(), among);
    }
}
