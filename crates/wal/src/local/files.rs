//! Which files make up a log, and how do they change?
//!
//! A log is a chain of files; only the last is written. Every step leaves a state that opening
//! understands: files appear complete by renaming, and vanish from the oldest on.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use redkite_runtime::failpoint::{Failpoint, reach};
use redkite_types::{Epoch, Lsn, ShardId};

use super::format::{
    FRAME_BYTES, FileHeader, Frame, HEADER_BYTES, Seed, file_name, parse_file_name, unfinished,
};
use super::handle::Waiting;
use super::scan;
use crate::failpoint::{AFTER_ROTATE, AFTER_SYNC, AFTER_WRITE, BEFORE_ROTATE, BEFORE_TRUNCATE, BEFORE_WRITE};
use crate::{Record, WalError};

/// A record ready to be written, but for its position.
#[derive(Debug)]
pub(super) struct Payload {
    parts: Vec<Bytes>,
    length: u32,
    crc: u32,
}

impl Payload {
    pub(super) fn new(record: Record) -> Self {
        let length = u32::try_from(record.len()).expect("records are checked to be below 1 GiB");
        let crc = record.parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        Self { parts: record.parts, length, crc }
    }

    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_BYTES + self.length as usize
    }
}

/// A failed write.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Nothing of it is left: the log can go on.
    Clean(WalError),
    /// Nobody knows what is on disk: only opening anew tells.
    Poisoning(WalError),
}

/// A file of the chain.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Position of its first record, if it has any.
    pub(super) first: Lsn,
    pub(super) path: PathBuf,
}

/// The chain, and the file being written.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    shard: ShardId,
    epoch: Epoch,
    rotate_bytes: u64,
    /// Oldest first, never empty; the last is `active`.
    chain: VecDeque<Link>,
    active: Active,
    durable: Lsn,
}

#[derive(Debug)]
struct Active {
    file: File,
    seed: Seed,
    /// End of the last frame.
    end: u64,
}

impl Files {
    /// Opens a shard's log, creating it if needed, cuts off a torn tail and settles the epoch.
    pub(super) fn open(
        directory: PathBuf,
        shard: ShardId,
        epoch: Epoch,
        rotate_bytes: u64,
    ) -> Result<Self, WalError> {
        create_directory(&directory)?;
        let chain = list(&directory)?;
        let mut newest = None;
        for link in &chain {
            newest = Some(check_header(link, shard, newest.map(|(header, _)| header))?);
        }
        let Some((header, seed)) = newest else {
            return Self::create(directory, shard, epoch, rotate_bytes);
        };
        if epoch < header.epoch {
            return Err(WalError::Fenced { shard, epoch, current: header.epoch });
        }
        let link = chain.back().expect("a newest header was read from it");
        let error = |error| WalError::io("open", &link.path, error);
        let file = OpenOptions::new().read(true).write(true).open(&link.path).map_err(error)?;
        let found = scan::repair(&file, &link.path, header, seed)?;
        let active = Active { file, seed, end: found.end };
        let mut files = Self { directory, shard, epoch, rotate_bytes, chain, active, durable: found.last };
        if epoch > header.epoch {
            files.rotate().map_err(WriteError::into_cause)?;
        }
        // The one that was there has been cut off.
        files.mark();
        Ok(files)
    }

    fn create(directory: PathBuf, shard: ShardId, epoch: Epoch, rotate_bytes: u64) -> Result<Self, WalError> {
        let header = FileHeader { shard, epoch, first: Lsn(1) };
        let (link, active) = create_file(&directory, header).map_err(WriteError::into_cause)?;
        let chain = VecDeque::from([link]);
        Ok(Self { directory, shard, epoch, rotate_bytes, chain, active, durable: Lsn(0) })
    }

    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn durable(&self) -> Lsn {
        self.durable
    }

    /// Position of the first record kept, or of the next one to write.
    pub(super) fn first(&self) -> Lsn {
        self.chain.front().expect("the chain is never empty").first
    }

    pub(super) fn chain(&self) -> &VecDeque<Link> {
        &self.chain
    }

    pub(super) fn active_path(&self) -> &Path {
        &self.chain.back().expect("the chain is never empty").path
    }

    /// Writes a group and syncs it.
    pub(super) fn write(&mut self, group: &[Waiting]) -> Result<(), WriteError> {
        let payloads = || group.iter().flat_map(|waiting| &waiting.payloads);
        let bytes: u64 = payloads().map(|payload| payload.frame_bytes() as u64).sum();
        if !self.active.is_empty() && self.active.end + bytes > self.rotate_bytes {
            self.rotate()?;
        }
        if let Err(error) = self.write_frames(group) {
            return Err(self.cut_off(error));
        }
        let started = Instant::now();
        self.active.file.sync_data().and_then(|()| reached(AFTER_SYNC)).map_err(|source| {
            // The kernel may have dropped the pages and forgotten the error: no second try.
            WriteError::Poisoning(WalError::Io {
                action: "sync",
                path: self.active_path().to_owned(),
                source: source.into(),
                maybe_applied: true,
            })
        })?;
        metrics::histogram!("redkite_wal_sync_seconds").record(started.elapsed());
        metrics::counter!("redkite_wal_written_bytes_total").increment(bytes);
        metrics::counter!("redkite_wal_records_total").increment(payloads().count() as u64);
        self.active.end += bytes;
        self.durable = Lsn(self.durable.0 + payloads().count() as u64);
        Ok(())
    }

    fn write_frames(&self, group: &[Waiting]) -> io::Result<()> {
        reached(BEFORE_WRITE)?;
        let seed = self.active.seed;
        let frames: Vec<[u8; FRAME_BYTES]> = group
            .iter()
            .flat_map(|waiting| (waiting.first.0..).zip(&waiting.payloads))
            .map(|(lsn, payload)| {
                Frame::record(seed, payload.length, payload.crc, Lsn(lsn), self.durable).encode()
            })
            .collect();
        let mut slices = Vec::with_capacity(frames.len() * 3);
        let payloads = group.iter().flat_map(|waiting| &waiting.payloads);
        for (frame, payload) in frames.iter().zip(payloads) {
            slices.push(IoSlice::new(frame));
            slices
                .extend(payload.parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)));
        }
        write_all_at(&self.active.file, &mut slices, self.active.end)?;
        reached(AFTER_WRITE)
    }

    /// Takes a partial write back.
    fn cut_off(&self, source: io::Error) -> WriteError {
        let path = self.active_path();
        match self.active.file.set_len(self.active.end) {
            Ok(()) => WriteError::Clean(WalError::io("write", path, source)),
            Err(second) => WriteError::Poisoning(WalError::Io {
                action: "write",
                path: path.to_owned(),
                source: io::Error::new(source.kind(), format!("{source}; and cutting it off: {second}"))
                    .into(),
                maybe_applied: true,
            }),
        }
    }

    /// Notes in the file that everything is synced, for whoever opens it after a crash. Only a hint:
    /// not synced, and no error if it cannot be written.
    pub(super) fn mark(&mut self) {
        let mark = Frame::mark(self.active.seed, self.durable).encode();
        if let Err(error) = self.active.file.write_all_at(&mark, self.active.end) {
            tracing::debug!(%error, file = %self.active_path().display(), "no mark written");
        }
    }

    /// Marks the end durably.
    pub(super) fn finish(&mut self) -> Result<(), WalError> {
        self.mark();
        let file = &self.active.file;
        file.sync_data().map_err(|error| WalError::io("sync", self.active_path(), error))
    }

    /// Ends the active file; everything in it is synced.
    fn rotate(&mut self) -> Result<(), WriteError> {
        let header = FileHeader { shard: self.shard, epoch: self.epoch, first: self.durable.next() };
        let (link, active) = create_file(&self.directory, header)?;
        if self.chain.back().is_some_and(|last| last.first == link.first) {
            // The last file had no record; the new one took its name.
            self.chain.pop_back();
        }
        self.chain.push_back(link);
        self.active = active;
        Ok(())
    }

    /// Deletes files that hold nothing after `through`. If the active one is among them, it is ended first.
    pub(super) fn truncate(&mut self, through: Lsn) -> Result<(), WriteError> {
        let through = through.min(self.durable);
        if self.durable <= through && !self.active.is_empty() {
            self.rotate()?;
        }
        while self.chain.len() > 1 && self.chain[1].first.0 <= through.0 + 1 {
            let path = &self.chain[0].path;
            reached(BEFORE_TRUNCATE)
                .and_then(|()| std::fs::remove_file(path))
                .map_err(|error| WriteError::Clean(WalError::io("remove", path, error)))?;
            self.chain.pop_front();
            // One by one: were a later deletion to survive a crash and an earlier not, there would be a gap.
            sync_directory(&self.directory).map_err(WriteError::Clean)?;
        }
        Ok(())
    }
}

impl Active {
    fn is_empty(&self) -> bool {
        self.end == HEADER_BYTES as u64
    }
}

impl WriteError {
    fn into_cause(self) -> WalError {
        match self {
            Self::Clean(cause) | Self::Poisoning(cause) => cause,
        }
    }
}

/// Makes an empty file appear, complete or not at all.
fn create_file(directory: &Path, header: FileHeader) -> Result<(Link, Active), WriteError> {
    let path = directory.join(file_name(header.first));
    let temporary = unfinished(&path);
    let (bytes, seed) = header.encode();
    let write = || {
        reached(BEFORE_ROTATE)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        Ok(file)
    };
    let file = write().map_err(|error: io::Error| {
        // What is left of it is removed when the log is opened, if not here.
        let _ = std::fs::remove_file(&temporary);
        WriteError::Clean(WalError::io("create", &path, error))
    })?;
    reached(AFTER_ROTATE)
        .map_err(|error| WalError::io("sync", directory, error))
        .and_then(|()| sync_directory(directory))
        .map_err(WriteError::Poisoning)?;
    Ok((Link { first: header.first, path }, Active { file, seed, end: HEADER_BYTES as u64 }))
}

/// Makes a directory, and makes it and what is in it durable: whoever made it before may have died in between.
fn create_directory(directory: &Path) -> Result<(), WalError> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => sync_directory(directory)?,
        created => created.map_err(|error| WalError::io("create", directory, error))?,
    }
    directory.parent().map_or(Ok(()), sync_directory)
}

/// The files of a directory, oldest first; what was never finished is removed.
fn list(directory: &Path) -> Result<VecDeque<Link>, WalError> {
    let error = |error| WalError::io("list", directory, error);
    let mut links = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        match parse_file_name(&path) {
            Some(first) => links.push(Link { first, path }),
            None if path.extension().is_some_and(|extension| extension == "new") => {
                std::fs::remove_file(&path).map_err(|error| WalError::io("remove", &path, error))?;
            }
            None => tracing::warn!(path = %path.display(), "not a log file, left alone"),
        }
    }
    links.sort_by_key(|link| link.first);
    Ok(links.into())
}

/// Reads a file's header; it must fit its name, its directory and the file before.
fn check_header(
    link: &Link,
    shard: ShardId,
    before: Option<FileHeader>,
) -> Result<(FileHeader, Seed), WalError> {
    let (header, seed) = read_header(&link.path)?;
    let corrupt = |detail: String| Err(WalError::corrupt(&link.path, 0, detail));
    if header.shard != shard {
        return corrupt(format!("it belongs to shard {}, not {shard}", header.shard));
    }
    if header.first != link.first {
        return corrupt(format!("its header says that it begins with record {}", header.first));
    }
    match before {
        Some(before) if before.epoch > header.epoch => {
            corrupt(format!("its epoch {} is below epoch {} of the file before", header.epoch, before.epoch))
        }
        _ => Ok((header, seed)),
    }
}

pub(super) fn read_header(path: &Path) -> Result<(FileHeader, Seed), WalError> {
    let error = |error| WalError::io("read", path, error);
    let file = File::open(path).map_err(error)?;
    let mut bytes = [0; HEADER_BYTES];
    let length = file.metadata().map_err(error)?.len().min(HEADER_BYTES as u64);
    let bytes = &mut bytes[..usize::try_from(length).expect("at most a header")];
    file.read_exact_at(bytes, 0).map_err(error)?;
    FileHeader::decode(path, bytes)
}

/// Makes creations, renamings and deletions in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), WalError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| WalError::io("sync", directory, error))
}

/// Writes all slices one after the other, in few system calls.
fn write_all_at(file: &File, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    /// Linux takes no more slices in one call.
    const SLICES: usize = 1024;
    while !slices.is_empty() {
        let window = &slices[..slices.len().min(SLICES)];
        let written = rustix::io::retry_on_intr(|| rustix::io::pwritev(file, window, offset))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        offset += written as u64;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}

/// A place where tests let things go wrong.
fn reached(point: Failpoint) -> io::Result<()> {
    Ok(reach(point)?)
}
