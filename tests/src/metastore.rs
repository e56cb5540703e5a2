//! What etcd itself says: who is active, what changed since when. Nothing here goes through the product.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use redkite_proto::etcd::event::EventType;
use redkite_proto::etcd::kv_client::KvClient;
use redkite_proto::etcd::request_op::Request;
use redkite_proto::etcd::watch_client::WatchClient;
use redkite_proto::etcd::watch_request::RequestUnion;
use redkite_proto::etcd::{
    KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
};
use tonic::transport::{Channel, Endpoint};

/// What all keys begin with by default.
const ROOT: &str = "by-dev/meta/";
/// A loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The coordinators.
pub const COORDINATORS: [&str; 3] = ["rootcoord", "datacoord", "querycoord"];

/// A connection to one member of etcd.
#[derive(Clone, Debug)]
pub struct Metastore {
    channel: Channel,
}

/// An entry, its key without the common beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// When it was created.
    pub created: i64,
    /// When it was last written.
    pub modified: i64,
    /// The lease it stands under; 0: none.
    pub lease: i64,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub revision: i64,
    /// What was put; `None`: it was deleted.
    pub put: Option<Entry>,
    /// The key.
    pub key: String,
}

/// The coordinator that is active, as its key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Id of its process.
    pub node: i64,
    /// Where it is called.
    pub address: String,
    /// Since when: fences all writes.
    pub revision: i64,
}

impl Metastore {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self { channel: endpoint.connect().await.context("etcd")? })
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// All entries whose key begins so, and the revision at which that was so.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn range(&self, prefix: &str) -> anyhow::Result<(i64, Vec<Entry>)> {
        let key = format!("{ROOT}{prefix}").into_bytes();
        let request = RangeRequest { range_end: after(&key).into(), key: key.into(), ..Default::default() };
        let answer = self.kv().range(request).await?.into_inner();
        let revision = answer.header.context("an answer without header")?.revision;
        Ok((revision, answer.kvs.into_iter().filter_map(entry).collect()))
    }

    /// One entry.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Entry>> {
        let key = format!("{ROOT}{key}").into_bytes();
        let answer = self.kv().range(RangeRequest { key: key.into(), ..Default::default() }).await?;
        Ok(answer.into_inner().kvs.into_iter().find_map(entry))
    }

    /// Writes entries in one transaction.
    ///
    /// # Errors
    /// If etcd refuses.
    pub async fn put(&self, entries: Vec<(String, Vec<u8>)>) -> anyhow::Result<i64> {
        let put = |(key, value): (String, Vec<u8>)| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: format!("{ROOT}{key}").into_bytes().into(),
                value: value.into(),
                lease: 0,
            })),
        };
        let success = entries.into_iter().map(put).collect();
        let answer = self.kv().txn(TxnRequest { success, ..Default::default() }).await?.into_inner();
        Ok(answer.header.context("an answer without header")?.revision)
    }

    /// The newest revision.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn revision(&self) -> anyhow::Result<i64> {
        Ok(self.range("session/").await?.0)
    }

    /// The active coordinator of a role.
    ///
    /// # Errors
    /// If etcd does not answer, or with something strange.
    pub async fn active(&self, role: &str) -> anyhow::Result<Option<Active>> {
        let Some(entry) = self.get(&format!("session/{role}")).await? else { return Ok(None) };
        let said: serde_json::Value = serde_json::from_slice(&entry.value)?;
        Ok(Some(Active {
            node: said["ServerID"].as_i64().context("ServerID")?,
            address: said["Address"].as_str().context("Address")?.to_owned(),
            revision: entry.created,
        }))
    }

    /// Waits until somebody else than at a revision is active.
    ///
    /// # Errors
    /// If nobody is in time.
    pub async fn active_after(&self, role: &str, revision: i64) -> anyhow::Result<Active> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.active(role).await? {
                Some(active) if active.revision > revision => return Ok(active),
                now => ensure!(Instant::now() < end, "nobody has become the {role}, it is {now:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a process is the active one of a role.
    ///
    /// # Errors
    /// If it is not in time.
    pub async fn active_is(&self, role: &str, node: i64) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.active(role).await? {
                Some(active) if active.node == node => return Ok(()),
                now => ensure!(Instant::now() < end, "node {node} has not become the {role}, it is {now:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a process is registered for a role, later than at a revision.
    ///
    /// # Errors
    /// If it is not in time.
    pub async fn registered_after(&self, role: &str, node: i64, revision: i64) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.get(&format!("session/{role}-{node}")).await? {
                Some(entry) if entry.created > revision => return Ok(()),
                now => ensure!(Instant::now() < end, "{role} {node} is not registered: {now:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing has been changed for a while; the last revision.
    ///
    /// # Errors
    /// If it never ends.
    pub async fn settled(&self, quiet: Duration) -> anyhow::Result<i64> {
        let end = Instant::now() + PATIENCE;
        let mut last = (self.revision().await?, Instant::now());
        while last.1.elapsed() < quiet {
            ensure!(Instant::now() < end, "the metadata are changed all the time");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let revision = self.revision().await?;
            if revision != last.0 {
                last = (revision, Instant::now());
            }
        }
        Ok(last.0)
    }

    /// Every change of keys that begin so, from a revision until now.
    ///
    /// # Errors
    /// If etcd has thrown away so old a history.
    pub async fn history(&self, prefix: &str, from: i64) -> anyhow::Result<Vec<Change>> {
        let until = self.revision().await?;
        let mut changes = Vec::new();
        if from > until {
            return Ok(changes);
        }
        // All keys, so that the last revision is surely among what is told.
        let create = WatchCreateRequest {
            key: vec![0].into(),
            range_end: vec![0].into(),
            start_revision: from,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.send(request).await?;
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let mut answers = client.watch(requests).await?.into_inner();
        loop {
            let answer = answers.message().await?.context("etcd ended the watch")?;
            if answer.canceled {
                bail!("no history from revision {from}: {}", answer.cancel_reason);
            }
            let mut reached = 0;
            for event in answer.events {
                let deleted = event.r#type() == EventType::Delete;
                let Some(raw) = event.kv else { continue };
                reached = raw.mod_revision;
                let Some(entry) = entry(raw).filter(|entry| entry.key.starts_with(prefix)) else { continue };
                let (key, revision) = (entry.key.clone(), entry.modified);
                changes.push(Change { revision, put: (!deleted).then_some(entry), key });
            }
            if reached >= until {
                return Ok(changes);
            }
        }
    }
}

/// The first key behind all that begin with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn entry(raw: KeyValue) -> Option<Entry> {
    let key = std::str::from_utf8(&raw.key).ok()?.strip_prefix(ROOT)?.to_owned();
    Some(Entry {
        key,
        value: raw.value.to_vec(),
        created: raw.create_revision,
        modified: raw.mod_revision,
        lease: raw.lease,
    })
}
