use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use redkite_balance::Bytes;
use redkite_catalog::DrainRecord;
use redkite_cluster::SessionInfo;
use redkite_service::TransferRequest;
use redkite_types::{NodeId, SegmentId, Timestamp};
use tower::ServiceExt;

use super::*;
use crate::surroundings::testing::{Coordinator, node_status, session, surroundings};

type Told = Arc<Mutex<Vec<BalanceCommand>>>;

/// Notes what is asked; node 2 is drained, node 9 does not exist, and no single segment moves.
fn answer(told: &Told, command: BalanceCommand) -> redkite_service::Result<BalanceAnswer> {
    told.lock().push(command.clone());
    match command {
        BalanceCommand::Status => {
            let drain = DrainRecord { begun: Timestamp(1), bytes: 0, deadline: None };
            let drained = redkite_service::NodeStatus { drain: Some(drain), ..node_status(2) };
            let mut status = crate::surroundings::testing::status(vec![node_status(1), drained]);
            status.suspended = told.lock().contains(&BalanceCommand::Suspend);
            Ok(BalanceAnswer::Status(Box::new(status)))
        }
        BalanceCommand::Drain { node: NodeId(9), .. } => Err(Error::NodeNotFound { node: 9 }),
        BalanceCommand::Transfer(request) if !request.segments.is_empty() => {
            Err(Error::SegmentNotFound { segment: 8, reason: "segment not found in source node".to_owned() })
        }
        _ => Ok(BalanceAnswer::Done { segments: 0, bytes: Bytes(0), milliseconds: 0 }),
    }
}

/// Query nodes 1 to 3, the last of which is stopping; streaming node 4.
struct Scene {
    router: Router,
    told: Told,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let stopping = SessionInfo { stopping: true, ..session("querynode", 3) };
        let sessions =
            [session("querynode", 1), session("querynode", 2), stopping, session("streamingnode", 4)];
        let told = Told::default();
        let heard = told.clone();
        let coordinator = Coordinator(move |command| {
            let answer = answer(&heard, command);
            Box::pin(async move { answer }) as _
        });
        let (around, directory) = surroundings(&sessions, Arc::new(coordinator)).await;
        let outlook = Outlook::new(Arc::new(|| Box::pin(async { Vec::new() })));
        outlook.found(around);
        Self { router: routes(outlook), told, _directory: directory }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let uri = format!("/management/querycoord/{path}");
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, form: &'static str) -> (u16, String) {
        let request = Request::post(format!("/management/querycoord/{path}"))
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> (u16, String) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn last(&self) -> Option<BalanceCommand> {
        self.told.lock().last().cloned()
    }
}

fn ok() -> (u16, String) {
    (200, r#"{"msg": "OK"}"#.to_owned())
}

fn wrong(status: u16, why: &str) -> (u16, String) {
    (status, message(why))
}

#[tokio::test]
async fn balancing_is_suspended_and_resumed() {
    let scene = Scene::set().await;
    assert_eq!(scene.get("balance/status").await, (200, r#"{"msg": "OK", "status": "active"}"#.to_owned()));
    assert_eq!(scene.post("balance/suspend", "").await, ok());
    let suspended = r#"{"msg": "OK", "status": "suspended"}"#.to_owned();
    assert_eq!(scene.get("balance/status").await, (200, suspended));
    assert_eq!(scene.get("balance/resume").await, ok());
    assert_eq!(scene.last(), Some(BalanceCommand::Resume));
}

#[tokio::test]
async fn query_nodes_are_listed_suspended_and_resumed() {
    let scene = Scene::set().await;
    let listed = r#"{"nodeInfos":[{"ID":1,"address":"host:1","state":"active"},{"ID":2,"address":"host:2","state":"suspended"},{"ID":3,"address":"host:3","state":"stopping"}]}"#;
    assert_eq!(scene.get("node/list").await, (200, listed.to_owned()));
    assert_eq!(scene.post("node/suspend", "node_id=1").await, ok());
    assert_eq!(scene.last(), Some(BalanceCommand::Drain { node: NodeId(1), deadline: None }));
    assert_eq!(scene.get("node/resume?node_id=1").await, ok());
    assert_eq!(scene.last(), Some(BalanceCommand::Undrain(NodeId(1))));
    let unknown = |what: &str, node: i64| {
        wrong(
            500,
            &format!("failed to {what} node, failed to {what} query node: node not found[node={node}]"),
        )
    };
    assert_eq!(scene.post("node/suspend", "node_id=9").await, unknown("suspend", 9));
    assert_eq!(scene.post("node/resume", "node_id=4").await, unknown("resume", 4));
    let invalid = wrong(400, "failed to suspend node, node_id: parsing \"\": invalid syntax");
    assert_eq!(scene.post("node/suspend", "").await, invalid);
}

#[tokio::test]
async fn segments_are_moved_not_copied() {
    let scene = Scene::set().await;
    let moved = |segments: &[i64], to: &[i64]| {
        Some(BalanceCommand::Transfer(TransferRequest {
            collection: None,
            segments: segments.iter().copied().map(SegmentId).collect(),
            from: NodeId(1),
            to: to.iter().copied().map(NodeId).collect(),
        }))
    };
    assert_eq!(scene.post("transfer/segment", "source_node_id=1&copy_mode=false").await, ok());
    assert_eq!(scene.last(), moved(&[], &[]));
    assert_eq!(scene.post("transfer/segment", "source_node_id=1&target_node_id=2&copy_mode=0").await, ok());
    assert_eq!(scene.last(), moved(&[], &[2]));
    let missing =
        "failed to transfer segment, segment not found in source node: segment not found[segment=8]";
    let answer =
        scene.post("transfer/segment", "source_node_id=1&target_node_id=2&segment_id=8&copy_mode=false");
    assert_eq!(answer.await, wrong(500, missing));
    assert_eq!(scene.last(), moved(&[8], &[2]));
    for (form, why) in [
        ("source_node_id=3", "the source node is invalid: node not available[node=3]"),
        ("source_node_id=4", "the source node is invalid: node not available[node=4]"),
        ("source_node_id=1&target_node_id=9", "the target node is invalid: node not available[node=9]"),
    ] {
        let answer = scene.get(&format!("transfer/segment?{form}&copy_mode=false")).await;
        assert_eq!(answer, wrong(500, &format!("failed to transfer segment, {why}")));
    }
    for form in ["source_node_id=1", "source_node_id=1&copy_mode=true"] {
        let (status, why) = scene.get(&format!("transfer/segment?{form}")).await;
        assert!(
            status == 400 && why.contains("copy_mode=true, the default, is not supported"),
            "{status} {why}"
        );
    }
}

#[tokio::test]
async fn shard_leaders_are_not_moved() {
    let scene = Scene::set().await;
    let (status, why) = scene.post("transfer/channel", "source_node_id=1").await;
    assert!(
        status == 501 && why.contains("failed to transfer channel, service unimplemented"),
        "{status} {why}"
    );
    let invalid = wrong(400, "failed to transfer channel, source_node_id: parsing \"x\": invalid syntax");
    assert_eq!(scene.post("transfer/channel", "source_node_id=x").await, invalid);
}

#[tokio::test]
async fn distributions_are_of_nodes_that_exist() {
    let scene = Scene::set().await;
    let nothing = r#"{"channel_names":[],"sealed_segmentIDs":[]}"#.to_owned();
    for node in [1, 4] {
        assert_eq!(scene.get(&format!("distribution/get?node_id={node}")).await, (200, nothing.clone()));
    }
    let unknown = "failed to get query node distribution, failed to get query node distribution: node not found[node=9]";
    assert_eq!(scene.get("distribution/get?node_id=9").await, wrong(500, unknown));
    assert_eq!(scene.get("distribution/check?source_node_id=1&target_node_id=2").await, ok());
    let unknown = "failed to check whether query node has same distribution, target node not found: node not found[node=9]";
    assert_eq!(scene.get("distribution/check?source_node_id=1&target_node_id=9").await, wrong(500, unknown));
}

#[tokio::test]
async fn a_process_that_starts_says_what_it_waits_for() {
    let problem = || crate::http::Health {
        problems: vec!["waiting for etcd".to_owned()],
        ..crate::http::Health::of("proxy")
    };
    let outlook = Outlook::new(Arc::new(move || Box::pin(async move { vec![problem(), problem()] })));
    let request = Request::get("/management/querycoord/node/list").body(Body::empty()).unwrap();
    let answer = routes(outlook).oneshot(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"msg": "failed to list query node, waiting for etcd"}"#);
}
