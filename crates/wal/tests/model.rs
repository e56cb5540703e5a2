//! Does a log do what a vector of records does, through truncations, restarts and crashes?
//!
//! A crash is played on the files: everything that was acknowledged when it struck is kept as it was;
//! of the appends under way, any prefix, or any set of sectors, may have reached the disk.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use redkite_types::{CollectionId, Epoch, Lsn, ShardId};
use redkite_wal::{LocalLogs, Log, LogProvider, Record, WalSettings};

const SHARD: ShardId = ShardId { collection: CollectionId(1), ordinal: 0 };
/// Bytes of a mark, which a crash in mid-write leaves at the end or not.
const MARK: usize = 24;
/// Bytes of a file's header, durable before the file appears.
const HEADER: usize = 64;
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Step {
    /// Appends, each of some records of these sizes, called together and then awaited.
    Append(Vec<Vec<usize>>),
    /// Truncates this part of what there is.
    Truncate(f64),
    /// Closes or just drops the log, and opens it with a higher epoch or the same.
    Reopen { close: bool, raise: bool },
    /// Appends as above, but a crash strikes before the answer.
    Crash { appends: Vec<Vec<usize>>, damage: Damage },
}

/// What a crash leaves of an unsynced write.
#[derive(Clone, Debug)]
enum Damage {
    /// This part of it, from the beginning: the process died.
    Prefix(f64),
    /// Some sectors, and the rest as before or zero: the power failed.
    Sectors { kept: u64, mark: bool },
}

fn sizes() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let size = prop_oneof![4 => 1..60usize, 2 => 400..1300usize, 1 => 3000..9000usize];
    prop::collection::vec(prop::collection::vec(size, 1..4), 1..5)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let damage = prop_oneof![
        (0.0..=1.0).prop_map(Damage::Prefix),
        (any::<u64>(), any::<bool>()).prop_map(|(kept, mark)| Damage::Sectors { kept, mark }),
    ];
    let step = prop_oneof![
        4 => sizes().prop_map(Step::Append),
        2 => (0.0..=1.1).prop_map(Step::Truncate),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(close, raise)| Step::Reopen { close, raise }),
        3 => (sizes(), damage).prop_map(|(appends, damage)| Step::Crash { appends, damage }),
    ];
    prop::collection::vec(step, 1..20)
}

/// The log, and what must be in it.
struct World {
    directory: PathBuf,
    rotate_bytes: u64,
    epoch: u64,
    log: Arc<dyn Log>,
    /// Records from position 1 on.
    records: Vec<Vec<u8>>,
    /// Positions that may be forgotten.
    truncated: u64,
    /// Makes payloads differ.
    counter: u8,
}

async fn open(directory: &Path, rotate_bytes: u64, epoch: u64) -> Arc<dyn Log> {
    let settings = WalSettings { rotate_bytes, threads: 1, ..WalSettings::default() };
    let logs = LocalLogs::open(directory, settings).await.unwrap();
    logs.open(SHARD, Epoch(epoch)).await.unwrap_or_else(|error| panic!("{error}"))
}

impl World {
    async fn new(directory: &Path, rotate_bytes: u64) -> Self {
        let log = open(directory, rotate_bytes, 1).await;
        let directory = directory.to_owned();
        Self { directory, rotate_bytes, epoch: 1, log, records: Vec::new(), truncated: 0, counter: 0 }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append(sizes) => {
                let appended = self.append(sizes).await;
                self.records.extend(appended);
            }
            Step::Truncate(part) => {
                let through = (self.records.len() as f64 * part) as u64;
                self.log.truncate(Lsn(through)).await.unwrap();
                self.truncated = self.truncated.max(through.min(self.records.len() as u64));
            }
            Step::Reopen { close, raise } => {
                if close {
                    self.log.close().await.unwrap();
                }
                self.epoch += u64::from(raise);
                self.reopen().await;
            }
            Step::Crash { appends, damage } => self.crash(appends, &damage).await,
        }
        self.check().await;
    }

    async fn append(&mut self, sizes: Vec<Vec<usize>>) -> Vec<Vec<u8>> {
        let mut appended = Vec::new();
        let mut pending = Vec::new();
        for sizes in sizes {
            let mut records = Vec::new();
            for size in sizes {
                self.counter = self.counter.wrapping_add(1);
                // With zeros, so that payloads look like unwritten sectors, too.
                let byte = if self.counter.is_multiple_of(5) { 0 } else { self.counter };
                appended.push(vec![byte; size]);
                let half = size / 2;
                records.push(Record::new(vec![vec![byte; half].into(), vec![byte; size - half].into()]));
            }
            let append = self.log.append(records).unwrap();
            assert_eq!(append.last.0, (self.records.len() + appended.len()) as u64);
            pending.push(append);
        }
        for append in pending {
            append.await.unwrap();
        }
        appended
    }

    async fn reopen(&mut self) {
        self.log = open(&self.directory, self.rotate_bytes, self.epoch).await;
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let directory = fs::read_dir(self.directory.join(SHARD.to_string())).unwrap();
        let paths = directory.map(|entry| entry.unwrap().path());
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// Only one file is written by one group; keep the appends of a crash in one.
    async fn crash(&mut self, appends: Vec<Vec<usize>>, damage: &Damage) {
        let one = vec![appends.into_iter().flatten().collect()];
        let before = self.files();
        let under_way = self.append(one).await;
        let after = self.files();
        let (path, written) = after.last_key_value().unwrap();
        let synced = match before.get(path) {
            None => HEADER,
            // A fresh log has no mark yet.
            Some(old) if old.len() == HEADER => HEADER,
            Some(old) => end_of_frames(old, written),
        };
        let written = &written[..written.len() - MARK];
        let old = before.get(path).map_or(&written[..HEADER], Vec::as_slice);
        fs::write(path, strike(old, synced, written, damage)).unwrap();

        self.reopen().await;
        let survived = usize::try_from(self.log.last_lsn().0).unwrap();
        let acknowledged = self.records.len();
        assert!(survived >= acknowledged, "{survived} of {acknowledged} acknowledged records are left");
        assert!(survived <= acknowledged + under_way.len());
        self.records.extend(under_way.into_iter().take(survived - acknowledged));
    }

    async fn check(&self) {
        let log = &self.log;
        assert_eq!(log.last_lsn(), Lsn(self.records.len() as u64));
        let first = log.first_lsn();
        assert!(first.0 <= self.truncated + 1, "only what was truncated is gone");
        let entries = log.read(first).collect().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(entries.len() as u64, self.records.len() as u64 + 1 - first.0);
        for (position, entry) in (first.0..).zip(entries) {
            assert_eq!(entry.lsn, Lsn(position));
            assert!(entry.payload == self.records[position as usize - 1], "record {position}");
        }
    }
}

/// Where the frames of the old content end: it ends with them, or with a mark that was overwritten.
fn end_of_frames(old: &[u8], new: &[u8]) -> usize {
    let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    if same == old.len() { same } else { old.len() - MARK }
}

fn strike(old: &[u8], synced: usize, written: &[u8], damage: &Damage) -> Vec<u8> {
    match damage {
        Damage::Prefix(part) => {
            let kept = ((written.len() - synced) as f64 * part) as usize;
            written[..synced + kept].to_vec()
        }
        Damage::Sectors { kept, mark } => {
            let mut bytes = old[..if *mark { old.len() } else { synced }].to_vec();
            bytes.resize(written.len().max(bytes.len()), 0);
            let sectors = synced / SECTOR..written.len().div_ceil(SECTOR);
            for (bit, sector) in sectors.enumerate() {
                if kept & (1 << (bit % 64)) != 0 {
                    let range = sector * SECTOR..((sector + 1) * SECTOR).min(written.len());
                    bytes[range.clone()].copy_from_slice(&written[range]);
                }
            }
            bytes
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_vector(steps in steps(), rotate_bytes in prop_oneof![Just(300u64), Just(4000), Just(64 << 20)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut world = World::new(directory.path(), rotate_bytes).await;
            for step in steps {
                world.step(step).await;
            }
        });
    }
}
