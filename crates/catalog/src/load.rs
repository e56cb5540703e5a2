//! How far has a load come? What proxies tell their clients.

use redkite_types::{CollectionId, PartitionId, SegmentId};

use crate::{LoadRecord, Metadata};

/// How much of a load request is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// 0 to 100; 100 only when every replica has every partition asked for.
    pub percent: u8,
    /// Why it does not get on, if a segment cannot be opened.
    pub failure: Option<String>,
}

/// How far the partitions (all that are loaded or being loaded, if none is named) have come;
/// `None` if one of them, or the collection, is not to be loaded.
#[must_use]
pub fn load_progress(
    metadata: &Metadata,
    collection: CollectionId,
    partitions: &[PartitionId],
) -> Option<LoadProgress> {
    let load = metadata.loads.get(&collection)?;
    let asked = asked(metadata, load, collection, partitions)?;
    let missing: Vec<_> = asked.iter().filter(|partition| !load.loaded.contains(partition)).collect();
    if missing.is_empty() {
        return Some(LoadProgress { percent: 100, failure: None });
    }
    let (mut held, mut wanted) = (0_u64, 0_u64);
    let replicas = u64::from(load.replicas.max(1));
    let segments = metadata.segments_of(collection).filter(|segment| segment.is_flushed());
    for segment in segments.filter(|segment| asked.contains(&segment.partition)) {
        wanted += replicas;
        held += holders(metadata, collection, segment.id).min(replicas);
    }
    // The last percent is the publication of the serving views.
    let percent = (held * 100_u64).checked_div(wanted).map_or(99, |percent| percent.min(99));
    let percent = u8::try_from(percent).unwrap_or(99);
    Some(LoadProgress { percent, failure: failure(metadata, collection) })
}

fn asked(
    metadata: &Metadata,
    load: &LoadRecord,
    collection: CollectionId,
    partitions: &[PartitionId],
) -> Option<Vec<PartitionId>> {
    if !partitions.is_empty() {
        let wanted = partitions.iter().all(|partition| load.scope.contains(*partition));
        return wanted.then(|| partitions.to_vec());
    }
    let all = &metadata.collections.get(&collection)?.partitions;
    Some(all.iter().map(|partition| partition.id).filter(|id| load.scope.contains(*id)).collect())
}

/// How many nodes hold a segment: no two of one replica should.
fn holders(metadata: &Metadata, collection: CollectionId, segment: SegmentId) -> u64 {
    let held = metadata.held_of(collection);
    held.map(|(_, held)| u64::from(held.segments.contains_key(&segment))).sum()
}

fn failure(metadata: &Metadata, collection: CollectionId) -> Option<String> {
    metadata.held_of(collection).find_map(|(node, held)| {
        let (segment, reason) = held.failures.first_key_value()?;
        Some(format!("segment {segment} not loaded on node {node}: {reason}"))
    })
}
