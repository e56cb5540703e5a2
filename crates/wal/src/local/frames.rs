//! What does a file hold, frame by frame?

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use redkite_types::Lsn;

use super::format::{FRAME_BYTES, Frame, HEADER_BYTES, Seed};
use crate::MAX_RECORD_BYTES;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Steps through the frames of one file.
#[derive(Debug)]
pub(super) struct Frames {
    file: File,
    seed: Seed,
    length: u64,
    position: u64,
    window: Bytes,
    window_at: u64,
}

/// What the next step found.
#[derive(Debug)]
pub(super) enum Step {
    /// A record with its bytes.
    Record { at: u64, lsn: Lsn, durable: Lsn, payload: Bytes },
    /// A mark.
    Mark { at: u64, durable: Lsn },
    /// The end of the file, after the last frame.
    End { at: u64 },
    /// Bytes that are no frame; no further step is possible.
    Damaged { at: u64 },
}

impl Frames {
    /// The frames of a file whose header has been read.
    pub(super) fn new(file: File, seed: Seed) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let position = HEADER_BYTES as u64;
        Ok(Self { file, seed, length, position, window: Bytes::new(), window_at: 0 })
    }

    /// The length of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.length
    }

    pub(super) fn step(&mut self) -> io::Result<Step> {
        let at = self.position;
        if at == self.length {
            return Ok(Step::End { at });
        }
        let Some(header) = self.bytes(at, FRAME_BYTES)? else { return Ok(Step::Damaged { at }) };
        let header = header.first_chunk().expect("as many bytes as asked for");
        let frame = Frame::decode(header);
        if frame.payload_bytes() > MAX_RECORD_BYTES {
            return Ok(Step::Damaged { at });
        }
        let Some(payload) = self.bytes(at + FRAME_BYTES as u64, frame.payload_bytes())? else {
            return Ok(Step::Damaged { at });
        };
        if !frame.is_valid(self.seed, &payload) {
            return Ok(Step::Damaged { at });
        }
        self.position = at + frame.stride();
        Ok(match frame.is_mark() {
            true => Step::Mark { at, durable: frame.durable },
            false => Step::Record { at, lsn: frame.lsn, durable: frame.durable, payload },
        })
    }

    /// Bytes at a place, or `None` if the file ends before.
    fn bytes(&mut self, at: u64, count: usize) -> io::Result<Option<Bytes>> {
        let left = self.length.saturating_sub(at);
        if (count as u64) > left {
            return Ok(None);
        }
        let inside = at >= self.window_at && at + count as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            let chunk = left.min(count.max(CHUNK) as u64);
            let mut window = BytesMut::zeroed(usize::try_from(chunk).expect("bounded by a record's size"));
            self.file.read_exact_at(&mut window, at)?;
            self.window = window.freeze();
            self.window_at = at;
        }
        let begin = usize::try_from(at - self.window_at).expect("inside the window");
        Ok(Some(self.window.slice(begin..begin + count)))
    }
}
