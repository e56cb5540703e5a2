//! Which collection does a request mean, and what may be read of it?

use std::sync::Arc;

use redkite_catalog::{CollectionRecord, IndexesRecord, LoadRecord, NameRecord, Record};
use redkite_service::Error;
use redkite_types::{PartitionId, Timestamp, limits};

use crate::refuse;
use crate::{Proxy, RequestContext};

/// A collection with what matters for reading it, all of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Readable {
    pub(crate) record: Arc<CollectionRecord>,
    pub(crate) indexes: Option<Arc<IndexesRecord>>,
    load: Option<Arc<LoadRecord>>,
}

impl Proxy {
    /// The collection that a name or alias stands for.
    pub(crate) async fn collection(
        &self,
        context: &RequestContext,
        database: &str,
        name: &str,
    ) -> Result<Arc<CollectionRecord>, Error> {
        Ok(self.readable(context, database, name).await?.record)
    }

    /// The collection that a name or alias stands for, with its indexes and load state.
    pub(crate) async fn readable(
        &self,
        context: &RequestContext,
        database: &str,
        name: &str,
    ) -> Result<Readable, Error> {
        let database = context.database(database);
        match self.look_up(database, name) {
            Ok(found) => Ok(found),
            Err(_) => {
                // The watch may lag behind an acknowledged definition: look again at the present.
                self.catch_up(database, name).await?;
                self.look_up(database, name)
            }
        }
    }

    fn look_up(&self, database: &str, name: &str) -> Result<Readable, Error> {
        self.parts.metadata.read(|metadata| {
            let in_database = metadata
                .database(database)
                .ok_or_else(|| Error::DatabaseNotFound { database: database.to_owned() })?;
            let found = metadata.collection(in_database.id, name).ok_or_else(|| {
                Error::CollectionNotFound { database: database.to_owned(), collection: name.to_owned() }
            })?;
            Ok(Readable {
                record: found.record.clone(),
                indexes: metadata.indexes.get(&found.id).map(|entry| entry.record.clone()),
                load: metadata.loads.get(&found.id).map(|entry| entry.record.clone()),
            })
        })
    }

    async fn catch_up(&self, database: &str, name: &str) -> Result<(), Error> {
        let id = self.parts.metadata.read(|metadata| metadata.database(database).map(|found| found.id));
        let key = match id {
            Some(id) => NameRecord::key(&(id, name.to_owned())),
            None => redkite_catalog::DatabaseRecord::PREFIX.to_owned(),
        };
        let present = self
            .parts
            .kv
            .range(&key)
            .await
            .map_err(|source| Error::Unavailable { reason: format!("metastore: {source}") })?;
        self.parts.metadata.wait_for(present.revision).await;
        Ok(())
    }
}

impl Readable {
    /// Checks that the named partitions, or all of them, are loaded; ids of the named ones.
    pub(crate) fn loaded_partitions(&self, names: &[String]) -> Result<Vec<PartitionId>, Error> {
        let wanted = partition_ids(&self.record, names)?;
        let Some(load) = &self.load else {
            return Err(Error::CollectionNotLoaded { collection: self.record.name.clone() });
        };
        if let Some(released) = wanted.iter().find(|partition| !load.scope.contains(**partition)) {
            return Err(Error::PartitionNotLoaded { partition: released.to_string() });
        }
        // A partition younger than the request to load has nothing that would have to be loaded first.
        let pending = self.record.partitions.iter().any(|partition| {
            (wanted.is_empty() || wanted.contains(&partition.id))
                && load.scope.contains(partition.id)
                && partition.created_at <= load.requested_at
                && !load.loaded.contains(&partition.id)
        });
        if pending {
            return Err(Error::CollectionNotFullyLoaded { collection: self.record.name.clone() });
        }
        Ok(wanted)
    }
}

/// The partitions of these names, each once.
pub(crate) fn partition_ids(
    collection: &CollectionRecord,
    names: &[String],
) -> Result<Vec<PartitionId>, Error> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        check_partition_name(name, false)?;
        let partition = collection
            .partition(name)
            .ok_or_else(|| refuse::invalid(format_args!("partition name {name} not found")))?;
        if !ids.contains(&partition.id) {
            ids.push(partition.id);
        }
    }
    Ok(ids)
}

/// The partition that a write names; the default one if it names none.
pub(crate) fn written_partition(collection: &CollectionRecord, name: &str) -> Result<PartitionId, Error> {
    let name = if name.is_empty() { redkite_catalog::DEFAULT_PARTITION } else { name };
    check_partition_name(name, true)?;
    let partition =
        collection.partition(name).ok_or_else(|| Error::PartitionNotFound { partition: name.to_owned() })?;
    Ok(partition.id)
}

/// Rows written before this are expired, if the collection has a time to live.
pub(crate) fn expired_before(collection: &CollectionRecord, now: Timestamp) -> Option<Timestamp> {
    let seconds: i64 = collection.properties.get("collection.ttl.seconds")?.parse().ok()?;
    let millis = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?.saturating_mul(1000);
    Some(Timestamp::from_physical(now.physical().saturating_sub(millis)))
}

/// Checks a partition name as Milvus does; strictly where it may not be a pattern.
pub(crate) fn check_partition_name(name: &str, strict: bool) -> Result<(), Error> {
    let name = name.trim();
    let refused = |why: &str| refuse::invalid(format_args!("Invalid partition name: {name}. {why}"));
    if name.is_empty() {
        return Err(refused("Partition name should not be empty."));
    }
    if name.len() > limits::MAX_NAME_LENGTH {
        let limit = limits::MAX_NAME_LENGTH;
        let why = format!("The length of a partition name must be less than {limit} characters.");
        return Err(refused(&why));
    }
    if !strict {
        return Ok(());
    }
    let mut bytes = name.bytes();
    let first = bytes.next().expect("not empty");
    if first != b'_' && !first.is_ascii_alphanumeric() {
        return Err(refused("The first character of a partition name must be an underscore or letter."));
    }
    if !bytes.all(|byte| matches!(byte, b'_' | b'-') || byte.is_ascii_alphanumeric()) {
        return Err(refused("Partition name can only contain numbers, letters and underscores."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_names_are_checked_in_milvus_words() {
        assert!(check_partition_name("p-1", true).is_ok());
        assert!(check_partition_name("a b", false).is_ok());
        let refusal = |name: &str| check_partition_name(name, true).unwrap_err().to_string();
        assert_eq!(
            refusal(" "),
            "Invalid partition name: . Partition name should not be empty.: invalid parameter"
        );
        assert!(refusal("a b").contains("can only contain numbers, letters and underscores"));
        assert!(refusal("-a").contains("The first character of a partition name"));
        assert!(refusal(&"a".repeat(256)).contains("must be less than 255 characters"));
    }
}
