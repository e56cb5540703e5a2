//! An object store in memory whose answers are late, lost or wrong, and whose clients can be frozen and killed.

#![allow(dead_code, reason = "every test uses a part")]

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redkite_runtime::Tasks;
use redkite_storage::{Error, LocalObject, ObjectEntry, ObjectStore, ObjectWriter, Result};
use tokio::sync::watch;

/// The objects. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

/// What goes wrong on the way to the bucket and back.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    /// Milliseconds that a request takes, and again its answer.
    pub(crate) latency: Range<u64>,
    /// Part of the requests that fail before they do anything.
    pub(crate) fail: f64,
    /// Part of the requests that are done, but whose answer is lost.
    pub(crate) lose: f64,
    /// Part of the creates that are reported as failed long before they are done.
    pub(crate) late: f64,
}

impl Faults {
    pub(crate) const NONE: Self = Self { latency: 0..1, fail: 0.0, lose: 0.0, late: 0.0 };
    pub(crate) const MANY: Self = Self { latency: 1..60, fail: 0.1, lose: 0.1, late: 0.05 };
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Running,
    Frozen,
    Dead,
}

/// How one process sees the bucket.
#[derive(Debug)]
pub(crate) struct Client {
    bucket: Bucket,
    faults: Faults,
    chance: Mutex<SmallRng>,
    life: watch::Sender<Life>,
    steps: AtomicU64,
    freeze_at: AtomicU64,
    broken: AtomicBool,
    under_way: AtomicUsize,
    /// Most requests under way at the same time.
    pub(crate) most_at_once: AtomicUsize,
    tasks: Tasks,
}

impl Bucket {
    pub(crate) fn client(&self, faults: Faults, seed: u64) -> Arc<Client> {
        Arc::new(Client {
            bucket: self.clone(),
            faults,
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
            life: watch::Sender::new(Life::Running),
            steps: AtomicU64::new(0),
            freeze_at: AtomicU64::new(u64::MAX),
            broken: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            tasks: Tasks::new("test"),
        })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        let mut objects = self.objects.lock();
        if objects.contains_key(path) {
            return Err(Error::AlreadyExists { path: path.to_owned() });
        }
        objects.insert(path.to_owned(), bytes);
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Bytes> {
        self.objects.lock().get(path).cloned().ok_or_else(|| Error::NotFound { path: path.to_owned() })
    }
}

impl Client {
    /// The process stops at its `step`th step from now: between a call and its effect, or that and its answer.
    pub(crate) fn freeze_at(&self, step: u64) {
        self.freeze_at.store(self.steps.load(Ordering::SeqCst) + step, Ordering::SeqCst);
    }

    pub(crate) fn freeze(&self) {
        self.life.send_replace(Life::Frozen);
    }

    /// Waits until it has stopped.
    pub(crate) async fn frozen(&self) {
        self.life.subscribe().wait_for(|life| *life == Life::Frozen).await.expect("the sender is here");
    }

    pub(crate) fn resume(&self) {
        self.freeze_at.store(u64::MAX, Ordering::SeqCst);
        self.life.send_replace(Life::Running);
    }

    /// The process dies: no call ever returns. What is on its way may still arrive.
    pub(crate) fn kill(&self) {
        self.life.send_replace(Life::Dead);
    }

    /// From now on, every request fails before it does anything.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    async fn step(&self) {
        if self.steps.fetch_add(1, Ordering::SeqCst) + 1 == self.freeze_at.load(Ordering::SeqCst) {
            self.freeze();
        }
        let mut life = self.life.subscribe();
        life.wait_for(|life| *life == Life::Running).await.expect("the sender is here");
    }

    fn draw(&self, part: f64) -> bool {
        self.chance.lock().random_bool(part)
    }

    async fn travel(&self) {
        let millis = self.chance.lock().random_range(self.faults.latency.clone());
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn call<T>(&self, path: &str, work: impl FnOnce(&Bucket) -> Result<T>) -> Result<T> {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let answer = self.answer(path, work).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn answer<T>(&self, path: &str, work: impl FnOnce(&Bucket) -> Result<T>) -> Result<T> {
        self.travel().await;
        self.step().await;
        if self.broken.load(Ordering::SeqCst) || self.draw(self.faults.fail) {
            return Err(broken("connect", path));
        }
        let result = work(&self.bucket);
        self.travel().await;
        self.step().await;
        if self.draw(self.faults.lose) { Err(broken("read answer", path)) } else { result }
    }

    fn page(&self, prefix: &str, after: Option<&str>) -> Vec<ObjectEntry> {
        let objects = self.bucket.objects.lock();
        let matching = objects.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        let unseen = matching.filter(|(path, _)| after.is_none_or(|after| path.as_str() > after));
        let entry = |(path, bytes): (&String, &Bytes)| {
            let size = bytes.len() as u64;
            ObjectEntry { path: path.clone(), size, modified_millis: 0 }
        };
        unseen.take(PAGE).map(entry).collect()
    }
}

/// Objects that a listing shows of one moment.
const PAGE: usize = 7;

fn broken(operation: &'static str, path: &str) -> Error {
    Error::Io { operation, path: path.to_owned(), source: io::ErrorKind::ConnectionReset.into() }
}

fn lost(path: &str) -> Error {
    Error::Unknown { path: path.to_owned(), source: "the answer was lost".into() }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.call(path, |bucket| {
            bucket.objects.lock().insert(path.to_owned(), bytes);
            Ok(())
        })
        .await
    }

    async fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        if self.draw(self.faults.late) {
            self.step().await;
            let (bucket, path) = (self.bucket.clone(), path.to_owned());
            let delay = Duration::from_millis(self.chance.lock().random_range(0..2000));
            let answer = lost(&path);
            self.tasks.spawn("late", |_| async move {
                tokio::time::sleep(delay).await;
                // Whether it won, nobody is told.
                let _ = bucket.create(&path, bytes);
            });
            self.travel().await;
            self.step().await;
            return Err(answer);
        }
        let outcome = self.call(path, |bucket| Ok(bucket.create(path, bytes))).await;
        match outcome {
            Ok(result) => result,
            Err(Error::Io { operation: "connect", path, .. }) => Err(broken("connect", &path)),
            Err(_) => Err(lost(path)),
        }
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        self.call(path, |bucket| bucket.get(path)).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        self.call(path, |bucket| {
            let bytes = bucket.get(path)?;
            let size = bytes.len() as u64;
            if range.end > size {
                return Err(Error::OutOfRange {
                    path: path.to_owned(),
                    start: range.start,
                    end: range.end,
                    size,
                });
            }
            Ok(bytes.slice(range.start as usize..range.end as usize))
        })
        .await
    }

    /// In pages, which show different moments, as those of buckets do.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let mut listed = self.call(prefix, |_| Ok(self.page(prefix, None))).await?;
        let mut page = listed.len();
        while page == PAGE {
            self.travel().await;
            self.step().await;
            let after = listed.last().map(|entry| entry.path.clone());
            let next = self.page(prefix, after.as_deref());
            page = next.len();
            listed.extend(next);
        }
        Ok(listed)
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.call(path, |bucket| {
            bucket.objects.lock().remove(path);
            Ok(())
        })
        .await
    }

    async fn local(&self, path: &str) -> Result<LocalObject> {
        Err(unsupported("local", path))
    }

    async fn writer(&self, path: &str) -> Result<ObjectWriter> {
        Err(unsupported("writer", path))
    }

    async fn publish(&self, writer: ObjectWriter) -> Result<u64> {
        Err(unsupported("publish", writer.object()))
    }
}

fn unsupported(operation: &'static str, path: &str) -> Error {
    Error::Io { operation, path: path.to_owned(), source: io::ErrorKind::Unsupported.into() }
}

/// A number from the environment, or one of a default.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
