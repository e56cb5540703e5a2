//! Which index do these parameters ask for?
//!
//! Parameters come flat, or nested as JSON under `params`, or both. What the user sent is kept for
//! describing; what is built has every default resolved.

mod json;
mod scalar;
mod vector;

use std::collections::BTreeMap;

use redkite_catalog::{IndexRecord, IndexSpec};
use redkite_proto::common::KeyValuePair;
use redkite_service::Error;
use redkite_types::{DataType, FieldSchema};

use super::property::{MMAP, WARMUP, boolean, warmup_policy};
use crate::convert::schema::pairs;
use crate::refuse;

pub(crate) use json::JsonPath;

pub(crate) const INDEX_TYPE: &str = "index_type";
pub(crate) const METRIC_TYPE: &str = "metric_type";
const PARAMS: &str = "params";
const AUTOINDEX: &str = "AUTOINDEX";
const OFFSET_CACHE: &str = "indexoffsetcache.enabled";
/// Milvus: `proxy.maxIndexParamsSize`.
const MAX_BYTES: usize = 100 << 10;

/// An index as it will be recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    /// What describing it shows.
    pub(crate) params: Vec<(String, String)>,
    /// What is built.
    pub(crate) spec: IndexSpec,
    /// The part of a JSON field that is indexed.
    pub(crate) path: Option<JsonPath>,
}

/// Checks parameters for an index on a field, requested under this name, and resolves the defaults.
pub(crate) fn define(
    field: &FieldSchema,
    requested: &str,
    sent: &[KeyValuePair],
) -> Result<Definition, Error> {
    check_size(sent.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())))?;
    let params = flatten(sent)?;
    check_size(params.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
    let index_type = params.get(INDEX_TYPE).map(String::as_str).filter(|text| !text.is_empty());
    if let Some(index_type) = index_type {
        check_mmap(index_type, &params)?;
        if !is_known(index_type) {
            return Err(Error::invalid(format!(
                "invalid parameter[expected=valid index][actual=invalid index type: {index_type}]"
            )));
        }
    }
    if let Some(policy) = params.get(WARMUP)
        && let Err(flaw) = warmup_policy(policy)
    {
        return Err(refuse::invalid(format_args!("invalid warmup params: {flaw}")));
    }
    if field.data_type.is_vector() {
        return vector::define(field, index_type, &params, sent);
    }
    let spec = scalar::spec(field, index_type, &params)?;
    let mut shown: Vec<_> = sent.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    if !is_json(field) {
        return Ok(Definition { params: shown, spec, path: None });
    }
    let path = params.get(json::PATH).map_or(requested, String::as_str);
    if !params.contains_key(json::PATH) {
        shown.push((json::PATH.to_owned(), path.to_owned()));
    }
    Ok(Definition { params: shown, spec, path: Some(JsonPath::parse(field, path)?) })
}

/// The part of a JSON field that an index was defined for.
pub(crate) fn path_of(field: &FieldSchema, index: &IndexRecord) -> Option<JsonPath> {
    let params = flatten(&pairs(index.params.iter().cloned())).ok().filter(|_| is_json(field))?;
    JsonPath::parse(field, params.get(json::PATH)?).ok()
}

fn is_json(field: &FieldSchema) -> bool {
    field.data_type == DataType::Json
}

/// Whether the parameter may be changed later: it does not affect what is built.
pub(crate) fn is_alterable(key: &str) -> bool {
    matches!(key, MMAP | OFFSET_CACHE | WARMUP)
}

/// Checks parameters of an `AlterIndex`.
pub(crate) fn check_alter(set: &[KeyValuePair], delete: &[String]) -> Result<(), Error> {
    if !set.is_empty() && !delete.is_empty() {
        return Err(refuse::invalid("cannot provide both DeleteKeys and ExtraParams"));
    }
    let keys = set.iter().map(|pair| &pair.key).chain(delete);
    for key in keys {
        if !is_alterable(key) {
            return Err(refuse::invalid(format_args!("{key} is not a configable index property")));
        }
    }
    for pair in set {
        let flaw = match pair.key.as_str() {
            WARMUP => warmup_policy(&pair.value).err().map(|flaw| format!("invalid warmup params: {flaw}")),
            key if boolean(&pair.value).is_none() => {
                Some(format!("invalid {key} value: {}, expected: true, false", pair.value))
            }
            _ => None,
        };
        if let Some(flaw) = flaw {
            return Err(refuse::invalid(flaw));
        }
    }
    Ok(())
}

fn check_size<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Error> {
    let size: usize = params.map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_BYTES {
        return Err(refuse::invalid(format_args!("index params size exceeds limit: {size} > {MAX_BYTES}")));
    }
    Ok(())
}

fn flatten(sent: &[KeyValuePair]) -> Result<BTreeMap<String, String>, Error> {
    let mut flat = BTreeMap::new();
    for (position, KeyValuePair { key, value }) in sent.iter().enumerate() {
        if sent[..position].iter().any(|earlier| earlier.key == *key) {
            return Err(refuse::invalid(format_args!(
                "duplicated index param (key={key}) (value={value}) found"
            )));
        }
        if key != PARAMS {
            flat.insert(key.clone(), value.clone());
            continue;
        }
        let nested: BTreeMap<String, serde_json::Value> = serde_json::from_str(value)
            .map_err(|error| refuse::invalid(format_args!("index params are not a JSON object: {error}")))?;
        flat.extend(nested.into_iter().map(|(key, value)| match value {
            serde_json::Value::String(text) => (key, text),
            other => (key, other.to_string()),
        }));
    }
    Ok(flat)
}

fn is_known(index_type: &str) -> bool {
    index_type == AUTOINDEX || vector::is_known(index_type) || scalar::is_known(index_type)
}

fn check_mmap(index_type: &str, params: &BTreeMap<String, String>) -> Result<(), Error> {
    let Some(value) = params.get(MMAP) else {
        return Ok(());
    };
    let refused =
        |flaw: String| refuse::invalid(format_args!("invalid mmap type params: {}", refuse::invalid(flaw)));
    match boolean(value) {
        None => Err(refused(format!("invalid {MMAP} value: {value}, expected: true, false"))),
        Some(true) if index_type.starts_with("GPU_") || index_type == "DISKANN" => {
            Err(refused(format!("index type {index_type} does not support mmap")))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
