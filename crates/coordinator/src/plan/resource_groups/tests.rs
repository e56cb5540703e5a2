use proptest::prelude::*;

use super::*;
use crate::nodes::RESOURCE_GROUP_LABEL;

fn ids(ids: &[i64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn open(nodes: &[i64]) -> RoleNodes {
    nodes.iter().copied().map(NodeId).collect()
}

fn group(requests: u32, limits: u32) -> ResourceGroupConfig {
    ResourceGroupConfig { requests, limits, ..ResourceGroupConfig::default() }
}

fn configs(groups: &[(&str, ResourceGroupConfig)]) -> Configs {
    let default = (DEFAULT_RESOURCE_GROUP.to_owned(), ResourceGroupConfig::unlimited());
    let groups = groups.iter().map(|(name, config)| ((*name).to_owned(), config.clone()));
    std::iter::once(default).chain(groups).collect()
}

fn members(groups: &[(&str, &[i64])]) -> Members {
    groups.iter().map(|(name, nodes)| ((*name).to_owned(), ids(nodes))).collect()
}

#[test]
fn what_is_requested_is_taken_from_the_default_group() {
    let configs = configs(&[("a", group(2, 2)), ("b", group(0, 5))]);
    let assigned = assign(&configs, &Members::new(), &open(&[1, 2, 3]));
    assert_eq!(assigned["a"].len(), 2);
    assert_eq!(assigned["b"].len(), 0, "requests nothing");
    let again = assign(&configs, &assigned, &open(&[1, 2, 3]));
    assert_eq!(again, assigned);
}

#[test]
fn a_dead_node_is_replaced_and_no_other_moves() {
    let configs = configs(&[("a", group(2, 2))]);
    let assigned = assign(&configs, &members(&[("a", &[1, 2])]), &open(&[1, 3, 4]));
    assert_eq!(assigned["a"], ids(&[1, 4]));
    assert_eq!(assigned[DEFAULT_RESOURCE_GROUP], ids(&[3]));
}

#[test]
fn a_group_is_not_robbed_of_what_it_requests() {
    let mut configs = configs(&[("a", group(2, 2)), ("b", group(2, 3))]);
    configs.insert(DEFAULT_RESOURCE_GROUP.to_owned(), group(1, 10));
    let assigned = assign(&configs, &members(&[("b", &[2, 3, 4])]), &open(&[1, 2, 3, 4]));
    assert_eq!((assigned["a"].len(), assigned["b"].len(), assigned[DEFAULT_RESOURCE_GROUP].len()), (1, 2, 1));
}

#[test]
fn preferred_groups_give_first_and_those_above_their_limit_before_them() {
    let from_c = ResourceGroupConfig { transfer_from: vec!["c".to_owned()], ..group(1, 1) };
    let configs = configs(&[("a", from_c), ("b", group(0, 9)), ("c", group(0, 9))]);
    let nodes = open(&[1, 2, 3, 4]);
    let assigned = assign(&configs, &members(&[("b", &[1, 2, 3]), ("c", &[4])]), &nodes);
    assert_eq!(assigned["a"], ids(&[4]));
    let mut tight = configs.clone();
    tight.insert("b".to_owned(), group(0, 2));
    let assigned = assign(&tight, &members(&[("b", &[1, 2, 3]), ("c", &[4])]), &nodes);
    assert_eq!(assigned["a"], ids(&[3]), "b has one too many");
}

#[test]
fn what_is_too_much_goes_where_the_group_says_or_to_the_default() {
    let to_b = ResourceGroupConfig { transfer_to: vec!["b".to_owned()], ..group(0, 1) };
    let configs = configs(&[("a", to_b), ("b", group(0, 1))]);
    let assigned = assign(&configs, &members(&[("a", &[1, 2, 3])]), &open(&[1, 2, 3]));
    assert_eq!((&assigned["a"], &assigned["b"]), (&ids(&[1]), &ids(&[3])));
    assert_eq!(assigned[DEFAULT_RESOURCE_GROUP], ids(&[2]));
}

#[test]
fn a_swap_of_two_groups_hands_the_nodes_over() {
    let configs = configs(&[("old", group(0, 0)), ("new", group(2, 2))]);
    let assigned = assign(&configs, &members(&[("old", &[5, 6])]), &open(&[1, 2, 5, 6]));
    assert_eq!(assigned["new"], ids(&[5, 6]));
}

#[test]
fn labels_decide_who_may_come() {
    let label = |key: &str, value: &str| LiveNode {
        labels: [(key.to_owned(), value.to_owned())].into(),
        ..LiveNode::default()
    };
    let fast =
        ResourceGroupConfig { node_labels: vec![("disk".to_owned(), "fast".to_owned())], ..group(2, 2) };
    let configs = configs(&[("a", fast), ("b", group(0, 9))]);
    let nodes: RoleNodes = [
        (NodeId(1), LiveNode::default()),
        (NodeId(2), label("disk", "fast")),
        (NodeId(3), label("disk", "slow")),
        (NodeId(4), label(RESOURCE_GROUP_LABEL, "b")),
        (NodeId(5), LiveNode { stopping: true, ..label("disk", "fast") }),
    ]
    .into_iter()
    .collect();
    let assigned = assign(&configs, &members(&[("a", &[1, 4])]), &nodes);
    assert_eq!((&assigned["a"], &assigned["b"]), (&ids(&[2]), &ids(&[4])));
    assert_eq!(assigned[DEFAULT_RESOURCE_GROUP], ids(&[1, 3]));
}

fn config() -> impl Strategy<Value = ResourceGroupConfig> {
    let names = || prop::collection::vec((0..5_u8).prop_map(|name| format!("g{name}")), 0..2);
    let labels = prop::collection::vec((0..2_u8).prop_map(|v| ("l".to_owned(), v.to_string())), 0..2);
    (0..4_u32, 0..4_u32, names(), names(), labels).prop_map(
        |(requests, more, transfer_from, transfer_to, node_labels)| ResourceGroupConfig {
            requests,
            limits: requests + more,
            transfer_from,
            transfer_to,
            node_labels,
        },
    )
}

fn live() -> impl Strategy<Value = LiveNode> {
    let labels = prop::collection::btree_map(
        prop_oneof![Just("l".to_owned()), Just(RESOURCE_GROUP_LABEL.to_owned())],
        prop_oneof![Just("0".to_owned()), Just("1".to_owned()), Just("g1".to_owned())],
        0..2,
    );
    (any::<bool>(), labels).prop_map(|(stopping, labels)| LiveNode { stopping, labels })
}

proptest! {
    #[test]
    fn it_ends_is_stable_and_leaves_nobody_out(
        groups in prop::collection::btree_map((0..5_u8).prop_map(|name| format!("g{name}")), config(), 0..5),
        default in prop::option::of(config()),
        nodes in prop::collection::btree_map((0..12_i64).prop_map(NodeId), live(), 0..12),
        recorded in prop::collection::btree_map((0..12_i64).prop_map(NodeId), (0..5_u8).prop_map(|name| format!("g{name}")), 0..12),
    ) {
        let mut configs = groups;
        configs.insert(DEFAULT_RESOURCE_GROUP.to_owned(), default.unwrap_or_else(ResourceGroupConfig::unlimited));
        let nodes: RoleNodes = nodes.into_iter().collect();
        let mut present = Members::new();
        for (node, group) in recorded {
            present.entry(group).or_default().insert(node);
        }
        let assigned = assign(&configs, &present, &nodes);
        let all: Vec<NodeId> = assigned.values().flatten().copied().collect();
        prop_assert_eq!(all.len(), nodes.open().len());
        prop_assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), nodes.open());
        // Membership of the default group is not recorded.
        let mut kept = assigned.clone();
        kept.remove(DEFAULT_RESOURCE_GROUP);
        prop_assert_eq!(assign(&configs, &kept, &nodes), assigned.clone());
        let assignment = Assignment { configs: &configs, nodes: &nodes, members: assigned };
        for (lacking, _) in configs.iter().filter(|(name, _)| assignment.missing(name) > 0) {
            for source in configs.keys().filter(|source| *source != lacking) {
                prop_assert!(assignment.spare(source) == 0 || assignment.candidate(source, lacking).is_none());
            }
        }
        for (name, config) in &configs {
            let own = |node: &&NodeId| nodes.get(**node).unwrap().resource_group() == Some(name.as_str());
            let moveable = assignment.members[name].iter().filter(|node| !own(node)).count();
            if name != DEFAULT_RESOURCE_GROUP && moveable > 0 {
                let most = (config.limits as usize).max(assignment.size(name) - moveable);
                prop_assert!(assignment.size(name) <= most, "{name} is over its limit");
            }
        }
    }
}
