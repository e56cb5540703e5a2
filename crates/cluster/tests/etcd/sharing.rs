//! Several stores in one etcd: prefixes, users, encryption.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use redkite_cluster::kv::etcd::{EtcdAuth, EtcdSsl, TlsVersion};
use redkite_cluster::kv::{EtcdKv, EtcdSettings, Event, Kv, KvError};
use redkite_types::Revision;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::Etcd;

const PATIENCE: Duration = Duration::from_secs(60);

/// Reads the watch until it has come to `revision`; returns the keys that changed.
async fn changed(watch: &mut redkite_cluster::kv::Watch, revision: Revision) -> Vec<String> {
    let reading = async {
        let mut keys = Vec::new();
        loop {
            let batch = watch.next().await.unwrap();
            keys.extend(batch.events.iter().map(|event: &Event| event.key().to_owned()));
            if batch.revision >= revision {
                return keys;
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("the watch reports progress")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_of_different_prefixes_do_not_meet() {
    let etcd = Etcd::start();
    let open = |prefix| EtcdKv::new(&etcd.settings(), prefix).unwrap();
    let (ours, theirs, everything) = (open("a/meta/"), open("a/meta0/"), open(""));
    let first = ours.put("x".to_owned(), Bytes::from("ours")).await.unwrap();
    let mut watch = ours.watch("", Revision(first.0 + 1)).await.unwrap();
    theirs.put("x".to_owned(), Bytes::from("theirs")).await.unwrap();
    assert_eq!(&*ours.get("x").await.unwrap().unwrap().value, b"ours");
    let keys: Vec<_> = ours.range("").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["x"]);
    let keys: Vec<_> =
        everything.range("a/").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["a/meta/x", "a/meta0/x"]);

    // What others write moves the revision that our readers are told, so our watches must reach it.
    for n in 0..20 {
        theirs.put(format!("y/{n}"), Bytes::from("theirs")).await.unwrap();
    }
    let now = ours.range("").await.unwrap().revision;
    assert_eq!(changed(&mut watch, now).await, Vec::<String>::new());
    let last = ours.delete("x".to_owned()).await.unwrap();
    assert_eq!(changed(&mut watch, last).await, ["x"]);
}

/// A request to etcd's JSON gateway, for what the store itself never asks.
async fn post(etcd: &Etcd, path: &str, body: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", etcd.port)).await.unwrap();
    let request = format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
}

async fn with_users() -> Etcd {
    let etcd = Etcd::start();
    // Base64 of "a/" and "a0", the range of the prefix.
    let permission =
        r#"{"name": "of-a", "perm": {"permType": "READWRITE", "key": "YS8=", "range_end": "YTA="}}"#;
    let steps = [
        ("auth/user/add", r#"{"name": "root", "password": "secret"}"#),
        ("auth/role/add", r#"{"name": "root"}"#),
        ("auth/user/grant", r#"{"user": "root", "role": "root"}"#),
        ("auth/role/add", r#"{"name": "of-a"}"#),
        ("auth/role/grant", permission),
        ("auth/user/add", r#"{"name": "user", "password": "known"}"#),
        ("auth/user/grant", r#"{"user": "user", "role": "of-a"}"#),
        ("auth/enable", "{}"),
    ];
    for (path, body) in steps {
        post(&etcd, path, body).await;
    }
    etcd
}

fn login(etcd: &Etcd, user: &str, password: &str) -> EtcdSettings {
    let auth = EtcdAuth { enabled: true, user_name: user.to_owned(), password: password.to_owned() };
    EtcdSettings { auth, ..etcd.settings() }
}

fn assert_denied<T>(result: Result<T, KvError>, etcd: &Etcd, word: &str) {
    let Err(error) = result else { panic!("not denied") };
    assert!(matches!(error, KvError::Denied { .. }), "{error:?}");
    assert!(!error.retryable() && !error.maybe_applied());
    let text = error.to_string();
    assert!(text.contains(&etcd.endpoint()) && text.contains(word), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_rights() {
    let etcd = with_users().await;
    let nobody = EtcdKv::new(&etcd.settings(), "a/").unwrap();
    assert_denied(nobody.get("x").await, &etcd, "user name is empty");
    assert_denied(nobody.watch("", Revision(1)).await, &etcd, "");
    let mistaken = EtcdKv::new(&login(&etcd, "user", "guessed"), "a/").unwrap();
    assert_denied(mistaken.put("x".to_owned(), Bytes::new()).await, &etcd, "\"user\"");
    assert_denied(mistaken.watch("", Revision(1)).await, &etcd, "authentication failed");
    let elsewhere = EtcdKv::new(&login(&etcd, "user", "known"), "b/").unwrap();
    assert_denied(elsewhere.get("x").await, &etcd, "permission denied");
    assert_denied(elsewhere.watch("", Revision(1)).await, &etcd, "permission denied");

    let kv = EtcdKv::new(&login(&etcd, "user", "known"), "a/").unwrap();
    let first = kv.put("x".to_owned(), Bytes::from("1")).await.unwrap();
    let mut watch = kv.watch("x", Revision(first.0 + 1)).await.unwrap();
    // Progress is found without the right to read everything.
    let other = kv.put("y".to_owned(), Bytes::from("1")).await.unwrap();
    assert_eq!(changed(&mut watch, other).await, Vec::<String>::new());
    let lease = kv.grant_lease(Duration::from_secs(60)).await.unwrap();
    kv.keep_alive(lease).await.unwrap();

    // A restart forgets the tokens; calls and the watch log in again.
    etcd.kill();
    etcd.restart();
    let last = kv.put("x".to_owned(), Bytes::from("2")).await.unwrap();
    assert_eq!(changed(&mut watch, last).await, ["x"]);
    kv.keep_alive(lease).await.unwrap();
    kv.revoke_lease(lease).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_nobody_asks_for_is_not_needed() {
    let etcd = Etcd::start();
    let kv = EtcdKv::new(&login(&etcd, "user", "known"), "a/").unwrap();
    let first = kv.put("x".to_owned(), Bytes::from("1")).await.unwrap();
    let mut watch = kv.watch("", first).await.unwrap();
    assert_eq!(changed(&mut watch, first).await, ["x"]);
}

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd/tls").join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_connections() {
    let file = |name| certificate(name).display().to_string();
    let arguments = [
        format!("--cert-file={}", file("server.pem")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.pem")),
        "--client-cert-auth".to_owned(),
    ];
    let etcd = Etcd::start_with("https", &arguments);
    let ssl = EtcdSsl {
        enabled: true,
        tls_cert: certificate("client.pem"),
        tls_key: certificate("client.key"),
        tls_ca_cert: certificate("ca.pem"),
        tls_min_version: TlsVersion::V12,
    };
    let with = |ssl: EtcdSsl| EtcdSettings {
        ssl,
        request_timeout: Duration::from_secs(2),
        endpoints: vec![format!("https://{}", etcd.endpoint())],
        ..EtcdSettings::default()
    };
    let kv = EtcdKv::new(&with(ssl.clone()), "a/").unwrap();
    let first = kv.put("x".to_owned(), Bytes::from("1")).await.unwrap();
    let mut watch = kv.watch("", first).await.unwrap();
    assert_eq!(changed(&mut watch, first).await, ["x"]);

    let stranger = EtcdSsl { tls_ca_cert: certificate("client.pem"), ..ssl.clone() };
    let error = EtcdKv::new(&with(stranger), "a/").unwrap().get("x").await.unwrap_err();
    assert!(matches!(error, KvError::Unavailable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&etcd.endpoint()) && text.contains("certificate"), "{text}");

    let absent = EtcdSsl { tls_key: certificate("absent.key"), ..ssl };
    let error = EtcdKv::new(&with(absent), "a/").unwrap_err();
    assert!(matches!(error, KvError::Settings { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("etcd.ssl.tlsKey") && text.contains("absent.key"), "{text}");
}
