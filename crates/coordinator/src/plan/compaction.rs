//! Which segments should become one?
//!
//! Size-tiered: the smallest segments of a shard and partition are merged when there are enough of them
//! and the largest is not larger than all the others together. Then every merge at least doubles the
//! segment a row is in, and a row is rewritten at most log2(max / smallest) times. (The idea is that of
//! size-tiered LSM compaction; see Luo & Carey, "LSM-based storage techniques", VLDB Journal 2020, §2.3.)
//! Larger segments wait until they make a full one: their indexes cost more to build anew than a few
//! more segments cost a search.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{CollectionRecord, Entry, Metadata, SegmentRecord};
use redkite_types::{CollectionId, PartitionId, SegmentId, ShardId, Timestamp};

use super::busy::Busy;
use super::serving::in_views;
use crate::data::CompactionSettings;

/// Most sources of one merge: target, sources and bookkeeping are switched in one transaction.
pub(crate) const MAX_SOURCES: usize = 60;

/// Milvus: `common.CollectionTTLConfigKey`.
const TTL_PROPERTY: &str = "collection.ttl.seconds";

/// A merge is cheap if what comes out has at most this part of a full segment.
const CHEAP_SHARE: u64 = 4;

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
    /// Enough rows are deleted, or all expired, to rewrite the segment on its own.
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
    now: Timestamp,
) -> Vec<Group> {
    let free = free_segments(metadata, collection, busy);
    let wanted = |segment: &SegmentRecord| free.contains(&segment.id) && !avoid.contains(&segment.id);
    group_by_place(metadata, collection, wanted, settings, now)
        .into_iter()
        .flat_map(|(place, candidates)| {
            choose(candidates, settings).into_iter().map(move |sources| group(place, sources))
        })
        .collect()
}

/// The merges that leave as few segments as possible: for compactions that a user asked for. Segments
/// that are not free at the moment are waited for, unless they are being compacted.
pub(crate) fn manual(
    metadata: &Metadata,
    collection: CollectionId,
    compacting: &BTreeSet<SegmentId>,
    settings: &CompactionSettings,
    now: Timestamp,
) -> Vec<Group> {
    let wanted = |segment: &SegmentRecord| !compacting.contains(&segment.id);
    group_by_place(metadata, collection, wanted, settings, now)
        .into_iter()
        .flat_map(|(place, candidates)| {
            pack(candidates, settings).into_iter().map(move |sources| group(place, sources))
        })
        .collect()
}

/// The segments whose merge can begin now.
///
/// A segment of a loaded partition is left alone until a serving view names it: its leader answers for
/// it until then, and knows from the segment's being replaced that a view has taken over.
pub(crate) fn free_segments(
    metadata: &Metadata,
    collection: CollectionId,
    busy: &Busy,
) -> BTreeSet<SegmentId> {
    let in_view = in_views(metadata, collection);
    let load = metadata.loads.get(&collection);
    let is_loaded = |segment: &SegmentRecord| load.is_some_and(|load| load.scope.contains(segment.partition));
    let is_free = |segment: &&Entry<SegmentRecord>| {
        segment.is_flushed()
            && (in_view.contains(&segment.id) || !is_loaded(segment))
            && !busy.compacting.contains(&segment.id)
            && !busy.folding.contains(&segment.id)
            && !busy.is_indexing(segment.id)
    };
    metadata.segments_of(collection).filter(is_free).map(|segment| segment.id).collect()
}

type Place = (ShardId, PartitionId);

fn group((shard, partition): Place, sources: Vec<SegmentId>) -> Group {
    Group { shard, partition, sources }
}

/// The wanted segments of living partitions, the smallest first.
fn group_by_place(
    metadata: &Metadata,
    collection: CollectionId,
    wanted: impl Fn(&SegmentRecord) -> bool,
    settings: &CompactionSettings,
    now: Timestamp,
) -> BTreeMap<Place, Vec<Candidate>> {
    let mut places: BTreeMap<Place, Vec<Candidate>> = BTreeMap::new();
    let Some(record) = metadata.collections.get(&collection) else {
        return places;
    };
    let expired = expired_before(record, now);
    for segment in metadata.segments_of(collection).filter(|segment| segment.is_flushed()) {
        if wanted(segment) && record.partition_by_id(segment.partition).is_some() {
            let candidates = places.entry((segment.shard, segment.partition)).or_default();
            candidates.push(candidate(segment, settings, expired));
        }
    }
    for candidates in places.values_mut() {
        candidates.sort_by_key(|candidate| (candidate.bytes, candidate.id));
    }
    places
}

/// Rows from before this are expired, if the collection has a time to live.
fn expired_before(collection: &CollectionRecord, now: Timestamp) -> Timestamp {
    let seconds = collection.properties.get(TTL_PROPERTY).and_then(|text| text.parse::<u64>().ok());
    let millis = seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1000));
    millis.map_or(Timestamp::ZERO, |ttl| Timestamp::from_physical(now.physical().saturating_sub(ttl)))
}

fn candidate(segment: &Entry<SegmentRecord>, settings: &CompactionSettings, expired: Timestamp) -> Candidate {
    let rows = segment.rows.max(1);
    let deleted = segment.deleted_rows().min(rows);
    let left = u128::from(segment.bytes) * u128::from(rows - deleted) / u128::from(rows);
    Candidate {
        id: segment.id,
        bytes: u64::try_from(left).unwrap_or(segment.bytes),
        wasteful: deleted * 100 > rows * u64::from(settings.deleted_rows_percent)
            || segment.max_timestamp < expired,
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
        let enough = count >= settings.min_segments.max(2) && candidate.bytes <= others;
        let cheap = total <= settings.max_segment_bytes.0 / CHEAP_SHARE;
        let full = count >= 2 && total >= full_enough(settings);
        if full || (enough && cheap) {
            best = count;
        }
    }
    best
}

/// Two thirds of a full segment: what comes out is never merged again, and equal segments of any size
/// reach it (with a third of a full one each, two are less than full and three may be more).
fn full_enough(settings: &CompactionSettings) -> u64 {
    settings.max_segment_bytes.0 / 3 * 2
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
        if bytes >= full_enough(settings) && !wasteful {
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
