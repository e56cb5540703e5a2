//! What a leader has in memory: growing rows, sealed rows that are not served elsewhere yet, deletes.
//!
//! Everything is behind one lock that is held for moments. Only the shard's writer adds rows and seals;
//! readers take shared pointers and a read timestamp together, and see nothing after that timestamp.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use redkite_catalog::AppliedWrites;
use redkite_segment::GrowingSegment;
use redkite_service::Error as ServiceError;
use redkite_types::{Lsn, PartitionId, ProxyRun, Revision, SegmentId, Timestamp};
use tokio::time::Instant;

use super::deletes::DeleteBuffer;
use super::feed::Feeds;
use super::route::{InMemory, Route, unknown};

/// Rows of one partition that become a segment file.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) id: SegmentId,
    pub(crate) partition: PartitionId,
    pub(crate) rows: Arc<GrowingSegment>,
    /// The revision that recorded it; 0 before.
    recorded: AtomicI64,
}

impl Sealing {
    pub(crate) fn new(id: SegmentId, partition: PartitionId, rows: Arc<GrowingSegment>) -> Self {
        Self { id, partition, rows, recorded: AtomicI64::new(0) }
    }

    /// The revision that recorded it, or that there is nothing to record.
    pub(crate) fn recorded(&self) -> Option<Revision> {
        let revision = self.recorded.load(Ordering::SeqCst);
        (revision != 0).then_some(Revision(revision))
    }

    pub(crate) fn set_recorded(&self, revision: Revision) {
        self.recorded.store(revision.0, Ordering::SeqCst);
    }
}

/// Everything written up to one position of the log, to be made files together.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) lsn: Lsn,
    pub(crate) timestamp: Timestamp,
    pub(crate) segments: Vec<Arc<Sealing>>,
    /// Which of the writes may be sent again.
    pub(crate) writes: BTreeMap<ProxyRun, AppliedWrites>,
}

/// The memory of a leader.
#[derive(Debug)]
pub(crate) struct State {
    /// Rows that can still be added to.
    pub(crate) growing: BTreeMap<PartitionId, Arc<GrowingSegment>>,
    /// In the order they were sealed; those of `generations` and those no view serves yet.
    pub(crate) sealing: Vec<Arc<Sealing>>,
    /// Not yet in files, oldest first.
    pub(crate) generations: VecDeque<Arc<Generation>>,
    pub(crate) deletes: DeleteBuffer,
    /// Deletes up to here are in recorded files, or concern no file.
    pub(crate) deletes_in_files: Timestamp,
    pub(crate) feeds: Feeds,
    pub(crate) route: Arc<Route>,
    /// The last applied write.
    pub(crate) lsn: Lsn,
    /// Its timestamp.
    pub(crate) applied: Timestamp,
    /// What readers see: every write up to here has been applied, or never will be by this leader.
    pub(crate) read: Timestamp,
    /// The last write on its way to the log.
    pub(crate) stamped: Timestamp,
    /// Position and timestamp of the recorded checkpoint.
    pub(crate) checkpoint: (Lsn, Timestamp),
    /// Bytes of log records since the last sealing.
    pub(crate) open_bytes: usize,
    pub(crate) last_write: Instant,
    pub(crate) flushing: bool,
    /// Why the last try of a flush failed.
    pub(crate) flush_failure: Option<String>,
    /// Why no write is taken any more.
    pub(crate) failure: Option<ServiceError>,
}

impl State {
    /// A shard whose files reach up to a checkpoint.
    pub(crate) fn at(lsn: Lsn, timestamp: Timestamp) -> Self {
        let mut deletes = DeleteBuffer::default();
        deletes.advance(timestamp);
        Self {
            growing: BTreeMap::new(),
            sealing: Vec::new(),
            generations: VecDeque::new(),
            deletes,
            deletes_in_files: timestamp,
            feeds: Feeds::default(),
            route: unknown(),
            lsn,
            applied: timestamp,
            read: timestamp,
            stamped: timestamp,
            checkpoint: (lsn, timestamp),
            open_bytes: 0,
            last_write: Instant::now(),
            flushing: false,
            flush_failure: None,
            failure: None,
        }
    }

    /// Whether anything was written since the last sealing.
    pub(crate) fn is_open(&self) -> bool {
        let (sealed, _) = self.sealed_up_to();
        self.lsn > sealed
    }

    /// Position and timestamp up to which everything is sealed.
    pub(crate) fn sealed_up_to(&self) -> (Lsn, Timestamp) {
        self.generations.back().map_or(self.checkpoint, |last| (last.lsn, last.timestamp))
    }

    /// Bytes that are only in the log and in memory.
    pub(crate) fn unsealed_bytes(&self) -> usize {
        self.open_bytes
            + self.deletes.bytes()
            + self.sealing.iter().map(|sealing| sealing.rows.bytes()).sum::<usize>()
    }

    /// The sealed segments in memory; which of them the metadata at `revision` must have had.
    pub(crate) fn in_memory(&self, revision: Revision) -> InMemory {
        let known = |sealing: &Arc<Sealing>| sealing.recorded().is_some_and(|recorded| recorded <= revision);
        self.sealing.iter().map(|sealing| (sealing.id, known(sealing))).collect()
    }

    /// Takes a new route and lets go of what others serve now; more of it if memory is short.
    pub(crate) fn install(&mut self, mut route: Route, revision: Revision, short: bool) {
        self.feeds.keep(&route.receivers, self.deletes_in_files);
        if let Some(collection) = route.collection.as_ref() {
            self.growing.retain(|partition, _| collection.partition_by_id(*partition).is_some());
        }
        self.sealing.retain(|sealing| {
            if route.collection.is_some() && !route.has_partition(sealing.partition) {
                return false;
            }
            let recorded = sealing.recorded().is_some_and(|recorded| recorded <= revision);
            let unwanted = recorded && !route.wants(sealing.partition);
            let superseded = route.supersedes(sealing.id, short);
            if superseded {
                route.let_go(sealing.id, sealing.partition);
            }
            !unwanted && !superseded
        });
        self.route = Arc::new(route);
    }

    /// Forgets the deletes that are in files, except what a query node still waits for.
    pub(crate) fn trim_deletes(&mut self) {
        let through =
            self.feeds.behind().map_or(self.deletes_in_files, |behind| behind.min(self.deletes_in_files));
        self.deletes.trim(through);
    }
}
