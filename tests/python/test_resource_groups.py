"""Resource groups, replicas, and what is told of segments; with as many query nodes as there are."""

import time
import uuid

import pytest
from conftest import make, vectors
from pymilvus import MilvusException
from pymilvus.client.types import ResourceGroupConfig

DEFAULT = "__default_resource_group"


def config(requests, limits, **more):
    return ResourceGroupConfig(requests={"node_num": requests}, limits={"node_num": limits}, **more)


@pytest.fixture
def group(client):
    name = f"rg_{uuid.uuid4().hex}"
    yield name
    try:
        client.update_resource_groups({name: config(0, 0)})
    except MilvusException:
        pass
    client.drop_resource_group(name)


def check(call, code, text):
    with pytest.raises(MilvusException) as error:
        call()
    assert (error.value.code, text in error.value.message) == (code, True), error.value


def eventually(satisfied, patience=30):
    deadline = time.monotonic() + patience
    while not satisfied():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rows(client, name, count=3000):
    make(client, name, {}, dim=8, load=False)
    data = vectors(count, 8)
    client.insert(name, [{"id": i, "vector": data[i]} for i in range(count)])
    client.flush(name)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 50})
    client.create_index(name, indexes)


def test_the_default_group_has_all_nodes(client):
    assert DEFAULT in client.list_resource_groups()
    default = client.describe_resource_group(DEFAULT)
    assert (default.name, default.capacity) == (DEFAULT, 1_000_000)
    assert default.num_available_node == len(default.nodes) >= 1
    assert all(node.node_id > 0 and ":" in node.address for node in default.nodes)
    with pytest.raises(MilvusException) as error:
        client.drop_resource_group(DEFAULT)
    # As in Milvus, what other tests have loaded is looked at first.
    reasons = ["default resource group is not deletable", f"some replicas still loaded in resource group[{DEFAULT}]"]
    assert error.value.code == 1100 and any(reason in error.value.message for reason in reasons), error.value


def test_groups_are_made_listed_changed_and_dropped(client, group):
    client.create_resource_group(group, config=config(0, 3))
    client.create_resource_group(group, config=config(0, 3))
    check(lambda: client.create_resource_group(group, config=config(0, 2)), 301,
          f"resource group already exist, but create with different config[rg={group}]")
    assert group in client.list_resource_groups()
    described = client.describe_resource_group(group)
    assert (described.capacity, described.num_available_node) == (0, 0)
    assert (described.config.requests.node_num, described.config.limits.node_num) == (0, 3)
    check(lambda: client.drop_resource_group(group), 1100, "resource group's limits node num is not 0")
    labels = {"node_labels": [{"key": "disk", "value": "fast"}]}
    client.update_resource_groups({group: config(0, 1, transfer_to=[{"resource_group": DEFAULT}], node_filter=labels)})
    described = client.describe_resource_group(group)
    assert described.config.transfer_to[0].resource_group == DEFAULT
    assert described.config.node_filter.node_labels[0].value == "fast"
    client.update_resource_groups({group: config(0, 0)})
    client.drop_resource_group(group)
    client.drop_resource_group(group)
    assert group not in client.list_resource_groups()
    check(lambda: client.describe_resource_group(group), 300, f"resource group not found[rg={group}]")


def test_bad_configurations_are_refused(client, group):
    check(lambda: client.create_resource_group("1st"), 1100, "Invalid resource group name 1st.")
    check(lambda: client.create_resource_group(group, config=config(2, 1)), 303,
          "limits node num should not less than requests node num")
    check(lambda: client.create_resource_group(group, config=config(-1, 1)), 303, "should not less than 0")
    check(lambda: client.create_resource_group(group, config=config(0, 1, transfer_from=[{"resource_group": "nobody"}])),
          303, "resource group in `TransferFrom` nobody not exist")
    check(lambda: client.update_resource_groups({group: config(0, 1)}), 300, "resource group not found")
    check(lambda: client._get_connection().transfer_node(DEFAULT, DEFAULT, 1), 1100, "should not be the same")
    client.create_resource_group(group)
    check(lambda: client._get_connection().transfer_node(DEFAULT, group, 1000), 304, "resource group node not enough")
    check(lambda: client._get_connection().transfer_node(DEFAULT, group, 0), 1100, "invalid NumNode 0")
    user = f"{group}_user"
    client.create_resource_group(user, config=config(0, 0, transfer_from=[{"resource_group": group}]))
    check(lambda: client.drop_resource_group(group), 1100, f"resource group {group} is used by {user}'s `TransferFrom`")
    client.drop_resource_group(user)


def test_nodes_go_where_they_are_requested_and_come_back(client, group):
    nodes = {node.node_id for node in client.describe_resource_group(DEFAULT).nodes}
    client.create_resource_group(group, config=config(0, 0))
    client._get_connection().transfer_node(DEFAULT, group, 1)
    moved = client.describe_resource_group(group)
    assert (moved.capacity, moved.num_available_node, moved.config.limits.node_num) == (1, 1, 1)
    left = {node.node_id for node in client.describe_resource_group(DEFAULT).nodes}
    assert left | {node.node_id for node in moved.nodes} == nodes and len(left) == len(nodes) - 1
    client.update_resource_groups({group: config(0, 0)})
    assert client.describe_resource_group(group).num_available_node == 0
    assert client.describe_resource_group(DEFAULT).num_available_node == len(nodes)


def test_replicas_need_nodes_of_their_own(client, name, group):
    rows(client, name)
    nodes = {node.node_id for node in client.describe_resource_group(DEFAULT).nodes}
    check(lambda: client.load_collection(name, replica_number=len(nodes) + 1), 65535,
          f"when load {len(nodes) + 1} replica count: service resource insufficient")
    check(lambda: client.load_collection(name, resource_groups=[group]), 300, f"resource group not found[rg={group}]")
    client.create_resource_group(group)
    check(lambda: client.load_collection(name, resource_groups=[group]), 304,
          f"resource group node not enough[rg={group}][currentNodeNum=0][expectedNodeNum=1]")
    check(lambda: client.load_collection(name, replica_number=3, resource_groups=[DEFAULT, group]), 1100,
          "resource group num can only be 0, 1 or same as replica number")
    client.load_collection(name, replica_number=len(nodes))
    replicas = client.describe_replica(name)
    assert len(replicas) == len({replica.id for replica in replicas}) == len(nodes)
    assert {replica.resource_group for replica in replicas} == {DEFAULT}
    used = [node for replica in replicas for node in replica.group_nodes]
    assert len(used) == len(set(used)) and set(used) == nodes
    assert all(shard.shard_leader > 0 for replica in replicas for shard in replica.shards)
    assert client.describe_resource_group(DEFAULT).num_loaded_replica[name] == len(nodes)
    check(lambda: client.load_partitions(name, ["_default"], replica_number=len(nodes) + 1), 1100,
          "can't change the replica number for loaded partitions")
    check(lambda: client.transfer_replica(group, DEFAULT, name, 1), 1100, "only found [0] replicas")
    before = {replica.id for replica in replicas}
    client.load_collection(name)
    assert {replica.id for replica in client.describe_replica(name)} == before, "nothing asked, nothing changed"
    client.load_collection(name, replica_number=1)
    assert {replica.id for replica in client.describe_replica(name)} < before or len(nodes) == 1
    assert len(client.query(name, filter="id >= 0", output_fields=["count(*)"])) == 1
    client.release_collection(name)
    check(lambda: client.describe_replica(name), 101, "collection not loaded")


def test_a_replica_follows_its_group(client, name, group):
    rows(client, name)
    client.load_collection(name, replica_number=1)
    [replica] = client.describe_replica(name)
    client.create_resource_group(group)
    client.transfer_replica(DEFAULT, group, name, 1)
    [moved] = client.describe_replica(name)
    assert (moved.id, moved.resource_group) == (replica.id, group)
    # The group has no node yet: the replica goes on with those that it is to leave.
    assert client.query(name, filter="id >= 0", output_fields=["count(*)"])[0]["count(*)"] == 3000
    eventually(lambda: client.describe_replica(name)[0].num_outbound_node.get(DEFAULT, 0) >= 1)
    assert client.describe_resource_group(group).num_outgoing_node[name] >= 1
    assert client.describe_resource_group(DEFAULT).num_incoming_node[name] >= 1
    check(lambda: client.drop_resource_group(group), 1100, f"some replicas still loaded in resource group[{group}]")
    client._get_connection().transfer_node(DEFAULT, group, 1)
    eventually(lambda: not client.describe_replica(name)[0].num_outbound_node)
    [node] = client.describe_resource_group(group).nodes
    assert set(client.describe_replica(name)[0].group_nodes) == {node.node_id}
    assert client.query(name, filter="id >= 0", output_fields=["count(*)"])[0]["count(*)"] == 3000
    client.transfer_replica(group, DEFAULT, name, 1)
    client._get_connection().transfer_node(group, DEFAULT, 1)
    client.update_resource_groups({DEFAULT: config(0, 1_000_000)})
    eventually(lambda: not client.describe_replica(name)[0].num_outbound_node)
    assert client.query(name, filter="id >= 0", output_fields=["count(*)"])[0]["count(*)"] == 3000


def test_segments_are_told_with_their_sizes(client, name):
    rows(client, name)
    client.load_collection(name)
    persistent = client.list_persistent_segments(name)
    assert sum(segment.num_rows for segment in persistent) == 3000
    assert all(segment.is_sorted for segment in persistent)
    nodes = {node.node_id for node in client.describe_resource_group(DEFAULT).nodes}
    for segment in client._get_connection().get_query_segment_info(name):
        assert segment.segmentID in {known.segment_id for known in persistent}
        assert (segment.num_rows > 0, segment.mem_size > 8 * 4 * segment.num_rows) == (True, True)
        assert segment.state == 3, "sealed"
        assert set(segment.nodeIds) <= nodes and segment.nodeIds
        assert segment.index_name == "vector"
