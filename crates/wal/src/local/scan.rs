//! Where does the last file end, and is damage there a torn write or corruption?
//!
//! A crash can leave any part of the last, unsynced group unwritten. It must be cut off; yet nothing
//! that was acknowledged may be. The rule, for damage at the place of record `n`:
//!
//! 1. A valid frame behind it that says `durable >= n`: record `n` was acknowledged. **Corruption.**
//! 2. Otherwise a valid mark at the very place: everything up to `n - 1` was synced, and had anything
//!    been acknowledged later, it would have overwritten the mark. **Torn.**
//! 3. Otherwise (the mark is not there: a loss of power between a sync and the next) the damage must look like
//!    an unfinished write: fewer bytes than the smallest record; or record `n` itself, cut short by the
//!    end of the file; or a sector that was never written, all zero. **Torn.** Anything else, such as a
//!    complete record with a wrong checksum, is **corruption**.
//!
//! So damage to acknowledged records is always told apart from a torn write after a crash of the process,
//! and after a loss of power too, except in the last group when it *also* looks unfinished.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use redkite_types::Lsn;

use super::format::{FRAME_BYTES, FileHeader, Frame, Seed};
use super::frames::{Frames, Step};
use crate::{MAX_RECORD_BYTES, WalError};

/// Disks write this many bytes or none.
const SECTOR: u64 = 512;

/// The good part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Where the next frame goes.
    pub(super) end: u64,
    /// The last record.
    pub(super) last: Lsn,
    /// Where the records begin that no frame says were synced.
    unproven: u64,
}

/// Finds the end of the log's last file, cuts off a torn tail, and makes what is left durable.
pub(super) fn repair(file: &File, path: &Path, header: FileHeader, seed: Seed) -> Result<Found, WalError> {
    let error = |error| WalError::io("read", path, error);
    let mut frames = file.try_clone().and_then(|file| Frames::new(file, seed)).map_err(error)?;
    let found = find_end(&mut frames, file, path, header.first, seed)?;
    let left = frames.file_bytes() - found.end;
    if left > 0 {
        tracing::debug!(file = %path.display(), offset = found.end, bytes = left, "cut off");
        file.set_len(found.end).map_err(|error| WalError::io("truncate", path, error))?;
    }
    // A killed process may have left records that were never synced; they are about to be relied on. If a sync
    // failed, they may be in memory only, and the next sync would not write them: they are written again.
    rewrite(file, found.unproven, found.end).map_err(|error| WalError::io("write", path, error))?;
    file.sync_all().map_err(|error| WalError::io("sync", path, error))?;
    Ok(found)
}

fn rewrite(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    file.write_all_at(&bytes, from)
}

fn find_end(
    frames: &mut Frames,
    file: &File,
    path: &Path,
    first: Lsn,
    seed: Seed,
) -> Result<Found, WalError> {
    let mut expected = first;
    // Records not yet said to be synced, and where they are.
    let mut unproven: VecDeque<(Lsn, u64)> = VecDeque::new();
    let begin = |unproven: &VecDeque<(Lsn, u64)>, end| unproven.front().map_or(end, |(_, at)| *at);
    loop {
        let step = frames.step().map_err(|error| WalError::io("read", path, error))?;
        let last = Lsn(expected.0 - 1);
        let at = match step {
            Step::Record { at, lsn, durable, .. } if lsn == expected && durable < lsn => {
                while unproven.front().is_some_and(|(lsn, _)| *lsn <= durable) {
                    unproven.pop_front();
                }
                unproven.push_back((lsn, at));
                expected = expected.next();
                continue;
            }
            Step::Record { at, lsn, .. } => {
                let detail = format!("record {lsn} where record {expected} belongs");
                return Err(WalError::corrupt(path, at, detail));
            }
            Step::End { at } => return Ok(Found { end: at, last, unproven: begin(&unproven, at) }),
            Step::Mark { at, durable }
                if durable == last && at + FRAME_BYTES as u64 == frames.file_bytes() =>
            {
                return Ok(Found { end: at, last, unproven: at });
            }
            Step::Mark { at, .. } | Step::Damaged { at } => at,
        };
        let rest = rest(file, at).map_err(|error| WalError::io("read", path, error))?;
        judge(&rest, at, expected, seed).map_err(|detail| WalError::corrupt(path, at, detail))?;
        tracing::warn!(
            file = %path.display(), offset = at, bytes = rest.len(), %last,
            "torn write at the end of a shard log is cut off"
        );
        return Ok(Found { end: at, last, unproven: begin(&unproven, at) });
    }
}

fn rest(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let left = file.metadata()?.len() - at;
    let mut rest = vec![0; usize::try_from(left).map_err(io::Error::other)?];
    file.read_exact_at(&mut rest, at)?;
    Ok(rest)
}

/// Applies the rule to the bytes from the damage at `at` to the end of the file.
fn judge(rest: &[u8], at: u64, expected: Lsn, seed: Seed) -> Result<(), String> {
    if let Some((offset, durable)) = find_acknowledgement(rest, expected, seed) {
        let place = at + offset as u64;
        return Err(format!(
            "record {expected} is damaged, but was durable: byte {place} says so up to {durable}"
        ));
    }
    let mark = Frame::mark(seed, Lsn(expected.0 - 1)).encode();
    if rest.starts_with(&mark) || looks_unfinished(rest, at, expected, &mark) {
        return Ok(());
    }
    Err(format!("record {expected} is damaged, and not as a torn write damages"))
}

/// A valid frame that says that `expected` was synced, and where.
fn find_acknowledgement(rest: &[u8], expected: Lsn, seed: Seed) -> Option<(usize, Lsn)> {
    rest.windows(FRAME_BYTES).enumerate().find_map(|(offset, bytes)| {
        let frame = Frame::decode(bytes.first_chunk().expect("windows have this size"));
        // Cheap tests first: this runs at every byte.
        let plausible = frame.durable >= expected
            && (frame.is_mark() || frame.payload_bytes() <= MAX_RECORD_BYTES && frame.lsn > frame.durable);
        if !plausible {
            return None;
        }
        let payload = rest[offset + FRAME_BYTES..].get(..frame.payload_bytes())?;
        frame.is_valid(seed, payload).then_some((offset, frame.durable))
    })
}

fn looks_unfinished(rest: &[u8], at: u64, expected: Lsn, mark: &[u8]) -> bool {
    let Some(header) = rest.first_chunk().filter(|_| rest.len() > FRAME_BYTES) else { return true };
    let frame = Frame::decode(header);
    let cut_short = frame.lsn == expected
        && frame.durable < expected
        && frame.payload_bytes() <= MAX_RECORD_BYTES
        && frame.stride() > rest.len() as u64;
    cut_short || has_hole(rest, at, mark)
}

/// Whether some sector holds what it held before the write: zeros, perhaps with the mark at the beginning.
fn has_hole(rest: &[u8], at: u64, mark: &[u8]) -> bool {
    let in_first = usize::try_from(SECTOR - at % SECTOR).expect("at most a sector").min(rest.len());
    let (first, others) = rest.split_at(in_first);
    let marks = mark.iter().copied().chain(std::iter::repeat(0));
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let is_old =
        |bytes: &[u8], offset: usize| bytes.iter().copied().eq(marks.clone().skip(offset).take(bytes.len()));
    let untouched = |bytes: &[u8], offset: usize| is_zero(bytes) || is_old(bytes, offset);
    let mut sectors = others.chunks(SECTOR as usize);
    // Only the first two sectors can hold parts of the mark.
    untouched(first, 0)
        || sectors.next().is_some_and(|second| untouched(second, in_first))
        || sectors.any(is_zero)
}
