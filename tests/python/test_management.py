"""Milvus's management endpoints about query nodes, at whatever process."""

import itertools
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import make, vectors


@pytest.fixture(scope="module")
def ask(server):
    """Asks one process after the other: it must not matter which."""
    processes = getattr(server, "processes", {})
    addresses = [f"http://{about['metrics']}" for about in processes.values() if "metrics" in about]
    turns = itertools.cycle(addresses or [server.metrics])

    def ask(path, **form):
        body = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(f"{next(turns)}/management/querycoord/{path}", body)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
    return ask


OK = (200, {"msg": "OK"})


@pytest.fixture
def loaded(client, name):
    make(client, name, {}, dim=16, load=False)
    client.insert(name, [{"id": i, "vector": vector} for i, vector in enumerate(vectors(3000, 16))])
    client.flush(name)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index(name, indexes)
    client.load_collection(name)
    return name


def eventually(satisfied, patience=60):
    until = time.monotonic() + patience
    while not (value := satisfied()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return value


def nodes(ask):
    status, told = ask("node/list")
    assert status == 200
    return {node["ID"]: node for node in told["nodeInfos"]}


def segments(ask, node):
    status, told = ask(f"distribution/get?node_id={node}")
    assert status == 200 and told.keys() == {"channel_names", "sealed_segmentIDs"}
    assert all(isinstance(segment, str) for segment in told["sealed_segmentIDs"])
    return set(told["sealed_segmentIDs"])


def holder(ask, client, name):
    """The node that has the collection's segment, and the segment."""
    def look():
        of = {str(segment.segment_id) for segment in client.list_loaded_segments(name)}
        return [(node, segment) for node in nodes(ask) for segment in segments(ask, node) & of]
    return eventually(look)[0]


def test_balancing_is_suspended_and_resumed(ask):
    assert ask("balance/status") == (200, {"msg": "OK", "status": "active"})
    try:
        assert ask("balance/suspend") == OK
        assert ask("balance/status") == (200, {"msg": "OK", "status": "suspended"})
    finally:
        assert ask("balance/resume") == OK
    assert ask("balance/status") == (200, {"msg": "OK", "status": "active"})


def test_query_nodes_are_listed(ask):
    present = nodes(ask)
    assert present
    assert all(node["state"] == "active" and ":" in node["address"] for node in present.values()), present


def test_a_suspended_node_is_emptied_and_used_again(ask, client, loaded):
    node, segment = holder(ask, client, loaded)
    if len(nodes(ask)) == 1:
        status, told = ask("node/suspend", node_id=node)
        assert status == 500 and told["msg"].startswith("failed to suspend node, "), told
        return
    try:
        assert ask("node/suspend", node_id=node) == OK
        assert nodes(ask)[node]["state"] == "suspended"
        eventually(lambda: not segments(ask, node))
        assert client.query(loaded, filter="", output_fields=["count(*)"])[0]["count(*)"] == 3000
    finally:
        assert ask("node/resume", node_id=node) == OK
    assert nodes(ask)[node]["state"] == "active"
    assert any(segment in segments(ask, other) for other in nodes(ask))


def test_a_segment_is_moved(ask, client, loaded):
    source, segment = holder(ask, client, loaded)
    others = [node for node in nodes(ask) if node != source]
    if not others:
        status, told = ask("transfer/segment", source_node_id=source, segment_id=segment, copy_mode="false")
        assert status == 500 and told["msg"].startswith("failed to transfer segment, failed to balance segments"), told
        return
    lacks = ask(f"distribution/check?source_node_id={source}&target_node_id={others[0]}")
    assert lacks[0] == 500 and f"segment lacks[segment={segment}]" in lacks[1]["msg"] or len(segments(ask, source)) > 1
    form = {"source_node_id": source, "target_node_id": others[0], "segment_id": segment, "copy_mode": "false"}
    assert ask("transfer/segment", **form) == OK
    eventually(lambda: segment in segments(ask, others[0]) and segment not in segments(ask, source))
    missing = f"failed to transfer segment, segment not found in source node: segment not found[segment={segment}]"
    assert ask("transfer/segment", **form) == (500, {"msg": missing})
    assert client.query(loaded, filter="", output_fields=["count(*)"])[0]["count(*)"] == 3000


def test_what_cannot_be_is_refused(ask):
    node = next(iter(nodes(ask)))
    for path, form, status, words in [
        ("node/suspend", {"node_id": "x"}, 400, "failed to suspend node, node_id"),
        ("node/suspend", {"node_id": 999999}, 500, "failed to suspend query node: node not found[node=999999]"),
        ("node/resume", {"node_id": 999999}, 500, "failed to resume query node: node not found[node=999999]"),
        ("transfer/segment", {"source_node_id": node}, 400, "copy_mode=true, the default, is not supported"),
        ("transfer/segment", {"source_node_id": 999999, "copy_mode": "false"}, 500,
         "the source node is invalid: node not available[node=999999]"),
        ("transfer/channel", {"source_node_id": node}, 501, "failed to transfer channel, service unimplemented"),
        ("distribution/get", {"node_id": 999999}, 500, "node not found[node=999999]"),
        ("distribution/check", {"source_node_id": node, "target_node_id": 999999}, 500, "target node not found"),
    ]:
        answer = ask(path, **form)
        assert answer[0] == status and words in answer[1]["msg"], (path, form, answer)
    assert ask(f"distribution/check?source_node_id={node}&target_node_id={node}") == OK
