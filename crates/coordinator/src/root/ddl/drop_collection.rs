//! `DropCollection`.

use redkite_catalog::{DroppedRecord, IndexesRecord, LoadRecord, NameRecord};
use redkite_service::{Error, Result};

use super::lookup;
use crate::command::Draft;
use crate::step::Step;

/// Removes what makes the collection exist, and leaves a note for those who own the rest of it:
/// streaming nodes their logs, the query coordinator placement, the data coordinator segments and files.
pub(super) fn plan(draft: &Draft<'_>, database: &str, name: &str) -> Result<Step> {
    let metadata = draft.metadata;
    let mut step = Step::new("drop collection");
    let Some(database) = metadata.database(database) else {
        return Ok(step);
    };
    let key = (database.id, name.to_owned());
    let Some(named) = metadata.names.get(&key) else {
        return Ok(step);
    };
    if let NameRecord::Alias(_) = *named.record {
        return Err(Error::invalid(format!("cannot drop the collection via alias = {name}")));
    }
    let Some(collection) = lookup::named(metadata, database.id, name) else {
        return Ok(step);
    };
    let aliases: Vec<_> = metadata.aliases(collection).collect();
    if !aliases.is_empty() {
        return Err(Error::invalid(format!(
            "unable to drop the collection [{name}] because it has associated aliases [{}], please remove all \
             aliases before dropping the collection",
            aliases.join(" ")
        )));
    }
    let id = collection.id;
    let dropped = DroppedRecord { id, shards: collection.shards, dropped_at: draft.now };
    step.relies_on(&id, Some(collection)).delete::<redkite_catalog::CollectionRecord>(&id);
    step.relies_on(&key, Some(named)).delete::<NameRecord>(&key);
    step.delete::<IndexesRecord>(&id).delete::<LoadRecord>(&id).put(&id, &dropped);
    Ok(step)
}
