//! How do entries lie in the redb file, and when is the file refused?

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{
    Builder, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};
use redkite_types::Revision;

use crate::kv::{KeyValue, KvError, LeaseId, RangeResult};

/// Version of the layout described by the table definitions and [`encode`].
const FORMAT: u64 = 1;

/// Key → header of 32 bytes (see [`encode`]) and value.
const CURRENT: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("current");
/// Key → lease, of keys under a lease.
const LEASED: TableDefinition<'static, &str, i64> = TableDefinition::new("leased");
/// `format`, `revision` (the last committed), `boot` (how often the store was opened).
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

const HEADER: usize = 32;

/// An open file.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    redb: redb::Database,
}

/// What opening found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    /// The last revision.
    pub(super) revision: Revision,
    /// How often the store was opened, with this time.
    pub(super) boot: u64,
}

/// A store opened again within one run.
pub(super) struct Reopened {
    pub(super) database: Database,
    /// The last revision.
    pub(super) revision: Revision,
    /// The keys under leases.
    pub(super) leased: Vec<(String, LeaseId)>,
}

/// The tables of one write transaction.
pub(super) struct Tables<'txn> {
    pub(super) current: Table<'txn, &'static str, &'static [u8]>,
    leased: Table<'txn, &'static str, i64>,
    meta: Table<'txn, &'static str, u64>,
}

impl Database {
    /// Opens or creates the file, and ends the leases of earlier runs.
    pub(super) fn open(path: &Path, cache: usize) -> Result<(Self, Opening), KvError> {
        // redb promises errors for files altered behind its back, but asserts in debug builds.
        catch_unwind(AssertUnwindSafe(|| Self::open_unguarded(path, cache))).unwrap_or_else(|panic| {
            Err(KvError::Corrupt { path: path.to_owned(), detail: panic_message(&*panic) })
        })
    }

    /// Opens the file again within one run: leases live on.
    pub(super) fn reopen(path: &Path, cache: usize) -> Result<Reopened, KvError> {
        let reopen = || {
            let redb = builder(cache).open(path).map_err(|error| open_error(path, error))?;
            let database = Self { path: path.to_owned(), redb };
            let (revision, leased) = database.guarded(|| {
                let snapshot = database.redb.begin_read()?;
                let revision = snapshot.open_table(META)?.get("revision")?.map_or(0, |found| found.value());
                let mut leased = Vec::new();
                for entry in snapshot.open_table(LEASED)?.iter()? {
                    let (key, lease) = entry?;
                    leased.push((key.value().to_owned(), LeaseId(lease.value())));
                }
                Ok((to_revision(revision), leased))
            })?;
            Ok(Reopened { database, revision, leased })
        };
        catch_unwind(AssertUnwindSafe(reopen)).unwrap_or_else(|panic| {
            Err(KvError::Corrupt { path: path.to_owned(), detail: panic_message(&*panic) })
        })
    }

    fn open_unguarded(path: &Path, cache: usize) -> Result<(Self, Opening), KvError> {
        let builder = builder(cache);
        let exists = path.try_exists().map_err(|error| storage(path, error))?;
        if !exists {
            create(path, &builder)?;
        } else if path.metadata().map_err(|error| storage(path, error))?.len() == 0 {
            // redb would begin a new store in it; but ours are never seen before they are complete.
            return Err(KvError::Corrupt { path: path.to_owned(), detail: "the file is empty".to_owned() });
        }
        let redb = builder.open(path).map_err(|error| open_error(path, error))?;
        Self::over(path, redb)
    }

    fn over(path: &Path, redb: redb::Database) -> Result<(Self, Opening), KvError> {
        let database = Self { path: path.to_owned(), redb };
        let opening = database.begin()?;
        Ok((database, opening))
    }

    /// Checks the format, counts the run and deletes keys under leases, in one transaction.
    fn begin(&self) -> Result<Opening, KvError> {
        let txn = self.write()?;
        let opening = {
            let mut tables = self.tables(&txn)?;
            let found = tables.meta("format").map_err(|error| self.error(error))?;
            if found != FORMAT {
                return Err(KvError::Format { path: self.path.clone(), found, supported: FORMAT });
            }
            tables.end_all_leases().map_err(|error| self.error(error))?
        };
        txn.commit().map_err(|error| self.error(error))?;
        Ok(opening)
    }

    pub(super) fn write(&self) -> Result<WriteTransaction, KvError> {
        self.redb.begin_write().map_err(|error| self.error(error))
    }

    pub(super) fn tables<'txn>(&self, txn: &'txn WriteTransaction) -> Result<Tables<'txn>, KvError> {
        Tables::open(txn).map_err(|error| self.error(error))
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<KeyValue>, KvError> {
        self.guarded(|| {
            let table = self.redb.begin_read()?.open_table(CURRENT)?;
            let found = table.get(key)?;
            found.map(|bytes| decode(key, bytes.value())).transpose()
        })
    }

    pub(super) fn range(&self, prefix: &str) -> Result<RangeResult, KvError> {
        self.guarded(|| {
            let snapshot = self.redb.begin_read()?;
            let revision = snapshot.open_table(META)?.get("revision")?.map_or(0, |found| found.value());
            let entries = entries_under(&snapshot.open_table(CURRENT)?, prefix)?;
            Ok(RangeResult { revision: to_revision(revision), entries })
        })
    }

    /// Runs a read; a panic of redb means that the file changed behind its back.
    fn guarded<T>(&self, read: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, KvError> {
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(result) => result.map_err(|error| self.error(error)),
            Err(panic) => Err(KvError::Corrupt { path: self.path.clone(), detail: panic_message(&*panic) }),
        }
    }

    pub(super) fn error(&self, error: impl Into<redb::Error>) -> KvError {
        match error.into() {
            redb::Error::Corrupted(detail) => KvError::Corrupt { path: self.path.clone(), detail },
            error => storage(&self.path, error),
        }
    }
}

impl<'txn> Tables<'txn> {
    fn open(txn: &'txn WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            current: txn.open_table(CURRENT)?,
            leased: txn.open_table(LEASED)?,
            meta: txn.open_table(META)?,
        })
    }

    fn meta(&self, name: &str) -> Result<u64, redb::Error> {
        Ok(self.meta.get(name)?.map_or(0, |found| found.value()))
    }

    pub(super) fn set_revision(&mut self, revision: i64) -> Result<(), redb::Error> {
        self.meta.insert("revision", u64::try_from(revision).expect("revisions count up from 1"))?;
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<KeyValue>, redb::Error> {
        self.current.get(key)?.map(|bytes| decode(key, bytes.value())).transpose()
    }

    pub(super) fn range(&self, prefix: &str) -> Result<Vec<KeyValue>, redb::Error> {
        entries_under(&self.current, prefix)
    }

    pub(super) fn keys(&self, prefix: &str) -> Result<Vec<String>, redb::Error> {
        let mut keys = Vec::new();
        for entry in self.current.range(prefix..)? {
            let (key, _) = entry?;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(key.value().to_owned());
        }
        Ok(keys)
    }

    pub(super) fn put(&mut self, entry: &KeyValue, was_leased: bool) -> Result<(), redb::Error> {
        let key = entry.key.as_str();
        let mut place = self.current.insert_reserve(key, HEADER + entry.value.len())?;
        encode(entry, place.as_mut());
        drop(place);
        match entry.lease {
            Some(lease) => drop(self.leased.insert(key, lease.0)?),
            None if was_leased => drop(self.leased.remove(key)?),
            None => {}
        }
        Ok(())
    }

    /// Deletes a key; returns what was there.
    pub(super) fn delete(&mut self, key: &str) -> Result<Option<KeyValue>, redb::Error> {
        let old = match self.current.remove(key)? {
            None => return Ok(None),
            Some(bytes) => decode(key, bytes.value())?,
        };
        if old.lease.is_some() {
            self.leased.remove(key)?;
        }
        Ok(Some(old))
    }

    fn end_all_leases(&mut self) -> Result<Opening, redb::Error> {
        let boot = self.meta("boot")? + 1;
        self.meta.insert("boot", boot)?;
        let mut leased = Vec::new();
        for entry in self.leased.iter()? {
            leased.push(entry?.0.value().to_owned());
        }
        let mut revision = self.meta("revision")?;
        if !leased.is_empty() {
            revision += 1;
            self.meta.insert("revision", revision)?;
        }
        for key in leased {
            self.delete(&key)?;
        }
        Ok(Opening { revision: to_revision(revision), boot })
    }
}

fn builder(cache: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache).set_check_integrity_on_open(true);
    builder
}

/// Makes a complete, empty store appear under `path` at once.
fn create(path: &Path, builder: &Builder) -> Result<(), KvError> {
    let error = |error: std::io::Error| storage(path, error);
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    std::fs::create_dir_all(directory).map_err(error)?;
    let unfinished = path.with_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(absent) if absent.kind() == std::io::ErrorKind::NotFound => {}
        other => other.map_err(error)?,
    }
    let redb = builder.create(&unfinished).map_err(|error| open_error(path, error))?;
    let initialise = || -> Result<(), redb::Error> {
        let txn = redb.begin_write()?;
        Tables::open(&txn)?.meta.insert("format", FORMAT)?;
        txn.commit()?;
        Ok(())
    };
    initialise().map_err(|error| storage(path, error))?;
    drop(redb);
    File::open(&unfinished).and_then(|file| file.sync_all()).map_err(error)?;
    std::fs::rename(&unfinished, path).map_err(error)?;
    let sync = |directory: &Path| File::open(directory).and_then(|directory| directory.sync_all());
    sync(directory).map_err(error)?;
    match directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync(parent).map_err(error),
        None => Ok(()),
    }
}

fn open_error(path: &Path, error: DatabaseError) -> KvError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => KvError::InUse { path },
        DatabaseError::Storage(StorageError::Corrupted(detail)) => KvError::Corrupt { path, detail },
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            KvError::Corrupt { path, detail: error.to_string() }
        }
        error => storage(&path, error),
    }
}

fn storage(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> KvError {
    let source = source.into();
    let disk_full = disk_full(&*source);
    KvError::Storage { path: path.to_owned(), source, maybe_applied: false, disk_full }
}

fn disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(redb::Error::Io(error)), _) | (_, Some(DatabaseError::Storage(StorageError::Io(error)))) => {
            Some(error)
        }
        _ => error.downcast_ref::<std::io::Error>(),
    };
    error.is_some_and(|error| {
        matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    })
}

/// What a caught panic said.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("database panicked").to_owned()
}

fn entries_under(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    prefix: &str,
) -> Result<Vec<KeyValue>, redb::Error> {
    let mut entries = Vec::new();
    for entry in table.range(prefix..)? {
        let (key, bytes) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(decode(key.value(), bytes.value())?);
    }
    Ok(entries)
}

/// Create revision, modification revision, version, lease (0 for none), each 8 bytes little-endian; value.
fn encode(entry: &KeyValue, place: &mut [u8]) {
    let (header, value) = place.split_at_mut(HEADER);
    header[0..8].copy_from_slice(&entry.create_revision.0.to_le_bytes());
    header[8..16].copy_from_slice(&entry.mod_revision.0.to_le_bytes());
    header[16..24].copy_from_slice(&entry.version.to_le_bytes());
    header[24..32].copy_from_slice(&entry.lease.map_or(0, |lease| lease.0).to_le_bytes());
    value.copy_from_slice(&entry.value);
}

fn decode(key: &str, bytes: &[u8]) -> Result<KeyValue, redb::Error> {
    let Some((header, value)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(redb::Error::Corrupted(format!("entry {key:?} has only {} bytes", bytes.len())));
    };
    let number =
        |at: usize| i64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes within the header"));
    Ok(KeyValue {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        create_revision: Revision(number(0)),
        mod_revision: Revision(number(8)),
        version: number(16).cast_unsigned(),
        lease: Some(LeaseId(number(24))).filter(|lease| lease.0 != 0),
    })
}

fn to_revision(stored: u64) -> Revision {
    Revision(i64::try_from(stored).unwrap_or(i64::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;

    /// A file on a disk that can be made to fail.
    #[derive(Debug)]
    struct FailingDisk {
        file: FileBackend,
        full: Arc<AtomicBool>,
    }

    impl FailingDisk {
        fn check(&self) -> std::io::Result<()> {
            match self.full.load(Ordering::SeqCst) {
                true => Err(std::io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for FailingDisk {
        fn len(&self) -> std::io::Result<u64> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.check()?;
            self.file.set_len(len)
        }

        fn sync_data(&self) -> std::io::Result<()> {
            self.check()?;
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.check()?;
            self.file.write(offset, data)
        }

        fn close(&self) -> std::io::Result<()> {
            self.file.close()
        }
    }

    /// Opens an existing store on a disk that is full while `full` says so.
    pub(in crate::kv::embedded) fn open_on_failing_disk(
        path: &Path,
        full: Arc<AtomicBool>,
    ) -> (Database, Opening) {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let disk = FailingDisk { file: FileBackend::new(file).unwrap(), full };
        let redb = Builder::new().create_with_backend(disk).unwrap();
        Database::over(path, redb).unwrap()
    }

    pub(in crate::kv::embedded) fn set_format(path: &Path, format: u64) {
        let redb = redb::Database::open(path).unwrap();
        let txn = redb.begin_write().unwrap();
        txn.open_table(META).unwrap().insert("format", format).unwrap();
        txn.commit().unwrap();
    }
}
