//! `ReleaseCollection` and `ReleasePartitions`.

use std::collections::BTreeSet;

use redkite_catalog::{Entry, LoadRecord, LoadScope, ReplicasRecord, ServingView};
use redkite_service::{Error, Result};
use redkite_types::{CollectionId, PartitionId};

use crate::command::Draft;
use crate::step::Step;

/// Views withdrawn together with the release: as many as fit into its transaction.
const MOST_VIEWS: usize = 64;

/// Releases the partitions, or everything if none is named or left. What is not loaded is released.
pub(super) fn plan(draft: &Draft<'_>, id: CollectionId, partitions: &[PartitionId]) -> Result<Step> {
    let metadata = draft.metadata;
    let collection = metadata
        .collections
        .get(&id)
        .ok_or_else(|| Error::CollectionNotFound { database: String::new(), collection: id.to_string() })?;
    let Some(load) = metadata.loads.get(&id) else {
        return Ok(Step::new("release"));
    };
    let wanted: BTreeSet<_> = match &load.scope {
        LoadScope::Partitions(wanted) => wanted.clone(),
        LoadScope::Collection => collection.partitions.iter().map(|partition| partition.id).collect(),
    };
    let left: BTreeSet<_> = wanted.iter().copied().filter(|id| !partitions.contains(id)).collect();
    if partitions.is_empty() || left.is_empty() {
        return Ok(everything(draft, id, load));
    }
    let mut step = Step::new("release partitions");
    if left != wanted {
        let loaded = &load.loaded & &left;
        let record = LoadRecord { scope: LoadScope::Partitions(left), loaded, ..(*load.record).clone() };
        // A partition created meanwhile would be loaded under the old scope.
        step.relies_on(&id, Some(collection)).replace(&id, Some(load), &record);
    }
    Ok(step)
}

/// The views go in the same transaction: whoever sees its effect routes no read any more.
fn everything(draft: &Draft<'_>, id: CollectionId, load: &Entry<LoadRecord>) -> Step {
    let mut step = Step::new("release");
    step.relies_on(&id, Some(load)).delete::<LoadRecord>(&id);
    if let Some(replicas) = draft.metadata.replicas.get(&id) {
        step.relies_on(&id, Some(replicas)).delete::<ReplicasRecord>(&id);
    }
    // What does not fit is withdrawn when the release is seen.
    for (key, _) in draft.metadata.views_of(id).take(MOST_VIEWS) {
        step.delete::<ServingView>(key);
    }
    step
}
