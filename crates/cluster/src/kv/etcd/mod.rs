//! How does a cluster of processes share one metastore that keeps the laws of [`Kv`]? Real etcd, 3.4 or later.
//!
//! `client` brings calls to some member within their deadline and says of failed ones whether they may
//! have been applied; `connect` holds the connections, `login` the token, `failure` knows etcd's errors,
//! `convert` its notation. `watch` follows changes over lost connections; `feed` is one of its streams,
//! `inquiry` tells silence from delay.

mod client;
mod connect;
mod convert;
mod failure;
mod feed;
mod inquiry;
mod login;
mod settings;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use redkite_proto::etcd as pb;
use redkite_proto::etcd::kv_client::KvClient;
use redkite_proto::etcd::lease_client::LeaseClient;
use redkite_proto::etcd::maintenance_client::MaintenanceClient;
use redkite_types::Revision;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub use settings::{EtcdAuth, EtcdSettings, EtcdSsl, TlsVersion};

use super::{KeyValue, Kv, KvError, LeaseId, Op, RangeResult, Txn, TxnOutcome, Watch};
use client::{Client, Effect, LARGEST_ANSWER};
use convert::{KeyRange, Keys};
use failure::{Answer, Failed};

/// Entries asked for first, when their size is not known yet.
const FIRST_PAGE: i64 = 256;
/// Bytes wanted in a page.
const PAGE_BYTES: i64 = 4 << 20;
const LARGEST_PAGE: i64 = 10_000;
/// A listing during which history was compacted away so often is given up.
const LISTINGS: usize = 5;

/// A metastore in etcd. Connects when first used, and again whenever it has to.
#[derive(Debug)]
pub struct EtcdKv {
    client: Arc<Client>,
    keys: Keys,
}

impl EtcdKv {
    /// A store of the keys that begin with `prefix` (such as `by-dev/meta/`), which callers neither see
    /// nor say. Does not connect yet, so that it succeeds also while etcd is down.
    ///
    /// # Errors
    /// [`KvError::Settings`] if the settings cannot be used.
    pub fn new(settings: &EtcdSettings, prefix: &str) -> Result<Arc<Self>, KvError> {
        Ok(Arc::new(Self { client: Arc::new(Client::new(settings)?), keys: Keys::new(prefix) }))
    }

    /// The version of the member that answers, such as `3.4.23`: whether etcd can be reached.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn version(&self) -> Result<String, KvError> {
        let status =
            |channel: Channel, request| async move { MaintenanceClient::new(channel).status(request).await };
        Ok(self.client.call("status", Effect::None, pb::StatusRequest {}, status).await?.version)
    }

    /// Forgets the history of the whole store up to and including `through`: watches from there are
    /// refused as compacted. Usually left to etcd itself (`--auto-compaction-retention`).
    ///
    /// # Errors
    /// If etcd fails, or is not there yet.
    pub async fn compact(&self, through: Revision) -> Result<(), KvError> {
        let request = pb::CompactionRequest { revision: through.0, physical: false };
        let compact =
            |channel: Channel, request| async move { KvClient::new(channel).compact(request).await };
        match self.client.call("compact", Effect::Repeatable, request, compact).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.is(Answer::Compacted) => Ok(()),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn read(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Failed> {
        let range = |channel: Channel, request| async move {
            let mut client = KvClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
            client.range(request).await
        };
        self.client.call("range", Effect::None, request, range).await
    }

    /// Lists page by page, all at the revision of the first.
    async fn list(&self, range: &KeyRange) -> Result<RangeResult, Failed> {
        let mut entries = Vec::new();
        let mut request = pb::RangeRequest {
            key: range.key.clone(),
            range_end: range.end.clone(),
            limit: FIRST_PAGE,
            ..pb::RangeRequest::default()
        };
        loop {
            let page = self.read(request.clone()).await?;
            if request.revision == 0 {
                request.revision = page.header.map_or(0, |header| header.revision);
            }
            if let Some(last) = page.kvs.last() {
                // The smallest key after it.
                request.key = [&last.key[..], &[0]].concat().into();
                request.limit = next_page(&page.kvs);
            }
            let more = page.more && !page.kvs.is_empty();
            entries.extend(self.keys.entries(page.kvs));
            if !more {
                return Ok(RangeResult { revision: Revision(request.revision), entries });
            }
        }
    }

    /// The lease because of which a transaction was refused.
    async fn missing_lease(&self, txn: &Txn) -> LeaseId {
        let mut leases: Vec<_> = txn.then.iter().filter_map(named_lease).collect();
        leases.sort_unstable();
        leases.dedup();
        let last = leases.pop().unwrap_or(LeaseId(0));
        for lease in leases {
            let request = pb::LeaseTimeToLiveRequest { id: lease.0 };
            let ask = |channel: Channel, request| async move {
                LeaseClient::new(channel).lease_time_to_live(request).await
            };
            if self.client.call("lease", Effect::None, request, ask).await.is_ok_and(|answer| answer.ttl < 0)
            {
                return lease;
            }
        }
        last
    }
}

fn named_lease(op: &Op) -> Option<LeaseId> {
    if let Op::Put { lease, .. } = op { *lease } else { None }
}

/// How many entries to ask for, so that the next page has the size wanted if entries stay as large.
fn next_page(page: &[pb::KeyValue]) -> i64 {
    let bytes: usize = page.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
    let (bytes, count) = (i64::try_from(bytes).unwrap_or(i64::MAX), i64::try_from(page.len()).unwrap_or(1));
    (PAGE_BYTES / (bytes / count.max(1)).max(1)).clamp(1, LARGEST_PAGE)
}

#[async_trait]
impl Kv for EtcdKv {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, KvError> {
        if key.is_empty() {
            return Ok(None);
        }
        let request = pb::RangeRequest { key: self.keys.key(key), ..pb::RangeRequest::default() };
        Ok(self.keys.entries(self.read(request).await?.kvs).next())
    }

    async fn range(&self, prefix: &str) -> Result<RangeResult, KvError> {
        let range = self.keys.range(prefix);
        let mut listings = 1;
        loop {
            match self.list(&range).await {
                Err(failed) if failed.is(Answer::Compacted) && listings < LISTINGS => listings += 1,
                Err(Failed::Answer(Answer::Compacted, failure)) => {
                    return Err(KvError::Unavailable { source: failure.to_string().into() });
                }
                listed => return Ok(listed?),
            }
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, KvError> {
        txn.check()?;
        let request = self.keys.txn(&txn);
        let effect = if txn.then.is_empty() { Effect::None } else { Effect::Once };
        let send = |channel: Channel, request| async move {
            let mut client = KvClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
            client.txn(request).await
        };
        match self.client.call("txn", effect, request, send).await {
            Ok(answer) => Ok(self.keys.outcome(answer, txn.otherwise.len())),
            Err(failed) if failed.is(Answer::LeaseNotFound) => {
                Err(KvError::LeaseNotFound { lease: self.missing_lease(&txn).await })
            }
            Err(failed) => Err(failed.into()),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, KvError> {
        watch::start(self.client.clone(), self.keys.clone(), prefix, from).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, KvError> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let ttl = seconds.saturating_add(i64::from(ttl.subsec_nanos() > 0)).max(1);
        let request = pb::LeaseGrantRequest { ttl, id: 0 };
        let grant =
            |channel: Channel, request| async move { LeaseClient::new(channel).lease_grant(request).await };
        // A lease whose grant nobody heard of ends by itself, without ever having had a key.
        let answer = self.client.call("grant", Effect::None, request, grant).await?;
        Ok(LeaseId(answer.id))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        let request = pb::LeaseKeepAliveRequest { id: lease.0 };
        let answer = self.client.call("keep-alive", Effect::None, request, keep_alive_once).await?;
        match u64::try_from(answer.ttl) {
            Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
            _ => Err(KvError::LeaseNotFound { lease }),
        }
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), KvError> {
        let request = pb::LeaseRevokeRequest { id: lease.0 };
        let sent = std::sync::atomic::AtomicUsize::new(0);
        let revoke = |channel: Channel, request| {
            sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { LeaseClient::new(channel).lease_revoke(request).await }
        };
        match self.client.call("revoke", Effect::Repeatable, request, revoke).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.is(Answer::LeaseNotFound) => {
                // After a lost answer it is gone because of us, as far as anybody can tell.
                if sent.into_inner() > 1 { Ok(()) } else { Err(KvError::LeaseNotFound { lease }) }
            }
            Err(failed) => Err(failed.into()),
        }
    }
}

/// One keep-alive on a stream of its own, so that it has a deadline like any call.
async fn keep_alive_once(
    channel: Channel,
    request: Request<pb::LeaseKeepAliveRequest>,
) -> Result<Response<pb::LeaseKeepAliveResponse>, Status> {
    let (metadata, extensions, message) = request.into_parts();
    // Open until the answer is here: a stream that is closed may count as given up.
    let once = futures::stream::iter([message]).chain(futures::stream::pending());
    let request = Request::from_parts(metadata, extensions, once);
    let mut answers = LeaseClient::new(channel).lease_keep_alive(request).await?.into_inner();
    let answer = answers.message().await?;
    answer.map(Response::new).ok_or_else(|| Status::unavailable("stream ended without an answer"))
}
