//! Which segments should become one?
//!
//! Size-tiered: the smallest segments of a shard and partition are merged when there are enough of them
//! and the largest is not larger than all the others together. Then every merge at least doubles the
//! segment a row is in, and a row is rewritten at most log2(max / smallest) times. (The idea is that of
//! size-tiered LSM compaction; see Luo & Carey, "LSM-based storage techniques", VLDB Journal 2020, §2.3.)

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{Entry, Metadata, SegmentRecord};
use redkite_types::{CollectionId, PartitionId, SegmentId, ShardId};

use super::busy::Busy;
use super::serving::views_of;
use crate::data::CompactionSettings;

/// Most sources of one merge: target, sources and bookkeeping are switched in one transaction.
pub(crate) const MAX_SOURCES: usize = 60;

/// Segments of one shard and partition that should become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) shard: ShardId,
    pub(crate) partition: PartitionId,
    pub(crate) sources: Vec<SegmentId>,
}

/// What compaction looks at in a segment.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: SegmentId,
    /// Bytes without the deleted rows: what will be left.
    bytes: u64,
    /// Deleted rows waste enough to rewrite the segment on its own.
    wasteful: bool,
}

/// The merges that are worth their cost, none of them sharing a segment. Segments in `avoid` are
/// left alone.
pub(crate) fn automatic(
    metadata: &Metadata,
    collection: CollectionId,
    busy: &Busy,
    avoid: &BTreeSet<SegmentId>,
    settings: &CompactionSettings,
) -> Vec<Group> {
    group_by_place(metadata, collection, busy, avoid, settings)
        .into_iter()
        .flat_map(|(place, candidates)| {
            choose(candidates, settings).into_iter().map(move |sources| group(place, sources))
        })
        .collect()
}

/// The merges that leave as few segments as possible: for compactions that a user asked for.
pub(crate) fn manual(
    metadata: &Metadata,
    collection: CollectionId,
    busy: &Busy,
    settings: &CompactionSettings,
) -> Vec<Group> {
    group_by_place(metadata, collection, busy, &BTreeSet::new(), settings)
        .into_iter()
        .flat_map(|(place, candidates)| {
            pack(candidates, settings).into_iter().map(move |sources| group(place, sources))
        })
        .collect()
}

type Place = (ShardId, PartitionId);

fn group((shard, partition): Place, sources: Vec<SegmentId>) -> Group {
    Group { shard, partition, sources }
}

fn group_by_place(
    metadata: &Metadata,
    collection: CollectionId,
    busy: &Busy,
    avoid: &BTreeSet<SegmentId>,
    settings: &CompactionSettings,
) -> BTreeMap<Place, Vec<Candidate>> {
    let mut places: BTreeMap<Place, Vec<Candidate>> = BTreeMap::new();
    let Some(record) = metadata.collections.get(&collection) else {
        return places;
    };
    let in_view = views_of(metadata, collection);
    for segment in metadata.segments_of(collection) {
        let free = segment.is_flushed()
            && (in_view.contains(&segment.id) || !is_loaded(metadata, segment))
            && record.partition_by_id(segment.partition).is_some()
            && !avoid.contains(&segment.id)
            && !busy.compacting.contains(&segment.id)
            && !busy.folding.contains(&segment.id)
            && !busy.is_indexing(segment.id);
        if free {
            places.entry((segment.shard, segment.partition)).or_default().push(candidate(segment, settings));
        }
    }
    for candidates in places.values_mut() {
        candidates.sort_by_key(|candidate| (candidate.bytes, candidate.id));
    }
    places
}

/// A segment of a loaded partition is left alone until a serving view names it: its leader answers for
/// it until then, and knows from the segment's being replaced that a view has taken over.
fn is_loaded(metadata: &Metadata, segment: &SegmentRecord) -> bool {
    metadata.loads.get(&segment.collection).is_some_and(|load| load.scope.contains(segment.partition))
}

fn candidate(segment: &Entry<SegmentRecord>, settings: &CompactionSettings) -> Candidate {
    let rows = segment.rows.max(1);
    let deleted = segment.deleted_rows().min(rows);
    let left = u128::from(segment.bytes) * u128::from(rows - deleted) / u128::from(rows);
    Candidate {
        id: segment.id,
        bytes: u64::try_from(left).unwrap_or(segment.bytes),
        wasteful: deleted * 100 > rows * u64::from(settings.deleted_rows_percent),
    }
}

/// The merges of one place; `candidates` are sorted by size.
fn choose(candidates: Vec<Candidate>, settings: &CompactionSettings) -> Vec<Vec<SegmentId>> {
    let small = candidates.partition_point(|candidate| candidate.bytes < settings.max_segment_bytes.0 / 2);
    let merged = prefix_to_merge(&candidates[..small], settings);
    let mut groups = Vec::new();
    if merged > 0 {
        groups.push(candidates[..merged].iter().map(|candidate| candidate.id).collect());
    }
    let rest = candidates[merged..].iter().filter(|candidate| candidate.wasteful);
    groups.extend(rest.map(|candidate| vec![candidate.id]));
    groups
}

/// How many of the smallest segments to merge: as many as possible, or none.
fn prefix_to_merge(small: &[Candidate], settings: &CompactionSettings) -> usize {
    let (mut total, mut best) = (0, 0);
    for (index, candidate) in small.iter().take(MAX_SOURCES).enumerate() {
        let others = total;
        total += candidate.bytes;
        if total > settings.max_segment_bytes.0 {
            break;
        }
        let count = index + 1;
        let enough = count >= settings.min_segments.max(2);
        // Nearly a full segment: what comes out is never merged again.
        let full = count >= 2 && total >= settings.max_segment_bytes.0 / 10 * 8;
        if full || (enough && candidate.bytes <= others) {
            best = count;
        }
    }
    best
}

/// First fit, largest first, into segments of at most the full size.
fn pack(candidates: Vec<Candidate>, settings: &CompactionSettings) -> Vec<Vec<SegmentId>> {
    struct Bin {
        bytes: u64,
        wasteful: bool,
        sources: Vec<SegmentId>,
    }
    let full = settings.max_segment_bytes.0;
    let mut bins: Vec<Bin> = Vec::new();
    for Candidate { id, bytes, wasteful } in candidates.into_iter().rev() {
        let fits = |bin: &&mut Bin| bin.bytes + bytes <= full && bin.sources.len() < MAX_SOURCES;
        if bytes >= full / 10 * 8 && !wasteful {
            continue;
        }
        match bins.iter_mut().find(fits) {
            Some(bin) => {
                bin.bytes += bytes;
                bin.wasteful |= wasteful;
                bin.sources.push(id);
            }
            None => bins.push(Bin { bytes, wasteful, sources: vec![id] }),
        }
    }
    bins.into_iter().filter(|bin| bin.sources.len() > 1 || bin.wasteful).map(|bin| bin.sources).collect()
}
