//! Which slots are the log, and which is the next? Follows the fences from term to term.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures::{StreamExt, TryStreamExt, stream};
use redkite_storage::ObjectEntry;
use redkite_storage::layout::log::{LogPath, log_of, starts_of};
use redkite_types::{Lsn, ShardId};

use super::bucket::Bucket;
use super::format::{Content, HEADER_BYTES, Slot, Span, Start, Term};
use crate::WalError;

/// Fences read at the same time.
const FENCES: usize = 16;

/// What a listing of a log shows.
#[derive(Debug, Default)]
pub(super) struct Listing {
    starts: BTreeSet<Lsn>,
    /// Sizes of the objects in each term's slots.
    terms: BTreeMap<Term, Slots>,
}

type Slots = BTreeMap<u64, u64>;

/// A log as one listing showed it.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) start: Start,
    /// Slots with records and the sizes of their objects, in order, from `start` on.
    pub(super) records: Vec<(Slot, u64)>,
    /// Positions of the records in the last of them.
    pub(super) last: Option<Span>,
    /// The first slot of the last term that is not filled: whoever fills it with a fence is next.
    pub(super) free: Slot,
    /// Objects that nobody needs once the chain has a further term.
    pub(super) garbage: Vec<String>,
}

impl Chain {
    /// The position after the last record.
    pub(super) fn next(&self) -> Lsn {
        self.last.map_or(self.start.first, |span| span.last.next())
    }
}

impl Listing {
    pub(super) async fn read(bucket: &Bucket) -> Result<Self, WalError> {
        let entries = bucket.list(&log_of(bucket.shard)).await?;
        Ok(Self::of(&entries))
    }

    fn of(entries: &[ObjectEntry]) -> Self {
        let mut listing = Self::default();
        for entry in entries {
            match entry.path.parse() {
                Ok(LogPath::Start { first, .. }) => {
                    listing.starts.insert(first);
                }
                Ok(LogPath::Slot { epoch, writer, sequence, .. }) => {
                    let slots = listing.terms.entry(Term { epoch, writer }).or_default();
                    slots.insert(sequence, entry.size);
                }
                Err(_) => tracing::warn!(object = entry.path, "this is not an object of a log"),
            }
        }
        listing
    }

    /// Follows the chain; `None` if the log changed meanwhile, so that it has to be listed again.
    pub(super) async fn follow(&self, bucket: &Bucket) -> Result<Option<Chain>, WalError> {
        let start = match self.starts.last() {
            None => Some(Start::ROOT),
            Some(first) => bucket.start(*first).await?,
        };
        let Some(start) = start else { return Ok(None) };
        let Some(successors) = self.successors(bucket, start.slot).await? else { return Ok(None) };
        let walk = self.walk(bucket.shard, start.slot, &successors)?;
        if self.is_in_doubt(bucket, walk.free).await? {
            return self.confirm_damage(bucket, walk.free).await.map(|()| None);
        }
        let last = match walk.records.last() {
            None => None,
            Some((slot, _)) => match bucket.header(*slot).await? {
                None => return Ok(None),
                Some(header) => Some(header.span()?),
            },
        };
        let garbage = self.garbage(bucket.shard, start, &walk);
        Ok(Some(Chain { start, records: walk.records, last, free: walk.free, garbage }))
    }

    /// The first slot of a term, from `from` on, that a fence is in.
    fn fence(&self, from: Slot) -> Option<Slot> {
        let mut slots = self.terms.get(&from.term)?.range(from.sequence..);
        let (sequence, _) = slots.find(|(_, size)| **size == HEADER_BYTES as u64)?;
        Some(Slot { sequence: *sequence, ..from })
    }

    /// Whom the fences of all terms that may be in the chain name.
    async fn successors(&self, bucket: &Bucket, start: Slot) -> Result<Option<Successors>, WalError> {
        let later = self.terms.range(Term { epoch: start.term.epoch, writer: 0 }..);
        let begins = later.map(|(term, _)| {
            let sequence = if *term == start.term { start.sequence } else { 0 };
            Slot { term: *term, sequence }
        });
        let fences: Vec<Slot> = begins.filter_map(|begin| self.fence(begin)).collect();
        let reads = fences.into_iter().map(|slot| async move { Ok((slot, bucket.header(slot).await?)) });
        let read: Vec<_> = stream::iter(reads).buffer_unordered(FENCES).try_collect().await?;
        let mut successors = Successors::new();
        for (slot, header) in read {
            let Some(header) = header else { return Ok(None) };
            let Content::Fence { successor } = header.content else {
                return Err(corrupt(bucket.shard, slot, "this is as short as a fence, but has records"));
            };
            if header.settled > slot.sequence || successor.epoch < slot.term.epoch {
                return Err(corrupt(bucket.shard, slot, "this fence contradicts itself"));
            }
            successors.insert(slot, successor);
        }
        Ok(Some(successors))
    }

    fn walk(&self, shard: ShardId, start: Slot, successors: &Successors) -> Result<Walk, WalError> {
        let mut walk = Walk { records: Vec::new(), fences: BTreeMap::new(), free: start };
        let empty = Slots::new();
        loop {
            let term = walk.free.term;
            let slots = self.terms.get(&term).unwrap_or(&empty);
            let fence = self.fence(walk.free).map(|fence| fence.sequence);
            while let Some(size) = slots.get(&walk.free.sequence) {
                if fence == Some(walk.free.sequence) {
                    break;
                }
                if *size < HEADER_BYTES as u64 {
                    return Err(corrupt(shard, walk.free, "the object is cut short"));
                }
                walk.records.push((walk.free, *size));
                walk.free.sequence += 1;
            }
            let Some(successor) = successors.get(&walk.free) else { return Ok(walk) };
            walk.fences.insert(term, walk.free.sequence);
            if walk.fences.contains_key(successor) {
                return Err(corrupt(shard, walk.free, "this fence names a term that ended before"));
            }
            walk.free = Slot { term: *successor, sequence: 0 };
        }
    }

    /// Whether anything here was made after the slot at the end of the chain had been filled.
    async fn is_in_doubt(&self, bucket: &Bucket, free: Slot) -> Result<bool, WalError> {
        let has_records = |slots: &Slots| slots.values().any(|size| *size != HEADER_BYTES as u64);
        if self.terms.iter().any(|(term, slots)| term.epoch > free.term.epoch && has_records(slots)) {
            return Ok(true);
        }
        let Some(slots) = self.terms.get(&free.term) else { return Ok(false) };
        let later = || slots.range(free.sequence + 1..).rev();
        // What one writer knows to be filled only grows, so its last object tells most.
        let fence = later().find(|(_, size)| **size == HEADER_BYTES as u64);
        let records = later().find(|(_, size)| **size != HEADER_BYTES as u64);
        for (sequence, _) in fence.into_iter().chain(records) {
            match bucket.header(Slot { sequence: *sequence, ..free }).await? {
                Some(header) if header.settled <= free.sequence => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// A slot that was filled seems to be empty: an error, unless only the listing is outdated.
    async fn confirm_damage(&self, bucket: &Bucket, free: Slot) -> Result<(), WalError> {
        if bucket.header(free).await?.is_some() || self.is_outdated(bucket).await? {
            return Ok(());
        }
        Err(corrupt(bucket.shard, free, "the object is missing: later ones were made when it was there"))
    }

    /// Whether the log was truncated since the listing.
    pub(super) async fn is_outdated(&self, bucket: &Bucket) -> Result<bool, WalError> {
        Ok(newest_start(bucket).await? != self.starts.last().copied())
    }

    /// What is not part of the chain. Fences stay: each stops a writer that may still be alive.
    fn garbage(&self, shard: ShardId, start: Start, walk: &Walk) -> Vec<String> {
        let mut garbage = Vec::new();
        let newest = self.starts.last();
        let earlier = self.starts.iter().filter(|first| Some(*first) != newest);
        garbage.extend(earlier.map(|first| Start::name(shard, *first)));
        for (term, slots) in &self.terms {
            let kept = match walk.fences.get(term) {
                Some(fence) => Some(*fence),
                None if *term == walk.free.term => Some(walk.free.sequence),
                None => None,
            };
            let begin = if *term == start.slot.term { start.slot.sequence } else { 0 };
            let unneeded = slots.iter().filter(|(sequence, size)| match kept {
                Some(end) => **sequence < begin || **sequence > end,
                None => **size != HEADER_BYTES as u64,
            });
            garbage
                .extend(unneeded.map(|(sequence, _)| Slot { term: *term, sequence: *sequence }.name(shard)));
        }
        garbage
    }
}

type Successors = BTreeMap<Slot, Term>;

struct Walk {
    records: Vec<(Slot, u64)>,
    /// Where the terms passed end.
    fences: BTreeMap<Term, u64>,
    free: Slot,
}

/// The last truncation of a log.
pub(super) async fn newest_start(bucket: &Bucket) -> Result<Option<Lsn>, WalError> {
    let entries = bucket.list(&starts_of(bucket.shard)).await?;
    Ok(Listing::of(&entries).starts.last().copied())
}

fn corrupt(shard: ShardId, slot: Slot, detail: &str) -> WalError {
    WalError::corrupt(Path::new(&slot.name(shard)), 0, detail)
}
