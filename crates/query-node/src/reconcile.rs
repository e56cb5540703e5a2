//! Is what is held what should be held?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::{HeldRecord, HeldSegment, Record, SegmentRecord};
use redkite_cluster::kv::{LeaseId, Txn};
use redkite_runtime::{Backoff, Stopping};
use redkite_types::{CollectionId, SegmentId};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use crate::Environment;
use crate::check::{check, check_indexes};
use crate::error::{Error, Result};
use crate::holder::{Held, Holder, Place, Slot};
use crate::load::{attach_indexes, has_content, load};

/// Follows the desired placement.
pub(crate) struct Reconciler {
    environment: Environment,
    holder: Arc<Holder>,
    loads: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    /// What was last reported, by collection.
    reported: BTreeMap<CollectionId, HeldRecord>,
}

impl Reconciler {
    pub(crate) fn new(environment: Environment, holder: Arc<Holder>) -> Self {
        let loads = Arc::new(Semaphore::new(environment.settings.concurrent_loads.max(1)));
        let checks = Arc::new(Semaphore::new(1));
        Self { environment, holder, loads, checks, reported: BTreeMap::new() }
    }

    pub(crate) async fn run(mut self, stopping: Stopping) {
        let mut records = self.environment.view.changes();
        let mut slots = self.holder.changes();
        let mut lease = self.environment.lease.clone();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            slots.mark_unchanged();
            self.converge().await;
            let reported = self.report().await;
            let retry = async {
                match &reported {
                    Ok(()) => std::future::pending().await,
                    Err(_) => backoff.wait().await,
                }
            };
            tokio::select! {
                biased;
                () = stopping.wait() => return,
                // Before the others: they are ready more often.
                () = changed(lease.as_mut()) => self.reported.clear(),
                () = records.any() => {}
                // Never an error: the holder outlives its reconciler.
                _ = slots.changed() => {}
                () = retry => {}
            }
            match reported {
                Ok(()) => backoff.reset(),
                Err(error) => warn!(error = error.chain(), "held segments not reported, trying again"),
            }
        }
    }

    async fn converge(&self) {
        let wanted = wanted(&self.environment);
        for (segment, collection) in &wanted {
            if let Some(place) = self.holder.begin(*segment, *collection) {
                self.start_loading(place);
            }
        }
        for (segment, _, slot) in self.holder.slots() {
            if !wanted.contains_key(&segment) {
                info!(%segment, "segment released");
                self.holder.remove(segment);
            } else if let Slot::Ready(held) = slot {
                self.follow_indexes(&held).await;
            }
        }
    }

    fn start_loading(&self, place: Place) {
        let (environment, holder) = (self.environment.clone(), self.holder.clone());
        let (loads, checks) = (self.loads.clone(), self.checks.clone());
        self.environment.tasks.spawn("segment-load", move |stopping| async move {
            let loading = load_until_held(&environment, &holder, place, &loads);
            let Some(Some(held)) = stopping.race(loading).await else { return };
            let Some(Ok(_turn)) = stopping.race(checks.acquire()).await else { return };
            check(&environment, &holder, place, &held).await;
        });
    }

    /// Attaches indexes finished since, and forgets dropped ones.
    async fn follow_indexes(&self, held: &Arc<Held>) {
        let record = self.environment.view.read(|metadata| {
            metadata.segments.get(&(held.collection, held.segment.id())).map(|entry| entry.record.clone())
        });
        if let Some(record) = record
            && differs(&record, held)
            && attach_indexes(&self.environment, held, &record).await
        {
            let (environment, held, checks) = (self.environment.clone(), held.clone(), self.checks.clone());
            self.environment.tasks.spawn("index-check", move |stopping| async move {
                let Some(Ok(_turn)) = stopping.race(checks.acquire()).await else { return };
                check_indexes(&environment, &held).await;
            });
        }
    }

    /// Records what is held, as far as that has changed.
    async fn report(&mut self) -> Result<()> {
        let mut present: BTreeMap<CollectionId, HeldRecord> = BTreeMap::new();
        for (segment, collection, slot) in self.holder.slots() {
            let record = present.entry(collection).or_default();
            match slot {
                Slot::Opening => {}
                Slot::Ready(held) => {
                    record.segments.insert(segment, cost(&held));
                }
                Slot::Failed(reason) | Slot::Damaged(reason) => {
                    record.failures.insert(segment, reason);
                }
            }
        }
        self.measure(&present);
        let gone: Vec<CollectionId> =
            self.reported.keys().filter(|collection| !present.contains_key(collection)).copied().collect();
        for collection in gone {
            let key = HeldRecord::key(&(self.environment.node, collection));
            self.environment.kv.txn(Txn::new().delete(key)).await?;
            self.reported.remove(&collection);
        }
        let mut outcome = Ok(());
        for (collection, record) in present {
            if self.reported.get(&collection) == Some(&record) {
                continue;
            }
            let key = HeldRecord::key(&(self.environment.node, collection));
            let txn = match self.environment.lease.as_ref().map(|lease| *lease.borrow()) {
                Some(Some(lease)) => Txn::new().put_leased(key, record.encode(), lease),
                // Between two leases there is nothing to report under; the next one wakes the loop.
                Some(None) => return Ok(()),
                None => Txn::new().put(key, record.encode()),
            };
            match self.environment.kv.txn(txn).await {
                Ok(_) => {
                    self.reported.insert(collection, record);
                }
                // The others are not held up by one whose record is refused.
                Err(error) => outcome = outcome.and(Err(error.into())),
            }
        }
        outcome
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn measure(&self, present: &BTreeMap<CollectionId, HeldRecord>) {
        let held = || present.values().flat_map(|record| record.segments.values());
        metrics::gauge!("redkite_querynode_segments").set(held().count() as f64);
        let (resident, mapped) = held().fold((0, 0), |(resident, mapped), one| {
            (resident + one.resident_bytes, mapped + one.mapped_bytes)
        });
        metrics::gauge!("redkite_querynode_resident_bytes").set(resident as f64);
        metrics::gauge!("redkite_querynode_mapped_bytes").set(mapped as f64);
    }
}

/// Waits for another lease; for ever, if there is none to follow.
async fn changed(lease: Option<&mut watch::Receiver<Option<LeaseId>>>) {
    let followed = match lease {
        Some(lease) => lease.changed().await.is_ok(),
        None => false,
    };
    if !followed {
        std::future::pending::<()>().await;
    }
}

/// The segments this node should hold.
pub(crate) fn wanted(environment: &Environment) -> BTreeMap<SegmentId, CollectionId> {
    environment.view.read(|metadata| {
        let first = (environment.node, CollectionId(i64::MIN));
        let last = (environment.node, CollectionId(i64::MAX));
        let mine = metadata.holds.range(first..=last);
        mine.flat_map(|((_, collection), hold)| hold.segments.iter().map(|segment| (*segment, *collection)))
            .collect()
    })
}

/// Whether the finished indexes of a segment are others than the attached ones.
fn differs(record: &SegmentRecord, held: &Held) -> bool {
    let mut attached = held.segment.indexes();
    attached.sort_unstable();
    let finished = record.indexes.iter().filter(|(id, file)| has_content(file) && held.trusts(**id));
    !finished.map(|(id, _)| *id).eq(attached)
}

fn cost(held: &Held) -> HeldSegment {
    let footprint = held.segment.footprint();
    HeldSegment { resident_bytes: footprint.resident_bytes, mapped_bytes: footprint.mapped_bytes }
}

/// Tries until the segment is held or no longer wanted.
async fn load_until_held(
    environment: &Environment,
    holder: &Holder,
    place: Place,
    loads: &Semaphore,
) -> Option<Arc<Held>> {
    let segment = place.segment;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    while holder.wants(place) {
        // Given back before the pause: what cannot be loaded must not keep others from it.
        let turn = loads.acquire().await.ok()?;
        let loaded = load(environment, holder, place).await;
        drop(turn);
        match loaded {
            Ok(Some(held)) => {
                info!(%segment, rows = held.segment.rows(), "segment held");
                holder.set(place, Slot::Ready(held.clone()));
                return Some(held);
            }
            Ok(None) => return None,
            Err(error) => {
                let reason = match &error {
                    Error::Service(_) | Error::NoSegment { .. } => None,
                    error => Some(error.chain()),
                };
                warn!(%segment, error = error.chain(), "segment not opened, trying again");
                if let Some(reason) = reason {
                    holder.set(place, Slot::Failed(reason));
                }
            }
        }
        backoff.wait().await;
    }
    None
}
