//! Replicas and resource groups, with query nodes that hold at once what they are told to.

use std::collections::BTreeSet;
use std::sync::Arc;

use redkite_catalog::{LoadScope, ResourceGroupConfig};
use redkite_service::{Code, PlacementCommand, QueryCoord, RequestId};
use redkite_types::{NodeId, SegmentId};

use super::*;
use crate::query::QueryCoordinator;
use crate::testing::{COLLECTION, World, collection, hnsw, indexes, segment, shard, spawn_fake_nodes};

const SEGMENTS: i64 = 6;

struct Scene {
    world: World,
    query: Arc<QueryCoordinator>,
    requests: std::cell::Cell<u128>,
}

impl Scene {
    /// A collection of two shards and some segments, and these query nodes.
    async fn new(nodes: &[i64]) -> Self {
        let world = World::start().await;
        world.set_nodes(&[1], nodes, &[1]);
        world.put(&COLLECTION, &collection(2, &[0])).await;
        world.put(&COLLECTION, &indexes(hnsw())).await;
        for id in 1..=SEGMENTS {
            let record = segment(id, shard(u16::try_from(id % 2).unwrap()), 0, 10, 10);
            world.put(&(COLLECTION, record.id), &record).await;
        }
        spawn_fake_nodes(&world);
        let query = world.query(world.environment()).await.unwrap();
        Self { world, query, requests: 0.into() }
    }

    fn request(&self) -> RequestId {
        self.requests.set(self.requests.get() + 1);
        RequestId(self.requests.get())
    }

    async fn load(&self, replicas: u32, groups: &[&str]) -> Result<()> {
        let resource_groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let load = NewLoad { replicas, resource_groups, ..NewLoad::new(COLLECTION, LoadScope::Collection) };
        self.query.load(self.request(), load).await.map(drop)
    }

    async fn place(&self, command: PlacementCommand) -> Result<()> {
        self.query.place(self.request(), command).await.map(drop)
    }

    async fn create(&self, name: &str, requests: u32) -> Result<()> {
        let config = ResourceGroupConfig { requests, limits: requests, ..Default::default() };
        self.place(PlacementCommand::CreateResourceGroup { name: name.to_owned(), config }).await
    }

    async fn transfer(&self, source: &str, target: &str) -> Result<()> {
        let (source, target) = (source.to_owned(), target.to_owned());
        self.place(PlacementCommand::TransferReplicas { collection: COLLECTION, source, target, replicas: 1 })
            .await
    }

    /// Waits until the replicas serve everything from exactly these nodes.
    async fn serves_from(&self, wanted: &[&[i64]]) {
        let wanted: BTreeSet<BTreeSet<NodeId>> =
            wanted.iter().map(|nodes| nodes.iter().copied().map(NodeId).collect()).collect();
        let what = format!("replicas serve from {wanted:?}");
        self.world.until(&what, |metadata| serving(metadata) == Some(wanted.clone())).await;
    }

    fn replicas(&self) -> ReplicasRecord {
        let record = |metadata: &Metadata| {
            metadata.replicas.get(&COLLECTION).map(|entry| (*entry.record).clone()).unwrap_or_default()
        };
        self.world.view.read(record)
    }
}

/// The nodes of each replica, if each replica serves everything, and holds are as its views say.
fn serving(metadata: &Metadata) -> Option<BTreeSet<BTreeSet<NodeId>>> {
    let record = metadata.replicas.get(&COLLECTION)?;
    let all: BTreeSet<SegmentId> = (1..=SEGMENTS).map(SegmentId).collect();
    let mut held = BTreeSet::new();
    for id in record.replicas.keys() {
        let views = metadata.views_of(COLLECTION).filter(|((_, of), _)| of == id);
        let entries: Vec<_> = views.flat_map(|(_, view)| &view.segments).collect();
        if entries.iter().map(|entry| entry.segment).collect::<BTreeSet<_>>() != all {
            return None;
        }
        held.extend(entries.iter().map(|entry| (entry.node, entry.segment)));
    }
    let holds = metadata.holds_of(COLLECTION).flat_map(|(node, hold)| {
        hold.segments.iter().map(move |segment| (node, *segment)).collect::<Vec<_>>()
    });
    let settled = holds.collect::<BTreeSet<_>>() == held;
    let views = metadata.views_of(COLLECTION).all(|((_, id), _)| record.replicas.contains_key(id));
    let nodes = metadata.nodes_in_views(COLLECTION).into_values().collect();
    (settled && views).then_some(nodes)
}

fn message(outcome: Result<()>) -> (Code, String) {
    let error = outcome.unwrap_err();
    (error.code(), error.to_string())
}

#[tokio::test]
async fn every_replica_holds_everything_on_nodes_of_its_own() {
    let scene = Scene::new(&[1, 2, 3, 4]).await;
    scene.load(2, &[]).await.unwrap();
    scene.serves_from(&[&[1, 2], &[3, 4]]).await;
    scene.world.until("loaded", |metadata| metadata.loads[&COLLECTION].loaded.len() == 1).await;
    let before = scene.replicas();
    scene.load(0, &[]).await.unwrap();
    assert_eq!(scene.replicas(), before, "nothing was asked");
    scene.world.set_query_nodes(&[(1, false), (3, false), (4, false)]);
    scene.serves_from(&[&[1], &[3, 4]]).await;
    scene.world.set_query_nodes(&[(3, false), (4, false)]);
    scene.serves_from(&[&[3], &[4]]).await;
    assert!(scene.replicas().replicas.keys().eq(before.replicas.keys()), "ids are kept");
}

#[tokio::test]
async fn a_stopping_node_is_relieved() {
    let scene = Scene::new(&[1, 2, 3]).await;
    scene.load(2, &[]).await.unwrap();
    scene.serves_from(&[&[1, 2], &[3]]).await;
    scene.world.set_query_nodes(&[(1, false), (2, false), (3, true)]);
    scene.serves_from(&[&[1], &[2]]).await;
    // Nobody can take over from the last but one: the other replica serves alone.
    scene.world.set_query_nodes(&[(1, true), (2, false)]);
    let holds = |metadata: &Metadata, node| metadata.holds.contains_key(&(NodeId(node), COLLECTION));
    scene.world.until("it can go", |metadata| !holds(metadata, 1)).await;
    scene.world.view.read(|metadata| assert!(holds(metadata, 2)));
    scene.world.set_query_nodes(&[(2, true)]);
    scene.world.set_query_nodes(&[(2, true), (5, false), (6, false)]);
    scene.serves_from(&[&[5], &[6]]).await;
}

#[tokio::test]
async fn the_last_nodes_stay_while_they_stop() {
    let scene = Scene::new(&[1]).await;
    scene.load(1, &[]).await.unwrap();
    scene.serves_from(&[&[1]]).await;
    scene.world.set_query_nodes(&[(1, true)]);
    scene.world.set_query_nodes(&[]);
    scene.world.set_query_nodes(&[(9, false)]);
    scene.serves_from(&[&[9]]).await;
}

#[tokio::test]
async fn replicas_come_and_go() {
    let scene = Scene::new(&[1, 2, 3]).await;
    scene.load(1, &[]).await.unwrap();
    scene.serves_from(&[&[1, 2, 3]]).await;
    let first = *scene.replicas().replicas.keys().next().unwrap();
    scene.load(3, &[]).await.unwrap();
    scene.serves_from(&[&[1], &[2], &[3]]).await;
    assert!(scene.replicas().replicas.contains_key(&first));
    scene.load(1, &[]).await.unwrap();
    scene
        .world
        .until("one is left", |metadata| serving(metadata).is_some_and(|nodes| nodes.len() == 1))
        .await;
    scene.query.release(scene.request(), COLLECTION, Vec::new()).await.unwrap();
    scene
        .world
        .until("nothing is left", |metadata| {
            metadata.replicas.is_empty() && metadata.views.is_empty() && metadata.holds.is_empty()
        })
        .await;
}

#[tokio::test]
async fn replicas_are_kept_in_their_groups() {
    let scene = Scene::new(&[1, 2, 3]).await;
    scene.create("a", 1).await.unwrap();
    scene.create("b", 1).await.unwrap();
    scene.load(2, &["a", "b"]).await.unwrap();
    scene.serves_from(&[&[2], &[3]]).await;
    let wrong = message(scene.transfer("a", "nowhere").await);
    assert_eq!(wrong, (Code::ResourceGroupNotFound, "resource group not found[rg=nowhere]".to_owned()));
    assert_eq!(message(scene.transfer("a", "a").await).0, Code::InvalidParameter);
    scene.transfer("a", DEFAULT_RESOURCE_GROUP).await.unwrap();
    scene.serves_from(&[&[1], &[2]]).await;
    assert!(message(scene.transfer("a", "b").await).1.contains("only found [0] replicas of collection [c]"));
    // Its node dies: another takes its place.
    scene.world.set_query_nodes(&[(1, false), (3, false), (7, false)]);
    scene.serves_from(&[&[1], &[7]]).await;
    let group = |metadata: &Metadata| metadata.resource_groups["b"].nodes.clone();
    assert_eq!(scene.world.view.read(group), [NodeId(7)].into());
}

#[tokio::test]
async fn a_replica_whose_group_is_empty_serves_from_what_it_is_to_leave() {
    let scene = Scene::new(&[1, 2]).await;
    scene.load(1, &[]).await.unwrap();
    scene.serves_from(&[&[1, 2]]).await;
    scene.create("a", 0).await.unwrap();
    scene.transfer(DEFAULT_RESOURCE_GROUP, "a").await.unwrap();
    let dropped = message(scene.place(PlacementCommand::DropResourceGroup { name: "a".to_owned() }).await);
    assert!(dropped.1.starts_with("some replicas still loaded in resource group[a], release it first"));
    scene
        .world
        .until("left", |metadata| {
            metadata.replicas[&COLLECTION].replicas.values().all(|replica| replica.nodes.is_empty())
        })
        .await;
    scene.world.view.read(|metadata| assert!(serving(metadata).is_some()));
    let (source, target) = (DEFAULT_RESOURCE_GROUP.to_owned(), "a".to_owned());
    scene.place(PlacementCommand::TransferNodes { source, target, nodes: 1 }).await.unwrap();
    scene.serves_from(&[&[2]]).await;
}

#[tokio::test]
async fn loads_say_what_they_lack() {
    let scene = Scene::new(&[1, 2]).await;
    let lacking = message(scene.load(3, &[]).await);
    assert_eq!(lacking.0, Code::Unexpected);
    assert!(lacking.1.contains("when load 3 replica count: service resource insufficient"), "{}", lacking.1);
    scene.create("a", 0).await.unwrap();
    assert_eq!(
        message(scene.load(1, &["a"]).await),
        (
            Code::ResourceGroupNodeNotEnough,
            "resource group node not enough[rg=a][currentNodeNum=0][expectedNodeNum=1]".to_owned()
        )
    );
    assert_eq!(message(scene.load(1, &["b"]).await).0, Code::ResourceGroupNotFound);
    assert!(
        message(scene.load(3, &["a", DEFAULT_RESOURCE_GROUP]).await).1.contains("can only be 0, 1 or same")
    );
    let mut record = collection(2, &[0]);
    record.properties.insert("collection.replica.number".to_owned(), "2".to_owned());
    scene.world.put(&COLLECTION, &record).await;
    scene.load(0, &[]).await.unwrap();
    scene.serves_from(&[&[1], &[2]]).await;
}

#[tokio::test]
async fn groups_are_checked() {
    let scene = Scene::new(&[1, 2]).await;
    scene.create("a", 1).await.unwrap();
    scene.create("a", 1).await.unwrap();
    assert_eq!(message(scene.create("a", 2).await).0, Code::ResourceGroupExists);
    let drop_group = |name: &str| PlacementCommand::DropResourceGroup { name: name.to_owned() };
    assert_eq!(
        message(scene.place(drop_group("a")).await).1,
        "resource group's limits node num is not 0: invalid parameter[expected=not empty resource \
         group][actual=a]"
    );
    let update = |config: ResourceGroupConfig| PlacementCommand::UpdateResourceGroups {
        configs: [("a".to_owned(), config)].into(),
    };
    let from_nowhere =
        ResourceGroupConfig { transfer_from: vec!["x".to_owned()], ..ResourceGroupConfig::default() };
    let refused = message(scene.place(update(from_nowhere)).await);
    assert_eq!(refused.0, Code::ResourceGroupIllegalConfig);
    assert!(refused.1.starts_with("resource group in `TransferFrom` x not exist"), "{}", refused.1);
    let nodes = |metadata: &Metadata| metadata.resource_groups["a"].nodes.len();
    assert_eq!(scene.world.view.read(nodes), 1, "it is given its nodes with the command");
    scene.place(update(ResourceGroupConfig::default())).await.unwrap();
    scene.place(drop_group("a")).await.unwrap();
    scene.place(drop_group("a")).await.unwrap();
    assert!(message(scene.place(drop_group(DEFAULT_RESOURCE_GROUP)).await).1.contains("is not deletable"));
    scene.world.view.read(|metadata| assert!(metadata.resource_groups.is_empty()));
}
