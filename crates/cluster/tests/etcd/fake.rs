//! An etcd that says what a test wants: what real releases do rarely, or only other releases.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use redkite_cluster::kv::{EtcdKv, EtcdSettings, Kv, KvError, Txn, WatchBatch};
use redkite_proto::etcd::watch_request::RequestUnion;
use redkite_proto::etcd::{self as pb, kv_server, maintenance_server, watch_server};
use redkite_runtime::Tasks;
use redkite_types::Revision;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::server::settings;

const PATIENCE: Duration = Duration::from_secs(60);

type Said = Vec<Result<pb::WatchResponse, Status>>;
type Script = dyn Fn(usize, RequestUnion) -> Said + Send + Sync;

struct Fake {
    version: &'static str,
    /// What a range tells as the revision of the store.
    revision: i64,
    /// What each watch stream, counted from 0, answers to each request.
    watch: Arc<Script>,
    watches: Mutex<usize>,
    /// What transactions answer, in order.
    txns: Mutex<VecDeque<Status>>,
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() })
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Fake {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let version = self.version.to_owned();
        Ok(Response::new(pb::StatusResponse { version, ..pb::StatusResponse::default() }))
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Fake {
    async fn range(&self, _: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        Ok(Response::new(pb::RangeResponse { header: header(self.revision), ..pb::RangeResponse::default() }))
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        match self.txns.lock().pop_front() {
            Some(status) => Err(status),
            None => Ok(Response::new(pb::TxnResponse {
                header: header(self.revision),
                succeeded: true,
                responses: Vec::new(),
            })),
        }
    }

    async fn compact(
        &self,
        _: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Fake {
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let number = {
            let mut watches = self.watches.lock();
            *watches += 1;
            *watches - 1
        };
        let script = self.watch.clone();
        let said = request.into_inner().flat_map(move |request| match request {
            Ok(pb::WatchRequest { request_union: Some(request) }) => stream::iter(script(number, request)),
            _ => stream::iter(Vec::new()),
        });
        Ok(Response::new(said.boxed()))
    }
}

impl Fake {
    /// Serves it; the tasks end with the test.
    async fn serve(self) -> (Arc<Self>, Arc<EtcdKv>) {
        let fake = Arc::new(self);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let serving = tonic::transport::Server::builder()
            .add_service(watch_server::WatchServer::from_arc(fake.clone()))
            .add_service(kv_server::KvServer::from_arc(fake.clone()))
            .add_service(maintenance_server::MaintenanceServer::from_arc(fake.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        Tasks::new("fake").spawn("etcd", |_| async { serving.await.unwrap() });
        let settings = EtcdSettings { request_timeout: Duration::from_secs(5), ..settings(&[endpoint]) };
        (fake, EtcdKv::new(&settings, "p/").unwrap())
    }

    fn new(
        version: &'static str,
        watch: impl Fn(usize, RequestUnion) -> Said + Send + Sync + 'static,
    ) -> Self {
        let (watches, txns) = (Mutex::new(0), Mutex::default());
        Self { version, revision: 10, watch: Arc::new(watch), watches, txns }
    }
}

fn created() -> Result<pb::WatchResponse, Status> {
    Ok(pb::WatchResponse { header: header(10), created: true, ..pb::WatchResponse::default() })
}

fn events(keys: &[(i64, &'static str)], fragment: bool) -> Result<pb::WatchResponse, Status> {
    let event = |(revision, key): &(i64, &'static str)| {
        let (key, mod_revision) = ((*key).into(), *revision);
        pb::Event { r#type: 0, kv: Some(pb::KeyValue { key, mod_revision, ..pb::KeyValue::default() }) }
    };
    let events = keys.iter().map(event).collect();
    Ok(pb::WatchResponse { header: header(10), events, fragment, ..pb::WatchResponse::default() })
}

fn progress(watch_id: i64, revision: i64) -> Result<pb::WatchResponse, Status> {
    Ok(pb::WatchResponse { header: header(revision), watch_id, ..pb::WatchResponse::default() })
}

async fn batches(watch: &mut redkite_cluster::kv::Watch, count: usize) -> Vec<(i64, Vec<String>)> {
    let keys = |batch: &WatchBatch| batch.events.iter().map(|event| event.key().to_owned()).collect();
    let reading = watch.take(count).map(|batch| batch.map(|batch| (batch.revision.0, keys(&batch))).unwrap());
    timeout(PATIENCE, reading.collect()).await.expect("batches arrive")
}

#[tokio::test]
async fn progress_is_asked_for_where_the_answer_can_be_believed() {
    let fake = Fake::new("3.5.21", |_, request| match request {
        RequestUnion::CreateRequest(create) => {
            assert_eq!((&*create.key, create.start_revision), (&b"p/a/"[..], 5));
            vec![created()]
        }
        // An older one of the ticker's crosses it.
        RequestUnion::ProgressRequest(_) => vec![progress(0, 4), progress(-1, 10)],
        RequestUnion::CancelRequest(_) => vec![],
    });
    let (fake, kv) = fake.serve().await;
    let mut watch = kv.watch("a/", Revision(6)).await.unwrap();
    kv.get("anything").await.unwrap();
    assert_eq!(batches(&mut watch, 1).await, [(10, vec![])]);
    assert_eq!(*fake.watches.lock(), 1);
}

#[tokio::test]
async fn progress_is_found_out_where_answers_come_too_early() {
    let fake = Fake::new("3.5.12", |_, request| match request {
        RequestUnion::CreateRequest(create) if *create.key == *b"p/a/" => vec![created()],
        RequestUnion::CreateRequest(create) => {
            assert_eq!((&*create.key, &*create.range_end, create.start_revision), (&[0][..], &[0][..], 5));
            let first = events(&[(5, "p/a/1"), (6, "q/x"), (7, "p/b"), (8, "p/a/2")], true);
            vec![created(), first, events(&[(8, "p/a/3"), (9, "p/a0"), (10, "p")], false)]
        }
        other => panic!("not to be believed: {other:?}"),
    });
    let (_, kv) = fake.serve().await;
    let mut watch = kv.watch("a/", Revision(6)).await.unwrap();
    kv.get("anything").await.unwrap();
    let wanted = [(8, vec!["a/2".to_owned(), "a/3".to_owned()]), (10, vec![])];
    assert_eq!(batches(&mut watch, 2).await, wanted);
}

#[tokio::test]
async fn a_revision_broken_in_its_middle_is_asked_for_again() {
    let fake = Fake::new("3.5.21", |number, request| match request {
        RequestUnion::CreateRequest(create) => {
            let (first, second) = (events(&[(6, "p/a"), (7, "p/a")], true), events(&[(7, "p/b")], false));
            match number {
                0 => vec![created(), first, Err(Status::unavailable("etcdserver: leader changed"))],
                // From the last whole revision on, which is dropped.
                _ => {
                    assert_eq!(create.start_revision, 6);
                    vec![created(), first, second, events(&[(10, "p/c")], false)]
                }
            }
        }
        _ => vec![],
    });
    let (_, kv) = fake.serve().await;
    let mut watch = kv.watch("", Revision(6)).await.unwrap();
    let key = |key: &str| vec![key.to_owned()];
    let wanted = [(6, key("a")), (7, vec!["a".to_owned(), "b".to_owned()]), (10, key("c"))];
    assert_eq!(batches(&mut watch, 3).await, wanted);
}

#[tokio::test]
async fn writes_are_repeated_only_where_etcd_did_nothing() {
    let (fake, kv) = Fake::new("3.5.21", |_, _| vec![]).serve().await;
    let write = || kv.txn(Txn::new().put("a", "1"));
    let say = |statuses: &[Status]| *fake.txns.lock() = statuses.iter().cloned().collect();

    say(&[
        Status::unavailable("etcdserver: no leader"),
        Status::resource_exhausted("etcdserver: too many requests"),
    ]);
    assert!(write().await.unwrap().committed);
    for doubtful in
        ["etcdserver: request timed out", "etcdserver: server stopped", "etcdserver: leader changed"]
    {
        say(&[Status::unavailable(doubtful), Status::internal("a second try")]);
        let error = write().await.unwrap_err();
        assert!(error.maybe_applied() && error.to_string().contains(doubtful), "{error}");
        assert_eq!(fake.txns.lock().len(), 1, "tried once");
    }
    say(&[Status::resource_exhausted("etcdserver: mvcc: database space exceeded")]);
    let error = write().await.unwrap_err();
    assert!(matches!(error, KvError::Refused { disk_full: true, .. }) && error.disk_full(), "{error:?}");
    assert!(!error.maybe_applied() && !error.retryable());
    // Reads and transactions that only look are repeated.
    say(&[Status::unavailable("etcdserver: request timed out")]);
    assert!(kv.txn(Txn::new()).await.unwrap().committed);
}
