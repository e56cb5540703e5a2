//! Which leases live, and until when?
//!
//! Only deadlines are kept here; which keys a lease holds is the committer's knowledge. A lease that
//! left this table is dead: the committer takes no put under it any more, and is asked to delete its keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_runtime::Stopping;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::committer::Request;
use crate::kv::{KvError, LeaseId};

#[derive(Debug)]
pub(super) struct Leases {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug)]
struct Table {
    next: i64,
    live: HashMap<LeaseId, Lease>,
    closed: bool,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
}

/// Bits of a lease id counted within one run of the store; the run is in the bits above.
const RUN_SHIFT: u32 = 32;

impl Leases {
    /// No leases yet. `boot` counts the runs of the store: ids of different runs never collide.
    pub(super) fn new(boot: u64) -> Self {
        let boot = i64::try_from(boot & 0x7fff_ffff).expect("31 bits fit");
        let table = Table { next: (boot << RUN_SHIFT) + 1, live: HashMap::new(), closed: false };
        Self { table: Mutex::new(table), changed: Notify::new() }
    }

    pub(super) fn grant(&self, ttl: Duration) -> Result<LeaseId, KvError> {
        let mut table = self.table.lock();
        if table.closed {
            return Err(KvError::Closed);
        }
        let id = LeaseId(table.next);
        table.next += 1;
        table.live.insert(id, Lease { ttl, deadline: Instant::now() + ttl });
        drop(table);
        self.changed.notify_one();
        Ok(id)
    }

    pub(super) fn keep_alive(&self, id: LeaseId) -> Result<Duration, KvError> {
        let mut table = self.table.lock();
        if table.closed {
            return Err(KvError::Closed);
        }
        let lease = table.live.get_mut(&id).ok_or(KvError::LeaseNotFound { lease: id })?;
        lease.deadline = Instant::now() + lease.ttl;
        Ok(lease.ttl)
    }

    pub(super) fn is_live(&self, id: LeaseId) -> bool {
        self.table.lock().live.contains_key(&id)
    }

    /// Takes a lease out; whoever does so has its keys deleted.
    pub(super) fn remove(&self, id: LeaseId) -> Result<(), KvError> {
        match self.table.lock().live.remove(&id) {
            Some(_) => Ok(()),
            None => Err(KvError::LeaseNotFound { lease: id }),
        }
    }

    pub(super) fn close(&self) {
        self.table.lock().closed = true;
        self.changed.notify_one();
    }

    fn closed(&self) -> bool {
        self.table.lock().closed
    }

    fn earliest(&self) -> Option<Instant> {
        self.table.lock().live.values().map(|lease| lease.deadline).min()
    }

    fn take_expired(&self) -> Vec<LeaseId> {
        let now = Instant::now();
        let mut table = self.table.lock();
        table.live.extract_if(|_, lease| lease.deadline <= now).map(|(id, _)| id).collect()
    }
}

/// Ends leases whose time has come, until the store closes.
pub(super) async fn expire(leases: Arc<Leases>, requests: mpsc::WeakSender<Request>, stopping: Stopping) {
    while !leases.closed() {
        let deadline = leases.earliest();
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stopping.wait() => return,
            () = leases.changed.notified() => {}
            () = due => {}
        }
        for lease in leases.take_expired() {
            let Some(requests) = requests.upgrade() else { return };
            tracing::info!(%lease, "lease expired");
            if requests.send(Request::EndLease { lease, reply: None }).await.is_err() {
                return;
            }
        }
    }
}
