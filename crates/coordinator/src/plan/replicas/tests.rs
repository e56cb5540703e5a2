use proptest::prelude::*;

use super::*;

const GROUP: &str = "g";

fn nodes(ids: &[i64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn fleet(groups: &[(&str, &[i64])]) -> Fleet {
    let groups = groups.iter().map(|(name, members)| ((*name).to_owned(), nodes(members))).collect();
    Fleet { groups, ..Fleet::default() }
}

fn in_group(group: &str, members: &[i64]) -> ReplicaRecord {
    ReplicaRecord { resource_group: group.to_owned(), nodes: nodes(members) }
}

fn replicas(shares: &[&[i64]]) -> BTreeMap<ReplicaId, ReplicaRecord> {
    (1..).map(ReplicaId).zip(shares.iter().map(|share| in_group(GROUP, share))).collect()
}

fn views(named: &[&[i64]]) -> InViews {
    (1..).map(ReplicaId).zip(named.iter().map(|named| nodes(named))).collect()
}

/// The shares of replicas of one group.
fn divided(shares: &[&[i64]], named: &[&[i64]], members: &[i64]) -> Vec<Vec<i64>> {
    let next = divide(&replicas(shares), &views(named), &fleet(&[(GROUP, members)]));
    next.values().map(|replica| replica.nodes.iter().map(|node| node.0).collect()).collect()
}

#[test]
fn nodes_are_divided_evenly() {
    assert_eq!(divided(&[&[]], &[], &[1, 2, 3]), [[1, 2, 3]]);
    assert_eq!(divided(&[&[], &[]], &[], &[1, 2, 3, 4]), [[1, 2], [3, 4]]);
    assert_eq!(divided(&[&[], &[]], &[], &[1, 2, 3]), [vec![1, 2], vec![3]]);
    assert_eq!(divided(&[&[], &[]], &[], &[7]), [vec![7], vec![]]);
    assert_eq!(divided(&[&[]], &[], &[]), [Vec::<i64>::new()]);
}

#[test]
fn what_is_even_stays_as_it_is() {
    assert_eq!(divided(&[&[1, 4], &[2, 3]], &[&[1, 4], &[2]], &[1, 2, 3, 4]), [[1, 4], [2, 3]]);
    assert_eq!(divided(&[&[1], &[2, 3]], &[&[1], &[2, 3]], &[1, 2, 3]), [vec![1], vec![2, 3]]);
}

#[test]
fn a_dead_node_is_replaced_by_a_free_one() {
    assert_eq!(divided(&[&[1], &[2]], &[&[1], &[2]], &[2, 3]), [[3], [2]]);
    // Nobody is free: what is left is divided.
    assert_eq!(divided(&[&[1], &[2]], &[&[1], &[2]], &[2]), [vec![], vec![2]]);
}

#[test]
fn a_replica_without_nodes_gets_one_once_it_is_left() {
    let members = [2, 3];
    // Replica 1 has lost its node; replica 2 has two, and both serve.
    assert_eq!(divided(&[&[1], &[2, 3]], &[&[1], &[2, 3]], &members), [vec![], vec![2]]);
    assert_eq!(divided(&[&[], &[2]], &[&[1], &[2, 3]], &members), [vec![], vec![2]], "still served from 3");
    assert_eq!(divided(&[&[], &[2]], &[&[1], &[2]], &members), [[3], [2]]);
}

#[test]
fn new_nodes_go_to_the_replica_with_fewest() {
    assert_eq!(divided(&[&[1, 2], &[3]], &[&[1, 2], &[3]], &[1, 2, 3, 9]), [[1, 2], [3, 9]]);
}

#[test]
fn a_node_that_comes_back_is_taken_by_the_replica_that_left_it() {
    assert_eq!(divided(&[&[], &[2]], &[&[1], &[2]], &[1, 2, 3]), [vec![1, 3], vec![2]]);
}

#[test]
fn what_a_removed_replica_serves_from_is_taken_at_once() {
    let named = [(ReplicaId(1), nodes(&[1])), (ReplicaId(9), nodes(&[2]))].into();
    let next = divide(&replicas(&[&[1]]), &named, &fleet(&[(GROUP, &[1, 2])]));
    assert_eq!(next[&ReplicaId(1)].nodes, nodes(&[1, 2]));
}

#[test]
fn a_replica_that_changes_its_group_leaves_its_nodes() {
    let moved = BTreeMap::from([(ReplicaId(1), in_group("h", &[1])), (ReplicaId(2), in_group("g", &[]))]);
    let fleet = fleet(&[("g", &[1, 2]), ("h", &[3])]);
    let named = views(&[&[1], &[]]);
    let next = divide(&moved, &named, &fleet);
    assert_eq!(next[&ReplicaId(1)].nodes, nodes(&[3]));
    assert_eq!(next[&ReplicaId(2)].nodes, nodes(&[2]), "1 is still in use by the other");
    let gone = divide(&next, &views(&[&[3], &[2]]), &fleet);
    assert_eq!(gone[&ReplicaId(2)].nodes, nodes(&[1, 2]));
    let nowhere = BTreeMap::from([(ReplicaId(1), in_group("dropped", &[1]))]);
    assert_eq!(divide(&nowhere, &named, &fleet)[&ReplicaId(1)].nodes, nodes(&[]));
}

fn node_set() -> impl Strategy<Value = BTreeSet<NodeId>> {
    prop::collection::btree_set((1..10_i64).prop_map(NodeId), 0..8)
}

proptest! {
    /// Views follow the shares, nodes come and go: no node is ever shared, and in the end all is even.
    #[test]
    fn replicas_never_share_a_node(
        groups in prop::collection::vec(0..2_u8, 1..4),
        rounds in prop::collection::vec((node_set(), any::<prop::sample::Index>()), 1..8),
    ) {
        let named = |group: u8| if group == 0 { "g" } else { "h" };
        let mut replicas: BTreeMap<_, _> =
            (1..).map(ReplicaId).zip(groups.iter().map(|group| in_group(named(*group), &[]))).collect();
        let mut in_views = InViews::new();
        let mut last = Fleet::default();
        for (alive, chosen) in &rounds {
            let (low, high): (BTreeSet<_>, BTreeSet<_>) = alive.iter().partition(|node| node.0 <= 5);
            last = Fleet { groups: [("g".to_owned(), low), ("h".to_owned(), high)].into(), ..Fleet::default() };
            replicas = divide(&replicas, &in_views, &last);
            check(&replicas, &in_views, alive)?;
            prop_assert_eq!(&divide(&replicas, &in_views, &last), &replicas, "stable");
            // One of them follows.
            let id = ReplicaId(1 + chosen.index(replicas.len()) as i64);
            in_views.insert(id, replicas[&id].nodes.clone());
        }
        for _ in 0..8 {
            for (id, replica) in &replicas {
                in_views.insert(*id, replica.nodes.clone());
            }
            replicas = divide(&replicas, &in_views, &last);
        }
        for group in ["g", "h"] {
            let shares: Vec<usize> = replicas
                .values().filter(|replica| replica.resource_group == group).map(|replica| replica.nodes.len()).collect();
            let (most, least) = (shares.iter().max(), shares.iter().min());
            if let (Some(most), Some(least)) = (most, least) {
                prop_assert!(most - least <= 1, "{:?}", replicas);
                prop_assert_eq!(shares.iter().sum::<usize>(), last.groups[group].len());
            }
        }
    }
}

fn check(
    replicas: &BTreeMap<ReplicaId, ReplicaRecord>,
    in_views: &InViews,
    alive: &BTreeSet<NodeId>,
) -> Result<(), TestCaseError> {
    let mut users: BTreeMap<NodeId, ReplicaId> = BTreeMap::new();
    for (id, replica) in replicas {
        let named = in_views.get(id).into_iter().flatten().filter(|node| alive.contains(node));
        for node in replica.nodes.iter().chain(named) {
            let other = users.insert(*node, *id);
            prop_assert!(other.is_none_or(|other| other == *id), "{} is used twice", node);
        }
    }
    Ok(())
}
