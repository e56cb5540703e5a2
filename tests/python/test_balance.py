"""Segments that somebody wants on other query nodes."""

import pytest
from conftest import make, vectors
from pymilvus import MilvusException

DEFAULT = "__default_resource_group"
ROWS = 3000


@pytest.fixture
def loaded(client, name):
    make(client, name, {}, dim=8, load=False)
    data = vectors(ROWS, 8)
    for start in range(0, ROWS, 500):
        client.insert(name, [{"id": i, "vector": data[i]} for i in range(start, start + 500)])
        client.flush(name)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 50})
    client.create_index(name, indexes)
    client.load_collection(name)
    return data


def balance(client, *arguments):
    client._get_connection().load_balance(*arguments)


def places(client, name):
    """Of each sealed segment the nodes that answer for it."""
    return {info.segment_id: list(info.node_ids) for info in client.list_loaded_segments(name) if info.node_ids}


def test_segments_go_where_they_are_wanted(client, name, loaded):
    nodes = [node.node_id for node in client.describe_resource_group(DEFAULT).nodes]
    if len(nodes) < 2:
        pytest.skip("there is one query node")
    at = next(iter(places(client, name).values()))[0]
    there = next(node for node in nodes if node != at)
    moving = [segment for segment, holders in places(client, name).items() if holders == [at]]
    balance(client, name, at, [there], moving)
    now = places(client, name)
    assert all(now[segment] == [there] for segment in moving if segment in now), now
    assert client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"] == ROWS
    found = client.search(name, [loaded[7]], limit=1, consistency_level="Strong")
    assert found[0][0]["id"] == 7
    # All of them, to wherever there is room.
    balance(client, name, there, [], [])
    assert all(holders != [there] for holders in places(client, name).values())
    assert client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"] == ROWS


def refused(client, *arguments):
    with pytest.raises(MilvusException) as error:
        balance(client, *arguments)
    return error.value.code, error.value.message


def test_what_is_not_there_is_named(client, name, loaded):
    nodes = [node.node_id for node in client.describe_resource_group(DEFAULT).nodes]
    code, message = refused(client, name, 4711, nodes, [])
    assert code == 901 and "source node not found in any replica" in message and "4711" in message
    code, message = refused(client, name, nodes[0], [4711], [])
    assert code == 901 and "destination node not found in the same replica" in message and "4711" in message
    code, message = refused(client, name, nodes[0], [], [4711])
    assert code == 600 and "segment not found in source node" in message and "4711" in message
    client.release_collection(name)
    code, message = refused(client, name, nodes[0], [], [])
    assert code == 103, message
