//! Which settings may a collection or field have?

use std::collections::HashSet;

use redkite_proto::common::KeyValuePair;
use redkite_service::Error;

use super::timezone;
use crate::convert::schema::param;
use crate::refuse;

pub(crate) const MMAP: &str = "mmap.enabled";
/// Milvus's older spelling of [`MMAP`] on fields.
const MMAP_OLD: &str = "mmap_enabled";
pub(crate) const WARMUP: &str = "warmup";
pub(crate) const TTL: &str = "collection.ttl.seconds";
const TTL_FIELD: &str = "ttl_field";
pub(crate) const TIMEZONE: &str = "timezone";
pub(crate) const DYNAMIC_FIELD: &str = "dynamicfield.enabled";
pub(crate) const DESCRIPTION: &str = "collection.description";
const ISOLATION: &str = "partitionkey.isolation";
const QUERY_MODE: &str = "query_mode";
const INSERT_AUTO_ID: &str = "allow_insert_auto_id";
const EXTERNAL: [&str; 2] = ["external_source", "external_spec"];
const MAX_TTL_SECONDS: i64 = 3_155_760_000;
const MAX_DESCRIPTION: usize = 1024;

/// Whether the key is one of the four collection-wide warmup settings.
fn is_collection_warmup(key: &str) -> bool {
    matches!(key, "warmup.scalarField" | "warmup.scalarIndex" | "warmup.vectorField" | "warmup.vectorIndex")
}

/// Whether the key is a warmup setting of any level.
pub(crate) fn is_warmup(key: &str) -> bool {
    key == WARMUP || is_collection_warmup(key)
}

/// The present spelling of a field's setting.
pub(crate) fn field_key(key: &str) -> &str {
    if key == MMAP_OLD { MMAP } else { key }
}

/// Checks the settings of a collection that is being created or altered.
pub(crate) fn collection(
    name: &str,
    properties: &[KeyValuePair],
    has_partition_key: bool,
) -> Result<(), Error> {
    isolation(name, properties, has_partition_key)?;
    query_mode(properties)?;
    timezone(properties)?;
    for pair in properties {
        match pair.key.as_str() {
            WARMUP => return Err(field_warmup_on_collection()),
            key if is_collection_warmup(key) => {
                if let Err(flaw) = warmup_policy(&pair.value) {
                    return Err(refuse::invalid(format_args!("invalid warmup value for key {key}: {flaw}")));
                }
            }
            DESCRIPTION => description(&pair.value)?,
            _ => {}
        }
    }
    ttl(properties)
}

fn field_warmup_on_collection() -> Error {
    refuse::invalid(
        "warmup key 'warmup' is only allowed at field level, use \
         warmup.scalarField/warmup.scalarIndex/warmup.vectorField/warmup.vectorIndex at collection level",
    )
}

/// Checks a warmup policy; the error is Milvus's message.
pub(crate) fn warmup_policy(policy: &str) -> Result<(), Error> {
    if matches!(policy, "disable" | "sync" | "async") {
        return Ok(());
    }
    Err(refuse::invalid(format_args!(
        "invalid warmup policy: {policy}, must be 'disable', 'sync' or 'async'"
    )))
}

/// Checks a collection's description.
pub(crate) fn description(text: &str) -> Result<(), Error> {
    if text.len() > MAX_DESCRIPTION {
        return Err(refuse::invalid(format_args!(
            "the length of a collection description must not exceed {MAX_DESCRIPTION} bytes"
        )));
    }
    Ok(())
}

/// Checks the time zone among settings.
pub(crate) fn timezone(properties: &[KeyValuePair]) -> Result<(), Error> {
    param(properties, TIMEZONE).map_or(Ok(()), timezone::check)
}

/// Checks that no setting is given twice: only one of the values would be checked, and maybe another kept.
pub(crate) fn not_repeated(properties: &[KeyValuePair]) -> Result<(), Error> {
    match first_repeated(properties) {
        None => Ok(()),
        Some(key) => Err(refuse::invalid(format_args!("duplicated param key: {key}"))),
    }
}

/// The first key that has come before.
pub(crate) fn first_repeated(pairs: &[KeyValuePair]) -> Option<&str> {
    let mut seen = HashSet::with_capacity(pairs.len());
    pairs.iter().map(|pair| pair.key.as_str()).find(|key| !seen.insert(*key))
}

fn isolation(name: &str, properties: &[KeyValuePair], has_partition_key: bool) -> Result<(), Error> {
    let Some(value) = param(properties, ISOLATION) else {
        return Ok(());
    };
    let value = boolean(value).ok_or_else(|| {
        refuse::invalid(format_args!(
            "failed to parse partition key isolation: strconv.ParseBool: parsing {:?}: invalid syntax",
            value.to_lowercase()
        ))
    })?;
    let refused =
        |reason: &str| Err(Error::IllegalSchema { collection: name.to_owned(), reason: reason.to_owned() });
    match (value, has_partition_key) {
        (false, _) => Ok(()),
        (true, false) => refused(
            "partition key isolation mode is enabled but no partition key field is set. \
             Please set the partition key first",
        ),
        (true, true) => refused(
            "partition key isolation mode is enabled but current Milvus does not support it. \
             Please contact us",
        ),
    }
}

fn query_mode(properties: &[KeyValuePair]) -> Result<(), Error> {
    for KeyValuePair { key, value } in properties {
        if key == QUERY_MODE && value != "large_topk" {
            return Err(refuse::invalid(format_args!(
                "invalid query_mode value {value:?}, valid values: [large_topk]"
            )));
        }
        if key != QUERY_MODE && key.eq_ignore_ascii_case(QUERY_MODE) {
            return Err(refuse::invalid(format_args!(
                "invalid property key {key:?}, did you mean {QUERY_MODE:?}?"
            )));
        }
    }
    Ok(())
}

fn ttl(properties: &[KeyValuePair]) -> Result<(), Error> {
    if let Some(seconds) = param(properties, TTL) {
        let seconds: i64 =
            seconds.parse().map_err(|_| refuse::invalid("collection TTL is not a valid positive integer"))?;
        if !(-1..=MAX_TTL_SECONDS).contains(&seconds) {
            return Err(refuse::invalid(format_args!(
                "collection TTL is out of range, expect [-1, {MAX_TTL_SECONDS}], got {seconds}"
            )));
        }
    }
    if param(properties, TTL_FIELD).is_some() {
        return Err(refuse::unsupported("ttl_field: fields of type Timestamptz are not supported yet"));
    }
    Ok(())
}

/// What is about to be altered, and what stands in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Altered<'a> {
    pub(crate) collection: &'a str,
    pub(crate) loaded: bool,
    pub(crate) auto_id: bool,
    pub(crate) has_partition_key: bool,
}

impl Altered<'_> {
    fn loaded_already(self, reason: String) -> Error {
        Error::CollectionLoaded { collection: self.collection.to_owned(), reason }
    }

    /// Checks settings and keys of an `AlterCollection`.
    pub(crate) fn check(self, set: &[KeyValuePair], delete: &[String]) -> Result<(), Error> {
        match (set.is_empty(), delete.is_empty()) {
            (false, false) => Err(refuse::invalid("cannot provide both DeleteKeys and ExtraParams")),
            (true, true) => Err(refuse::invalid("no properties or delete keys provided")),
            (false, true) => self.check_set(set),
            (true, false) => self.check_delete(delete),
        }
    }

    fn check_set(self, set: &[KeyValuePair]) -> Result<(), Error> {
        not_repeated(set)?;
        if let Some(pair) = set.iter().find(|pair| EXTERNAL.contains(&pair.key.as_str())) {
            return Err(refuse::invalid(format_args!(
                "cannot alter {} via alter_collection_properties; use RefreshExternalCollection instead",
                pair.key
            )));
        }
        if self.loaded && set.iter().any(|pair| pair.key == MMAP) {
            return Err(self.loaded_already("can not alter mmap properties if collection loaded".to_owned()));
        }
        if self.loaded && set.iter().any(|pair| is_warmup(&pair.key)) {
            let reason = "can not alter warmup properties if collection loaded".to_owned();
            return Err(self.loaded_already(reason));
        }
        if param(set, INSERT_AUTO_ID).and_then(boolean) == Some(true) && !self.auto_id {
            return Err(refuse::invalid(format_args!(
                "the value for {INSERT_AUTO_ID} must be false when autoID is false"
            )));
        }
        self.check_dynamic(set)?;
        collection(self.collection, set, self.has_partition_key)
    }

    fn check_dynamic(self, set: &[KeyValuePair]) -> Result<(), Error> {
        let Some(value) = param(set, DYNAMIC_FIELD) else {
            return Ok(());
        };
        if boolean(value).is_none() {
            return Err(refuse::invalid(format_args!("invalid dynamic schema property value: {value}")));
        }
        if set.len() > 1 {
            return Err(refuse::invalid(
                "cannot alter dynamic schema with other properties at the same time",
            ));
        }
        Ok(())
    }

    fn check_delete(self, delete: &[String]) -> Result<(), Error> {
        if let Some(key) = delete.iter().find(|key| EXTERNAL.contains(&key.as_str())) {
            return Err(refuse::invalid(format_args!(
                "cannot delete {key}; external source/spec are immutable post-create except via \
                 RefreshExternalCollection"
            )));
        }
        if delete.iter().any(|key| key == DYNAMIC_FIELD) {
            return Err(refuse::invalid(format_args!(
                "cannot delete key {DYNAMIC_FIELD}, dynamic field schema could support set to true/false"
            )));
        }
        match delete.iter().find(|key| *key == MMAP || is_warmup(key)) {
            Some(key) if self.loaded => {
                let what = if key == MMAP { "mmap" } else { key };
                Err(self.loaded_already(format!("can not delete {what} properties if collection loaded")))
            }
            _ => Ok(()),
        }
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> KeyValuePair {
        KeyValuePair { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn settings_are_checked_in_milvus_words() {
        let table = [
            ("collection.ttl.seconds", "x", "collection TTL is not a valid positive integer"),
            (
                "collection.ttl.seconds",
                "-2",
                "collection TTL is out of range, expect [-1, 3155760000], got -2",
            ),
            ("timezone", "Mars/Olympus", "unknown or invalid IANA Time Zone ID: Mars/Olympus"),
            ("warmup", "sync", "warmup key 'warmup' is only allowed at field level"),
            ("warmup.vectorField", "on", "invalid warmup value for key warmup.vectorField"),
            ("query_mode", "fast", "invalid query_mode value \"fast\", valid values: [large_topk]"),
            ("Query_Mode", "large_topk", "invalid property key \"Query_Mode\", did you mean \"query_mode\"?"),
            ("partitionkey.isolation", "true", "but no partition key field is set"),
            ("partitionkey.isolation", "maybe", "failed to parse partition key isolation"),
        ];
        for (key, value, expected) in table {
            let message = collection("c", &[pair(key, value)], false).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let good = [
            pair("collection.ttl.seconds", "0"),
            pair("timezone", "Asia/Shanghai"),
            pair("warmup.vectorField", "async"),
            pair("partitionkey.isolation", "False"),
            pair("anything", "else"),
        ];
        collection("c", &good, false).unwrap();
    }

    #[test]
    fn a_loaded_collection_keeps_what_loading_depends_on() {
        let altered = Altered { collection: "c", loaded: true, auto_id: false, has_partition_key: false };
        let message = altered.check(&[pair("mmap.enabled", "True")], &[]).unwrap_err().to_string();
        assert_eq!(
            message,
            "can not alter mmap properties if collection loaded: collection already loaded[collection=c]"
        );
        let message = altered.check(&[], &["mmap.enabled".to_owned()]).unwrap_err().to_string();
        assert!(message.starts_with("can not delete mmap properties if collection loaded"));
        let message = altered.check(&[pair("warmup.vectorField", "sync")], &[]).unwrap_err().to_string();
        assert!(message.starts_with("can not alter warmup"));
        let message = altered.check(&[], &["dynamicfield.enabled".to_owned()]).unwrap_err().to_string();
        assert!(message.starts_with("cannot delete key dynamicfield.enabled"));
        let twice = [pair("collection.ttl.seconds", "1"), pair("collection.ttl.seconds", "x")];
        let message = altered.check(&twice, &[]).unwrap_err().to_string();
        assert!(message.starts_with("duplicated param key: collection.ttl.seconds"), "{message}");
        altered.check(&[], &["collection.ttl.seconds".to_owned()]).unwrap();
        altered.check(&[pair("collection.ttl.seconds", "100")], &[]).unwrap();
        Altered { loaded: false, ..altered }.check(&[pair("mmap.enabled", "True")], &[]).unwrap();
    }
}
