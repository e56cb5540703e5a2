//! Indexes on vectors.

use std::collections::BTreeMap;

use redkite_catalog::{IndexMethod, IndexSpec};
use redkite_proto::common::KeyValuePair;
use redkite_service::Error;
use redkite_types::{FieldSchema, Metric};

use super::{AUTOINDEX, Definition, INDEX_TYPE, METRIC_TYPE};
use crate::refuse;

/// What AUTOINDEX stands for. Milvus: `autoIndex.params.build`.
const AUTO: IndexMethod = IndexMethod::Hnsw { m: 18, ef_construction: 240 };
const AUTO_METRIC: Metric = Metric::Cosine;

const DEFAULT_NLIST: u32 = 128;
const DEFAULT_M: u32 = 30;
const DEFAULT_EF_CONSTRUCTION: u32 = 360;

/// Index types on other vectors than those of floats.
const OF_OTHER_VECTORS: [&str; 6] =
    ["BIN_FLAT", "BIN_IVF_FLAT", "SPARSE_INVERTED_INDEX", "SPARSE_WAND", "MINHASH_LSH", "GPU_BRUTE_FORCE"];

/// Index types on vectors of floats. Types that Redkite has no structure of its own for are built as
/// the nearest one that is at least as exact; their own parameters do not matter then.
const OF_FLOATS: [&str; 13] = [
    "FLAT",
    "IVF_FLAT",
    "IVF_SQ8",
    "HNSW",
    "IVF_PQ",
    "IVF_RABITQ",
    "SCANN",
    "DISKANN",
    "AISAQ",
    "HNSW_SQ",
    "HNSW_PQ",
    "HNSW_PRQ",
    "IVF_FLAT_CC",
];

pub(super) fn is_known(index_type: &str) -> bool {
    OF_FLOATS.contains(&index_type) || OF_OTHER_VECTORS.contains(&index_type)
}

pub(super) fn define(
    field: &FieldSchema,
    index_type: Option<&str>,
    params: &BTreeMap<String, String>,
    sent: &[KeyValuePair],
) -> Result<Definition, Error> {
    let metric = params.get(METRIC_TYPE);
    let Some(index_type) = index_type.filter(|index_type| *index_type != AUTOINDEX) else {
        return auto(params);
    };
    let metric = metric.ok_or_else(|| refused_metric("metric type not set for vector index"))?;
    let metric = known_metric(metric)?;
    if !OF_FLOATS.contains(&index_type) {
        return Err(refuse::invalid(format_args!(
            "data type {} can't build with this index {index_type}",
            field.data_type
        )));
    }
    if let Some(dim) = params.get("dim")
        && *dim != field.dim.to_string()
    {
        return Err(refuse::invalid(format_args!(
            "dimension mismatch, dimension in schema: {}, dimension: {dim}",
            field.dim
        )));
    }
    let spec = IndexSpec { method: method(index_type, params)?, metric: Some(metric) };
    let params = sent.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    Ok(Definition { params, spec, path: None })
}

fn auto(params: &BTreeMap<String, String>) -> Result<Definition, Error> {
    if params.keys().any(|key| key != INDEX_TYPE && key != METRIC_TYPE) {
        return Err(refuse::invalid("only metric type can be passed when use AutoIndex"));
    }
    let metric = params.get(METRIC_TYPE).map_or(Ok(AUTO_METRIC), |text| known_metric(text))?;
    Ok(Definition {
        params: vec![
            (INDEX_TYPE.to_owned(), AUTOINDEX.to_owned()),
            (METRIC_TYPE.to_owned(), metric.name().to_owned()),
        ],
        spec: IndexSpec { method: AUTO, metric: Some(metric) },
        path: None,
    })
}

fn refused_metric(why: impl std::fmt::Display) -> Error {
    refuse::mismatch("valid index params", "invalid index params", why)
}

fn known_metric(text: &str) -> Result<Metric, Error> {
    match text {
        "L2" => Ok(Metric::L2),
        "IP" => Ok(Metric::Ip),
        "COSINE" => Ok(Metric::Cosine),
        other => {
            Err(refused_metric(format_args!("float vector index does not support metric type: {other}")))
        }
    }
}

fn method(index_type: &str, params: &BTreeMap<String, String>) -> Result<IndexMethod, Error> {
    let nlist = || number(params, "nlist", 1, 65_536, DEFAULT_NLIST);
    Ok(match index_type {
        "FLAT" => IndexMethod::Flat,
        "IVF_FLAT" | "IVF_FLAT_CC" | "SCANN" => IndexMethod::IvfFlat { nlist: nlist()? },
        "IVF_SQ8" | "IVF_PQ" | "IVF_RABITQ" => IndexMethod::IvfSq8 { nlist: nlist()? },
        _ => IndexMethod::Hnsw {
            m: number(params, "M", 2, 2048, DEFAULT_M)?,
            ef_construction: number(
                params,
                "efConstruction",
                1,
                i32::MAX.unsigned_abs(),
                DEFAULT_EF_CONSTRUCTION,
            )?,
        },
    })
}

fn number(
    params: &BTreeMap<String, String>,
    key: &str,
    lowest: u32,
    highest: u32,
    default: u32,
) -> Result<u32, Error> {
    let Some(text) = params.get(key) else {
        return Ok(default);
    };
    let Ok(value) = text.parse::<i64>() else {
        return Err(refuse::invalid(match text.parse::<f64>() {
            Ok(_) => format!("wrong data type in json, key: '{key}', value: '{text}'"),
            Err(_) => format!("invalid integer value, key: '{key}', value: '{text}'"),
        }));
    };
    u32::try_from(value).ok().filter(|value| (lowest..=highest).contains(value)).ok_or_else(|| {
        refuse::invalid(format_args!(
            "Out of range in json: param '{key}' ({value}) should be in range [{lowest}, {highest}]"
        ))
    })
}
