//! Where do new ids come from, without asking the metastore for each?
//!
//! `id/<name>` holds the first id that was not given out. An allocator takes a block with one
//! compare-and-set and hands it out from memory; what a crash leaves of a block is never used.

use std::sync::Arc;

use redkite_runtime::Clock;
use redkite_types::Timestamp;
use tokio::sync::Mutex;

use crate::kv::{Compare, Kv, KvError, Txn};

/// Ids taken at once, unless more are asked for.
const BLOCK: i64 = 1 << 16;

/// Hands out ids that no other allocator of the same name hands out, before or after. Each is larger
/// than all that this one, or any that was finished before it began, handed out.
///
/// Ids begin at the present time in the layout of timestamps: also those made after the metastore was
/// restored from a backup are new, if the clock is right.
#[derive(Debug)]
pub struct IdAllocator {
    kv: KvRef,
    key: String,
    clock: Arc<dyn Clock>,
    block: Mutex<Block>,
}

#[derive(Debug)]
struct Block {
    next: i64,
    end: i64,
}

struct KvRef(Arc<dyn Kv>);

impl std::fmt::Debug for KvRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kv")
    }
}

impl IdAllocator {
    /// An allocator of the sequence `name`; takes nothing yet.
    #[must_use]
    pub fn new(kv: Arc<dyn Kv>, name: &str, clock: Arc<dyn Clock>) -> Self {
        Self { kv: KvRef(kv), key: format!("id/{name}"), clock, block: Mutex::new(Block { next: 0, end: 0 }) }
    }

    /// A new id.
    ///
    /// # Errors
    /// If the metastore is needed and fails.
    pub async fn next(&self) -> Result<i64, KvError> {
        self.take(1).await
    }

    /// The first of `count` consecutive new ids, all for the caller.
    ///
    /// # Errors
    /// If the metastore is needed and fails.
    pub async fn take(&self, count: u32) -> Result<i64, KvError> {
        let count = i64::from(count);
        let mut block = self.block.lock().await;
        if block.end - block.next < count {
            *block = self.take_block(count.max(BLOCK)).await?;
        }
        let first = block.next;
        block.next += count;
        Ok(first)
    }

    async fn take_block(&self, count: i64) -> Result<Block, KvError> {
        let kv = &self.kv.0;
        let mut stored = kv.get(&self.key).await?;
        loop {
            let next = match &stored {
                None => 0,
                Some(entry) => self.parse(&entry.value)?,
            };
            let now = Timestamp::from_physical(self.clock.now_millis()).0;
            let first = next.max(i64::try_from(now).unwrap_or(0)).max(1);
            let end = first.checked_add(count).ok_or_else(|| self.bad("no ids are left"))?;
            let txn = Txn::new()
                .when(Compare::unchanged(&*self.key, stored.as_ref()))
                .put(&*self.key, end.to_string())
                .otherwise_get(&*self.key);
            // If the answer is lost, so is perhaps a block: the next call takes another.
            let outcome = kv.txn(txn).await?;
            if outcome.committed {
                return Ok(Block { next: first, end });
            }
            stored = outcome.into_read();
        }
    }

    fn parse(&self, value: &[u8]) -> Result<i64, KvError> {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.bad("not a decimal number"))
    }

    fn bad(&self, detail: &str) -> KvError {
        KvError::BadValue { key: self.key.clone(), detail: detail.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::future::try_join_all;
    use redkite_runtime::{ManualClock, Tasks};

    use super::*;
    use crate::kv::{EmbeddedKv, EmbeddedSettings};

    async fn store(directory: &tempfile::TempDir) -> Arc<EmbeddedKv> {
        let path = directory.path().join("metadata.redb");
        EmbeddedKv::open(&path, &EmbeddedSettings::default(), &Tasks::new("test")).await.unwrap()
    }

    #[tokio::test]
    async fn ids_are_unique_over_allocators_and_rise_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let kv = store(&directory).await;
        let clock = Arc::new(ManualClock::new(1_000));
        let allocators: Vec<_> =
            (0..4).map(|_| IdAllocator::new(kv.clone(), "test", clock.clone())).collect();
        let takes = (0..400).map(|n| allocators[n % 4].take(1 + (n as u32 % 5) * 9_000));
        let firsts = try_join_all(takes).await.unwrap();
        let mut ids: Vec<_> =
            firsts.iter().enumerate().map(|(n, first)| *first..first + 1 + (n as i64 % 5) * 9_000).collect();
        ids.sort_by_key(|range| range.start);
        assert!(ids.windows(2).all(|pair| pair[0].end <= pair[1].start), "no id twice");
        assert!(ids[0].start >= 1_000 << 18, "ids begin at the present time");
        let largest = ids.last().unwrap().end;
        kv.close().await;

        clock.set(0);
        let kv = store(&directory).await;
        let next = IdAllocator::new(kv, "test", clock).next().await.unwrap();
        assert!(next >= largest, "also when the clock steps back: {next} after {largest}");
    }

    #[tokio::test]
    async fn one_allocator_counts_without_gaps_within_a_block() {
        let directory = tempfile::tempdir().unwrap();
        let kv = store(&directory).await;
        let ids = IdAllocator::new(kv.clone(), "test", Arc::new(ManualClock::new(5)));
        let first = ids.next().await.unwrap();
        for n in 1..1000 {
            assert_eq!(ids.next().await.unwrap(), first + n);
        }
        assert_eq!(kv.get("id/test").await.unwrap().unwrap().version, 1, "one block was enough");
    }

    #[tokio::test]
    async fn a_damaged_counter_is_an_error_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let kv = store(&directory).await;
        kv.put("id/test".to_owned(), Bytes::from("many")).await.unwrap();
        let ids = IdAllocator::new(kv, "test", Arc::new(ManualClock::new(5)));
        let error = ids.next().await.unwrap_err();
        assert!(error.to_string().contains("id/test"), "{error}");
    }
}
