//! How does a leader get the log? It ends the term before with a fence, and begins its own.

use std::io;
use std::path::Path;

use futures::{StreamExt, TryStreamExt, stream};
use redkite_storage::layout::log::log_of;
use redkite_types::Epoch;

use super::bucket::{Bucket, Filled};
use super::chain::{Chain, Listing};
use super::format::{Content, Slot, Term, fence};
use crate::WalError;

/// Slots fenced at once when a writer keeps filling them before us: at first, and at most.
const LEAD: (u64, u64) = (16, 1024);
/// Each try ends because somebody else got on; so many are no coincidence.
const TRIES: usize = 1000;

/// A log that is ours.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) term: Term,
    pub(super) chain: Chain,
}

/// Ends whatever term is the last and returns all that came before. `draw` gives a number for a
/// writer, never the same again.
pub(super) async fn take_over(
    bucket: &Bucket,
    epoch: Epoch,
    draw: impl Fn() -> u64,
) -> Result<Opened, WalError> {
    let mut lead = 0;
    for _ in 0..TRIES {
        let listing = Listing::read(bucket).await?;
        let Some(chain) = listing.follow(bucket).await? else { continue };
        let current = chain.free.term.epoch;
        if current > epoch {
            return Err(WalError::Fenced { shard: bucket.shard, epoch, current });
        }
        let term = Term { epoch, writer: draw() };
        match end_term(bucket, chain.free, chain.free.sequence, term).await? {
            // Unless the log was truncated past the slot, which then was no longer at the end.
            Filled::Ours if !listing.is_outdated(bucket).await? => return Ok(Opened { term, chain }),
            Filled::Other(found) if matches!(found.content, Content::Records { .. }) => {
                lead = (lead * 4).clamp(LEAD.0, LEAD.1);
                run_ahead(bucket, chain.free, lead, term).await?;
            }
            Filled::Ours | Filled::Other(_) => {}
        }
    }
    let error = io::Error::other("it changes faster than it can be read");
    Err(WalError::io("open", Path::new(&log_of(bucket.shard)), error))
}

/// Puts a fence into a slot. `settled` slots of the term are known to be filled.
async fn end_term(bucket: &Bucket, slot: Slot, settled: u64, successor: Term) -> Result<Filled, WalError> {
    let bytes = fence(bucket.shard, slot, settled, successor);
    bucket.fill(slot, &bytes).await
}

/// Puts fences into many slots before a writer that is too fast. Whichever of them is the first one that
/// took its slot ends the term, as the next listing shows.
async fn run_ahead(bucket: &Bucket, free: Slot, lead: u64, successor: Term) -> Result<(), WalError> {
    tracing::info!(shard = %bucket.shard, term = ?free.term, lead, "a former leader still writes, fencing ahead of it");
    let slots = (free.sequence + 1..=free.sequence + lead).map(|sequence| Slot { sequence, ..free });
    let fences = slots.map(|slot| end_term(bucket, slot, free.sequence, successor));
    let width = usize::try_from(lead).expect("far below 2^32");
    stream::iter(fences).buffer_unordered(width).try_collect::<Vec<_>>().await.map(drop)
}
