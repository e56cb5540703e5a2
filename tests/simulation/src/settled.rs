//! Has a cluster come to rest as it should? Looked up in the records themselves.

use std::collections::{BTreeMap, BTreeSet};

use redkite_catalog::{Key as _, Metadata, SegmentRecord};
use redkite_cluster::SessionInfo;
use redkite_types::{CollectionId, NodeId, SegmentId, ShardId};

use crate::cluster::Cluster;

/// What is not at rest yet, or never will be.
#[must_use]
pub fn problems(cluster: &Cluster) -> Vec<String> {
    let metadata = metadata(cluster);
    let mut sessions = BTreeMap::new();
    for entry in cluster.etcd.look("session/").entries {
        if let Some(name) = entry.key.strip_prefix("session/")
            && let Ok(info) = SessionInfo::from_value(&entry.key, &entry.value)
        {
            sessions.insert(name.to_owned(), info);
        }
    }
    let mut problems = Vec::new();
    let live = live_nodes(cluster, &mut problems);
    check_sessions(&sessions, &live, &mut problems);
    check_shards(&metadata, &live, &mut problems);
    check_views(&metadata, &live, &mut problems);
    check_holds(&metadata, &live, &mut problems);
    problems.extend(metadata.tasks.keys().map(|task| format!("task {task} is not done")));
    problems.extend(metadata.results.keys().map(|task| format!("the result of task {task} is left")));
    problems.extend(metadata.dropped.keys().map(|id| format!("collection {id} is not gone")));
    problems.extend(metadata.unreadable.iter().map(|key| format!("{key} is not readable")));
    problems
}

/// Objects in the bucket that nobody needs any more.
#[must_use]
pub fn leaks(cluster: &Cluster) -> Vec<String> {
    let metadata = metadata(cluster);
    let deltas: BTreeSet<&str> = metadata
        .checkpoints
        .values()
        .flat_map(|checkpoint| &checkpoint.deltas)
        .map(|delta| delta.path.as_str())
        .collect();
    let needed = |name: &String| {
        let mut parts = name.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("segments" | "indexes"), Some(collection), Some(segment)) => {
                let key = <(CollectionId, SegmentId)>::decode(&format!("{collection}/{segment}"));
                key.is_some_and(|key| metadata.segments.contains_key(&key))
            }
            (Some("deltas"), ..) => deltas.contains(name.as_str()),
            // A put that was given up may land after its log was removed; it is found when a streaming node starts.
            _ => true,
        }
    };
    cluster.bucket.names().into_iter().filter(|name| !needed(name)).collect()
}

/// The records.
#[must_use]
pub fn metadata(cluster: &Cluster) -> Metadata {
    let mut metadata = Metadata::default();
    for entry in cluster.etcd.look("").entries {
        metadata.put(&entry.key, &entry.value, entry.mod_revision);
    }
    metadata
}

/// Node ids by role, as the cluster knows its processes.
type Live = BTreeMap<&'static str, BTreeSet<NodeId>>;

fn live_nodes(cluster: &Cluster, problems: &mut Vec<String>) -> Live {
    let mut live = Live::new();
    for run in cluster.runs() {
        let roles: &[&'static str] = match run.job {
            "mixcoord" => &["rootcoord", "datacoord", "querycoord"],
            _ => std::slice::from_ref(&run.job),
        };
        match run.node() {
            Some(node) => roles.iter().for_each(|role| {
                live.entry(role).or_default().insert(node);
            }),
            None => problems.push(format!("{} has not started", run.place)),
        }
    }
    live
}

fn check_sessions(sessions: &BTreeMap<String, SessionInfo>, live: &Live, problems: &mut Vec<String>) {
    let mut registered = Live::new();
    for (name, info) in sessions {
        match live.get_key_value(info.server_name.as_str()) {
            Some((role, _)) if name.contains('-') => {
                registered.entry(role).or_default().insert(info.node());
            }
            Some((_, nodes)) if nodes.contains(&info.node()) => {}
            _ => problems.push(format!("session {name} is of nobody")),
        }
    }
    for (role, nodes) in live {
        if registered.get(role) != Some(nodes) {
            problems.push(format!("{role}: {nodes:?} run, {:?} are registered", registered.get(role)));
        }
        if role.ends_with("coord") && !sessions.contains_key(*role) {
            problems.push(format!("no {role} is active"));
        }
    }
}

fn is_live(live: &Live, role: &str, node: NodeId) -> bool {
    live.get(role).is_some_and(|nodes| nodes.contains(&node))
}

fn check_shards(metadata: &Metadata, live: &Live, problems: &mut Vec<String>) {
    for (id, collection) in &metadata.collections {
        for ordinal in 0..collection.shards {
            let shard = ShardId { collection: *id, ordinal };
            let Some(assigned) = metadata.assignments.get(&shard) else {
                problems.push(format!("shard {shard} has no leader"));
                continue;
            };
            if !is_live(live, "streamingnode", assigned.node) {
                problems.push(format!("shard {shard} is led by node {}, which is gone", assigned.node));
            }
            let serves = |status: &redkite_catalog::ShardStatus| {
                (status.node, status.epoch) == (assigned.node, assigned.epoch)
            };
            if !metadata.shards.get(&shard).is_some_and(|status| serves(status)) {
                problems.push(format!("shard {shard} is not served by its leader"));
            }
        }
    }
    let stray =
        metadata.assignments.keys().filter(|shard| !metadata.collections.contains_key(&shard.collection));
    problems.extend(stray.map(|shard| format!("shard {shard} is of no collection")));
}

fn check_views(metadata: &Metadata, live: &Live, problems: &mut Vec<String>) {
    for ((shard, replica), view) in &metadata.views {
        if !metadata.loads.contains_key(&shard.collection) {
            problems.push(format!("view {shard}/{replica} of what is not loaded"));
            continue;
        }
        let mut seen = BTreeSet::new();
        for segment in &view.segments {
            if !seen.insert(segment.segment) {
                problems.push(format!("view {shard}/{replica} names segment {} twice", segment.segment));
            }
            if !is_live(live, "querynode", segment.node) {
                problems.push(format!("view {shard}/{replica} names node {}, which is gone", segment.node));
            }
        }
        let served = served(metadata, *shard);
        if seen != served {
            problems.push(format!("view {shard}/{replica} has {seen:?}, there are {served:?}"));
        }
    }
    for (collection, load) in &metadata.loads {
        let Some(record) = metadata.collections.get(collection) else {
            problems.push(format!("collection {collection} is loaded, but not there"));
            continue;
        };
        let all = record.partitions.iter().all(|partition| load.loaded.contains(&partition.id));
        if !all {
            problems.push(format!("collection {collection} is not loaded wholly"));
        }
        let views = metadata.views_of(*collection).count();
        let wanted =
            usize::from(record.shards) * metadata.replicas.get(collection).map_or(0, |r| r.replicas.len());
        let none = metadata.segments_of(*collection).all(|segment| !segment.is_flushed());
        if views != wanted && !none {
            problems.push(format!("collection {collection} has {views} views of {wanted}"));
        }
    }
}

/// The segments of a shard that are served if they are loaded.
fn served(metadata: &Metadata, shard: ShardId) -> BTreeSet<SegmentId> {
    let of_shard =
        |segment: &&redkite_catalog::Entry<SegmentRecord>| segment.shard == shard && segment.is_flushed();
    metadata.segments_of(shard.collection).filter(of_shard).map(|segment| segment.id).collect()
}

fn check_holds(metadata: &Metadata, live: &Live, problems: &mut Vec<String>) {
    let mut named: BTreeMap<(NodeId, CollectionId), BTreeSet<SegmentId>> = BTreeMap::new();
    for ((shard, _), view) in &metadata.views {
        for segment in &view.segments {
            named.entry((segment.node, shard.collection)).or_default().insert(segment.segment);
        }
    }
    for (place @ (node, collection), hold) in &metadata.holds {
        if !is_live(live, "querynode", *node) {
            problems.push(format!("node {node} is to hold {:?}, but is gone", hold.segments));
        }
        let named = named.get(place).cloned().unwrap_or_default();
        if hold.segments != named {
            let segments = &hold.segments;
            problems
                .push(format!("node {node} is to hold {segments:?} of {collection}, views name {named:?}"));
        }
        let held: BTreeSet<_> =
            metadata.held.get(place).map(|held| held.segments.keys().copied().collect()).unwrap_or_default();
        if held != hold.segments {
            let failures = metadata.held.get(place).map(|held| &held.failures);
            let not = hold.segments.difference(&held).collect::<Vec<_>>();
            problems.push(format!("node {node} does not hold {not:?} of {collection}: {failures:?}"));
        }
    }
    let left = metadata.held.iter().filter(|(place, held)| {
        let nothing = held.segments.is_empty() && held.failures.is_empty();
        !nothing && !metadata.holds.contains_key(place)
    });
    problems
        .extend(left.map(|((node, collection), _)| format!("node {node} still holds some of {collection}")));
}
