use std::fs;
use std::path::{Path, PathBuf};

use futures::future::{join_all, try_join_all};
use redkite_types::{CollectionId, Lsn};
use tempfile::TempDir;

use super::format::{FRAME_BYTES, HEADER_BYTES};
use super::*;
use crate::contract::{Harness, assert_log_contract};
use crate::{Entry, Record};

struct Local {
    root: TempDir,
    settings: WalSettings,
}

impl Local {
    fn new(rotate_bytes: u64) -> Self {
        let settings = WalSettings { rotate_bytes, ..WalSettings::default() };
        Self { root: tempfile::tempdir().unwrap(), settings }
    }

    fn root(&self) -> PathBuf {
        self.root.path().join("wal")
    }

    async fn open(&self) -> Result<Arc<dyn Log>, WalError> {
        self.provider().await.open(SHARD, Epoch(1)).await
    }

    fn files(&self) -> Vec<PathBuf> {
        let directory = fs::read_dir(self.root().join(SHARD.to_string())).unwrap();
        let mut files: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

#[async_trait]
impl Harness for Local {
    async fn provider(&self) -> Arc<dyn LogProvider> {
        LocalLogs::open(&self.root(), self.settings.clone()).await.unwrap()
    }
}

const SHARD: ShardId = ShardId { collection: CollectionId(449), ordinal: 3 };
const DEFAULT: u64 = 64 << 20;

async fn append(log: &dyn Log, payloads: &[&[u8]]) -> Lsn {
    let records = payloads.iter().map(|payload| Record::from(payload.to_vec())).collect();
    log.append(records).unwrap().await.unwrap()
}

async fn read(log: &dyn Log, from: u64) -> Result<Vec<Entry>, WalError> {
    log.read(Lsn(from)).collect().await
}

/// Opens and reads everything.
async fn recover(local: &Local) -> Result<Vec<Entry>, WalError> {
    let log = local.open().await?;
    read(&*log, log.first_lsn().0).await
}

fn end_of_records(bytes: &[u8]) -> usize {
    bytes.len() - FRAME_BYTES
}

#[tokio::test]
async fn keeps_the_contract() {
    assert_log_contract(&Local::new(DEFAULT)).await;
}

#[tokio::test]
async fn keeps_the_contract_with_a_file_for_almost_every_record() {
    assert_log_contract(&Local::new(100)).await;
}

/// One group each, so that the last record is told to be durable by nothing but the mark.
async fn three_records(local: &Local) -> (PathBuf, Vec<u8>) {
    let log = local.open().await.unwrap();
    append(&*log, &[b"alpha"]).await;
    append(&*log, &[b"beta", b"gamma"]).await;
    let file = local.files().pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    (file, bytes)
}

#[tokio::test]
async fn every_flipped_bit_is_refused_or_harmless() {
    let local = Local::new(DEFAULT);
    let (file, bytes) = three_records(&local).await;
    for bit in 0..bytes.len() * 8 {
        let (byte, mut damaged) = (bit / 8, bytes.clone());
        damaged[byte] ^= 1 << (bit % 8);
        fs::write(&file, &damaged).unwrap();
        match recover(&local).await {
            Ok(entries) => {
                assert!(byte >= end_of_records(&bytes), "bit {bit} was swallowed");
                assert_eq!(entries.len(), 3);
            }
            Err(WalError::Corrupt { file: named, offset, .. }) => {
                assert!(byte < end_of_records(&bytes), "bit {bit} of the mark was refused");
                assert_eq!(named, file);
                let near = offset as usize <= byte && byte < offset as usize + HEADER_BYTES;
                assert!(near, "damage at byte {byte} was reported at {offset}");
            }
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
}

#[tokio::test]
async fn every_flipped_byte_of_earlier_files_is_refused() {
    let local = Local::new(150);
    let log = local.open().await.unwrap();
    for _ in 0..6 {
        append(&*log, &[b"some payload", b"and another"]).await;
    }
    drop(log);
    let files = local.files();
    assert!(files.len() > 3);
    for file in &files[..files.len() - 1] {
        let bytes = fs::read(file).unwrap();
        // The mark at the end of an earlier file may be damaged, but not misread.
        for byte in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 0x10;
            fs::write(file, &damaged).unwrap();
            match recover(&local).await {
                Err(WalError::Corrupt { file: named, .. }) => assert_eq!(&named, file),
                Ok(entries) => {
                    assert!(byte >= end_of_records(&bytes), "byte {byte} was swallowed");
                    assert_eq!(entries.len(), 12);
                }
                Err(error) => panic!("byte {byte}: {error}"),
            }
        }
        fs::write(file, &bytes).unwrap();
    }
    assert_eq!(recover(&local).await.unwrap().len(), 12);
}

/// As a loss of power leaves them: the length of an ended file is on disk, its last mark is not.
#[tokio::test]
async fn an_ended_file_may_lack_its_mark() {
    let local = Local::new(100);
    let log = local.open().await.unwrap();
    for _ in 0..4 {
        append(&*log, &[b"some payload that fills a file"]).await;
    }
    drop(log);
    for file in &local.files()[..3] {
        let bytes = fs::read(file).unwrap();
        let mut torn = bytes[..end_of_records(&bytes)].to_vec();
        torn.resize(bytes.len().max(torn.len() + FRAME_BYTES), 0);
        fs::write(file, &torn).unwrap();
        assert_eq!(recover(&local).await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn missing_and_misplaced_files_are_refused() {
    let local = Local::new(100);
    let log = local.open().await.unwrap();
    for _ in 0..4 {
        append(&*log, &[b"some payload that fills a file"]).await;
    }
    drop(log);
    let files = local.files();
    let second = fs::read(&files[1]).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let error = recover(&local).await.unwrap_err();
    assert!(matches!(&error, WalError::Corrupt { file, .. } if *file == files[2]), "{error}");

    fs::write(&files[1], fs::read(&files[0]).unwrap()).unwrap();
    let error = recover(&local).await.unwrap_err();
    assert!(matches!(&error, WalError::Corrupt { file, offset: 0, .. } if *file == files[1]), "{error}");

    fs::write(&files[1], second).unwrap();
    let other = local.root().join("9-9");
    fs::rename(local.root().join(SHARD.to_string()), &other).unwrap();
    let shard = ShardId { collection: CollectionId(9), ordinal: 9 };
    let error = local.provider().await.open(shard, Epoch(1)).await.unwrap_err();
    assert!(error.to_string().contains("belongs to shard 449-3"), "{error}");
}

#[tokio::test]
async fn a_log_cut_anywhere_after_the_last_sync_keeps_what_was_acknowledged() {
    let local = Local::new(DEFAULT);
    let log = local.open().await.unwrap();
    append(&*log, &[b"alpha", b"beta"]).await;
    let file = local.files().pop().unwrap();
    let synced = end_of_records(&fs::read(&file).unwrap());
    append(&*log, &[b"gamma", b"delta, a little longer"]).await;
    drop(log);
    let bytes = fs::read(&file).unwrap();
    for cut in synced..=bytes.len() {
        fs::write(&file, &bytes[..cut]).unwrap();
        let entries = recover(&local).await.unwrap();
        let whole = if cut < synced + FRAME_BYTES + 5 { 2 } else { 3 };
        let whole = if cut < end_of_records(&bytes) { whole } else { 4 };
        assert_eq!(entries.len(), whole, "cut at {cut}");
        // What was cut off is cut off for good: the next record takes its place.
        let log = local.open().await.unwrap();
        assert_eq!(append(&*log, &[b"next"]).await, Lsn(whole as u64 + 1));
        drop(log);
        assert_eq!(recover(&local).await.unwrap().len(), whole + 1);
    }
}

/// Every combination of sectors of an unsynced group that a loss of power may have kept.
#[tokio::test]
async fn sectors_that_were_never_written_are_torn_not_corrupt() {
    for first in [1, 380, 424, 430, 440, 700] {
        let local = Local::new(DEFAULT);
        let log = local.open().await.unwrap();
        append(&*log, &[&vec![b'f'; first]]).await;
        let file = local.files().pop().unwrap();
        let before = fs::read(&file).unwrap();
        append(&*log, &[&[b'a'; 300], &[b'b'; 700], &[b'c'; 30]]).await;
        drop(log);
        let after = fs::read(&file).unwrap();
        let after = &after[..end_of_records(&after)];
        let begin = end_of_records(&before) / 512;
        let sectors = after.len().div_ceil(512) - begin;
        for kept in 0..1u32 << sectors {
            let mut bytes = before.clone();
            bytes.resize(after.len(), 0);
            for sector in (0..sectors).filter(|sector| kept & (1 << sector) != 0) {
                let range = (begin + sector) * 512..((begin + sector + 1) * 512).min(after.len());
                bytes[range.clone()].copy_from_slice(&after[range]);
            }
            fs::write(&file, &bytes).unwrap();
            let entries = recover(&local).await.unwrap_or_else(|error| panic!("{first} {kept:b}: {error}"));
            assert!(!entries.is_empty() && entries.len() <= 4, "{first} {kept:b}");
            assert_eq!(entries[0].payload.len(), first);
        }
    }
}

#[tokio::test]
async fn garbage_is_cut_off_only_where_nothing_can_have_been() {
    let local = Local::new(DEFAULT);
    let (file, bytes) = three_records(&local).await;
    let garbage: Vec<u8> = (1..200).collect();

    let behind_mark = [&bytes[..], &garbage].concat();
    fs::write(&file, behind_mark).unwrap();
    assert_eq!(recover(&local).await.unwrap().len(), 3);

    let end = end_of_records(&bytes);
    fs::write(&file, [&bytes[..end], &[0; 2000]].concat()).unwrap();
    assert_eq!(recover(&local).await.unwrap().len(), 3);

    fs::write(&file, [&bytes[..end], &garbage].concat()).unwrap();
    let error = recover(&local).await.unwrap_err();
    assert!(matches!(error, WalError::Corrupt { offset, .. } if offset == end as u64), "{error}");
}

#[tokio::test]
async fn a_clean_end_lets_no_damage_pass() {
    let local = Local::new(DEFAULT);
    let log = local.open().await.unwrap();
    append(&*log, &[b"only record"]).await;
    log.close().await.unwrap();
    let file = local.files().pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let range = HEADER_BYTES..end_of_records(&bytes);
    bytes[range].fill(0);
    fs::write(&file, &bytes).unwrap();
    let error = recover(&local).await.unwrap_err();
    assert!(matches!(error, WalError::Corrupt { offset: 64, .. }), "{error}");
}

/// Files of every released version must open for ever.
#[tokio::test]
async fn golden_files_open() {
    let hex = include_str!("../../tests/golden/v1.hex").trim();
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let local = Local::new(DEFAULT);
    fs::create_dir_all(local.root().join("449-3")).unwrap();
    fs::write(local.root().join("449-3/00000000000000000042.log"), bytes).unwrap();
    let error = local.open().await.unwrap_err();
    assert!(matches!(error, WalError::Fenced { current: Epoch(7), .. }), "{error}");
    let log = local.provider().await.open(SHARD, Epoch(7)).await.unwrap();
    let entries = read(&*log, 42).await.unwrap();
    assert_eq!(entries, [Entry { lsn: Lsn(42), payload: "payload".into() }]);
}

#[tokio::test]
async fn later_formats_are_refused() {
    let local = Local::new(DEFAULT);
    let (file, mut bytes) = three_records(&local).await;
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    let error = recover(&local).await.unwrap_err();
    assert!(matches!(error, WalError::Format { found: 2, supported: 1, .. }), "{error}");
}

#[tokio::test]
async fn truncation_frees_files_and_interruptions_leave_no_trash() {
    let local = Local::new(1000);
    let log = local.open().await.unwrap();
    for _ in 0..30 {
        append(&*log, &[&[b'x'; 200]]).await;
    }
    assert!(local.files().len() > 5);
    log.truncate(Lsn(15)).await.unwrap();
    assert!(log.first_lsn() > Lsn(10) && log.first_lsn() <= Lsn(16));
    assert_eq!(read(&*log, 16).await.unwrap().len(), 15);
    log.truncate(Lsn(30)).await.unwrap();
    assert_eq!(local.files().len(), 1);
    assert_eq!(fs::metadata(&local.files()[0]).unwrap().len(), HEADER_BYTES as u64);
    drop(log);

    fs::write(local.root().join("449-3/00000000000000000031.new"), b"unfinished").unwrap();
    let removed = local.root().join("7-0.removed");
    fs::create_dir(&removed).unwrap();
    fs::write(removed.join("x"), b"x").unwrap();
    let provider = local.provider().await;
    assert!(!removed.exists());
    assert_eq!(provider.list().await.unwrap(), [SHARD]);
    let log = provider.open(SHARD, Epoch(1)).await.unwrap();
    assert_eq!((local.files().len(), log.last_lsn()), (1, Lsn(30)));
}

#[tokio::test]
async fn a_reader_outlives_or_notices_truncation() {
    let local = Local::new(1000);
    let log = local.open().await.unwrap();
    for _ in 0..30 {
        append(&*log, &[&[b'x'; 200]]).await;
    }
    let late = log.read(Lsn(1));
    log.truncate(Lsn(20)).await.unwrap();
    let error = late.collect().await.unwrap_err();
    assert!(matches!(error, WalError::Truncated { requested: Lsn(1), .. }), "{error}");
}

#[tokio::test]
async fn hundreds_of_logs_share_the_threads() {
    let local = Local::new(DEFAULT);
    let provider = local.provider().await;
    let shards = (0..200).map(|collection| ShardId { collection: CollectionId(collection), ordinal: 0 });
    let logs = join_all(shards.map(|shard| provider.open(shard, Epoch(1)))).await;
    let logs: Vec<_> = logs.into_iter().map(Result::unwrap).collect();
    let appends = (0..5).flat_map(|n| {
        logs.iter().map(move |log| log.append(vec![Record::from(format!("record {n}"))]).unwrap())
    });
    try_join_all(appends.collect::<Vec<_>>()).await.unwrap();
    for log in &logs {
        assert_eq!(log.last_lsn(), Lsn(5));
    }
    assert_eq!(provider.list().await.unwrap().len(), 200);
}

#[tokio::test]
async fn unusable_directories_are_errors_with_their_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"x").unwrap();
    let error = LocalLogs::open(&file.join("wal"), WalSettings::default()).await.unwrap_err();
    assert!(error.to_string().contains(path_text(&file)), "{error}");
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Not a benchmark: shows what one writer gets, awaited one by one and pipelined.
#[tokio::test]
async fn appends_are_fast() {
    let local = Local::new(DEFAULT);
    let log = local.open().await.unwrap();
    let started = std::time::Instant::now();
    for _ in 0..500 {
        append(&*log, &[&[b'x'; 1000]]).await;
    }
    println!("500 appends of 1 kB one by one: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let payload = bytes::Bytes::from(vec![b'x'; 100_000]);
    let appends: Vec<_> =
        (0..2_000).map(|_| log.append(vec![Record::from(payload.clone())]).unwrap()).collect();
    try_join_all(appends).await.unwrap();
    println!("2,000 appends of 100 kB pipelined: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    drop(log);
    assert_eq!(recover(&local).await.unwrap().len(), 2_500);
    println!("recovery of 200 MB: {:?}", started.elapsed());
}
