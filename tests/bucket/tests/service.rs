//! Does the test bucket do what tests rely on?

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::process::Stdio;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, ReqwestConnector};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig};
use redkite_test_bucket::{CREDENTIALS, Faults, Options, Stats, TestBucket};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const BUCKET: &str = "some-bucket";

fn options() -> ClientOptions {
    ClientOptions::new().with_allow_http(true).with_no_system_certificates(true)
}

fn client(address: SocketAddr) -> AmazonS3 {
    _ = rustls::crypto::ring::default_provider().install_default();
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}"))
        .with_bucket_name(BUCKET)
        .with_access_key_id(CREDENTIALS)
        .with_secret_access_key(CREDENTIALS)
        .with_client_options(options())
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .build()
        .unwrap()
}

/// A request that S3 does not know, or that needs no signature.
async fn ask(method: &str, url: String, body: &str) -> (u16, String) {
    let http: HttpClient = ReqwestConnector::default().connect(&options()).unwrap();
    let mut request = HttpRequest::new(body.to_owned().into());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = url.parse().unwrap();
    request.headers_mut().insert("content-length", body.len().into());
    let response = http.execute(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().bytes().await.unwrap().to_vec()).unwrap())
}

async fn make_bucket(store: &AmazonS3) {
    let lifetime = std::time::Duration::from_secs(60);
    let method = "PUT".parse().unwrap();
    let url =
        object_store::signer::Signer::signed_url(store, method, &Path::default(), lifetime).await.unwrap();
    assert_eq!(ask("PUT", url.to_string(), "").await.0, 200);
    assert_eq!(ask("PUT", url.to_string(), "").await.0, 409);
}

#[tokio::test]
async fn speaks_s3_with_a_client_that_is_not_ours() {
    let server = TestBucket::start(Options::default()).await.unwrap();
    let store = client(server.address());
    assert!(store.list(None).next().await.unwrap().is_err(), "no bucket yet");
    make_bucket(&store).await;
    for at in 0..1005 {
        store.put(&Path::from(format!("many/{at:04}")), PutPayload::from("x")).await.unwrap();
    }
    store.put(&Path::from("other/a/b"), PutPayload::from("x")).await.unwrap();
    assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1006);
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(top.common_prefixes, [Path::from("many"), Path::from("other")]);
    assert!(top.objects.is_empty());
    let many = store.list_with_delimiter(Some(&Path::from("many"))).await.unwrap();
    assert_eq!((many.objects.len(), many.common_prefixes.len()), (1005, 0));
    let after = store.list_with_offset(None, &Path::from("many/1002"));
    assert_eq!(after.try_collect::<Vec<_>>().await.unwrap().len(), 3);

    let all = store.list(None).map_ok(|meta| meta.location).boxed();
    let deleted = store.delete_stream(all).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!((deleted.len(), server.stats().objects), (1006, 0));
    server.stop().await;
}

#[tokio::test]
async fn one_condition_is_understood_and_wrong_signatures_are_not() {
    let server = TestBucket::start(Options::default()).await.unwrap();
    let store = client(server.address());
    make_bucket(&store).await;
    let path = Path::from("a");
    store.put_opts(&path, "1".into(), PutMode::Create.into()).await.unwrap();
    let again = store.put_opts(&path, "2".into(), PutMode::Create.into()).await;
    assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "1");
    let (status, body) = ask("GET", format!("http://{}/{BUCKET}/a", server.address()), "").await;
    assert!(status == 403 && body.contains("AccessDenied"), "{status} {body}");
}

#[tokio::test]
async fn faults_are_set_over_http_and_repeat_with_their_seed() {
    let server = TestBucket::start(Options::default()).await.unwrap();
    let store = client(server.address());
    make_bucket(&store).await;
    let faults = format!("http://{}/_faults", server.address());
    let outcomes = async || {
        let (status, body) = ask("PUT", faults.clone(), r#"{"seed":7,"refuse":0.5,"path":"/a"}"#).await;
        assert_eq!((status, serde_json::from_str::<Faults>(&body).unwrap().seed), (200, 7));
        let puts = stream::iter(0..20).then(|at| {
            let store = &store;
            async move { store.put(&Path::from(format!("a{at}")), "x".into()).await.is_ok() }
        });
        puts.collect::<Vec<_>>().await
    };
    let first = outcomes().await;
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(outcomes().await, first);
    store.put(&Path::from("b"), "not affected".into()).await.unwrap();
    let (status, body) = ask("PUT", faults.clone(), r#"{"refuze":1}"#).await;
    assert!(status == 400 && body.contains("refuze"), "{status} {body}");
    let (_, stats) = ask("GET", format!("http://{}/_stats", server.address()), "").await;
    let stats: Stats = serde_json::from_str(&stats).unwrap();
    let refused = first.iter().filter(|done| !**done).count() as u64;
    assert_eq!((stats.faults, stats.objects), (2 * refused, 21 - refused));
}

/// The binary on a directory, and where it listens.
async fn process(data: &std::path::Path) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_redkite-test-bucket"))
        .args(["--address", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    (child, line.strip_prefix("listening on ").unwrap().parse().unwrap())
}

#[tokio::test]
async fn objects_of_a_killed_process_are_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, address) = process(directory.path()).await;
    let store = client(address);
    make_bucket(&store).await;
    for (name, contents) in [("a", "old"), ("a", "new"), ("a/b", "below"), ("gone", "x")] {
        store.put(&Path::from(name), contents.into()).await.unwrap();
    }
    store.delete(&Path::from("gone")).await.unwrap();
    let before = store.head(&Path::from("a")).await.unwrap();
    child.kill().await.unwrap();

    let (_child, address) = process(directory.path()).await;
    let store = client(address);
    assert_eq!(store.head(&Path::from("a")).await.unwrap().e_tag, before.e_tag);
    assert_eq!(store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap(), "new");
    assert_eq!(store.get_range(&Path::from("a/b"), 2..4).await.unwrap(), "lo");
    assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 2);
}
