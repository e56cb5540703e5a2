//! Indexes on scalars.

use std::collections::BTreeMap;

use redkite_catalog::{IndexMethod, IndexSpec};
use redkite_service::Error;
use redkite_types::{DataType, FieldSchema};

use super::{AUTOINDEX, json, vector};
use crate::refuse;

/// To what the values on a path of a JSON field may be cast.
const CAST_TYPES: [&str; 7] =
    ["BOOL", "DOUBLE", "VARCHAR", "ARRAY_BOOL", "ARRAY_DOUBLE", "ARRAY_VARCHAR", "JSON"];

/// The kinds of scalar index that users may name. (HYBRID is chosen by Milvus alone.)
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inverted,
    Sorted,
    Trie,
    Bitmap,
    Ngram,
    RTree,
}

fn kind(index_type: &str) -> Option<Kind> {
    Some(match index_type {
        "INVERTED" => Kind::Inverted,
        "STL_SORT" | "Asceneding" => Kind::Sorted,
        "TRIE" | "Trie" | "marisa-trie" => Kind::Trie,
        "BITMAP" => Kind::Bitmap,
        "NGRAM" => Kind::Ngram,
        "RTREE" => Kind::RTree,
        _ => return None,
    })
}

pub(super) fn is_known(index_type: &str) -> bool {
    kind(index_type).is_some()
}

pub(super) fn spec(
    field: &FieldSchema,
    index_type: Option<&str>,
    params: &BTreeMap<String, String>,
) -> Result<IndexSpec, Error> {
    let kind = match index_type {
        None | Some(AUTOINDEX) if field.data_type == DataType::Bool => Kind::Bitmap,
        None | Some(AUTOINDEX) => Kind::Inverted,
        Some(named) if vector::is_known(named) => {
            return Err(refuse::invalid(format_args!("index {named} only supports vector data type")));
        }
        Some(named) => kind(named).expect("index types are checked to be known"),
    };
    check_type(kind, field)?;
    if kind == Kind::Ngram {
        check_ngram(params)?;
    }
    if field.data_type == DataType::Json {
        check_json(kind, params)?;
        // Filters read the JSON itself.
        return Ok(IndexSpec { method: IndexMethod::Flat, metric: None });
    }
    let method = match kind {
        Kind::Sorted => IndexMethod::StlSort,
        Kind::Trie => IndexMethod::Trie,
        Kind::Bitmap => IndexMethod::Bitmap,
        // N-grams only make `like` faster, results are the same.
        Kind::Inverted | Kind::Ngram | Kind::RTree => IndexMethod::Inverted,
    };
    Ok(IndexSpec { method, metric: None })
}

fn check_type(kind: Kind, field: &FieldSchema) -> Result<(), Error> {
    let data_type = field.data_type;
    let is_number = data_type.is_integer() || data_type.is_floating();
    let is_text = data_type == DataType::VarChar;
    let is_json = data_type == DataType::Json;
    let flaw = match kind {
        Kind::Bitmap if field.primary_key => "create bitmap index on primary key not supported".to_owned(),
        Kind::Bitmap if data_type.is_floating() => {
            "bitmap index are only supported on bool, int, string and array field".to_owned()
        }
        Kind::Sorted if !(is_number || is_text || is_json) => {
            format!("STL_SORT are only supported on numeric, varchar or timestamptz field, got {data_type}")
        }
        Kind::Trie if !is_text => "TRIE are only supported on varchar field".to_owned(),
        Kind::Ngram if !(is_text || is_json) => {
            "ngram index can only be created on VARCHAR or JSON field".to_owned()
        }
        Kind::RTree => format!("RTREE index can only be built on geometry field, got {data_type}"),
        _ => return Ok(()),
    };
    Err(refuse::invalid(flaw))
}

fn check_ngram(params: &BTreeMap<String, String>) -> Result<(), Error> {
    let (Some(min), Some(max)) = (params.get("min_gram"), params.get("max_gram")) else {
        return Err(refuse::missing("Ngram index must specify both min_gram and max_gram"));
    };
    let number = |key: &str, text: &str| {
        text.parse::<i64>().map_err(|_| {
            refuse::invalid(format_args!("{key} for Ngram index must be an integer, got: {text}"))
        })
    };
    let (min, max) = (number("min_gram", min)?, number("max_gram", max)?);
    if min <= 0 || max <= 0 || min > max {
        return Err(refuse::invalid(format_args!(
            "invalid min_gram or max_gram value for Ngram index, min_gram: {min}, max_gram: {max}"
        )));
    }
    Ok(())
}

fn check_json(kind: Kind, params: &BTreeMap<String, String>) -> Result<(), Error> {
    match kind {
        Kind::Sorted => json::check_cast(params, &["DOUBLE", "VARCHAR"], " for STL_SORT index"),
        Kind::Bitmap => json::check_cast(params, &["BOOL", "VARCHAR"], " for BITMAP index"),
        Kind::Ngram => json::check_cast(params, &["VARCHAR"], " for Ngram index"),
        Kind::Inverted | Kind::Trie | Kind::RTree => json::check_cast(params, &CAST_TYPES, ""),
    }
}
