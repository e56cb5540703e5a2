"""The process: start, stop, restart, settings, health."""

import json
import os
import subprocess
import time
import urllib.request

import grpc
import pytest
from conftest import Server, binary, indexed, make
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def test_restart_after_kill_keeps_everything(own_server):
    client = MilvusClient(own_server.uri)
    make(client, "kept", {"number": (DataType.INT64, {})}, dynamic=True)
    client.create_partition("kept", "part")
    client.create_alias("kept", "nickname")
    client.insert("kept", [{"id": i, "vector": [float(i)] * 8, "number": i} for i in range(2000)])
    client.flush("kept")
    client.insert("kept", [{"id": i, "vector": [float(i)] * 8, "number": i, "late": True} for i in range(2000, 2100)],
                  partition_name="part")
    client.delete("kept", filter="number < 50")
    client.upsert("kept", [{"id": 100, "vector": [0.0] * 8, "number": -1}])
    client.close()
    own_server.kill()
    own_server.start()
    client = MilvusClient(own_server.uri)
    assert client.query("nickname", filter="", output_fields=["count(*)"])[0]["count(*)"] == 2050
    assert client.query("kept", filter="id == 100", output_fields=["number"])[0]["number"] == -1
    assert len(client.query("kept", filter="late == true", partition_names=["part"])) == 100
    assert client.search("kept", [[1500.0] * 8], limit=1)[0][0]["id"] == 1500
    indexed(client, "kept")


def test_sigterm_stops_cleanly_and_quickly(own_server):
    client = MilvusClient(own_server.uri)
    client.create_collection("some", dimension=4)
    client.insert("some", [{"id": 1, "vector": [1.0] * 4}])
    begun = time.monotonic()
    assert own_server.terminate() == 0
    assert time.monotonic() - begun < 2
    own_server.start()
    assert MilvusClient(own_server.uri).get("some", [1])


@pytest.mark.parametrize("limit, words", [
    ("serverMaxRecvSize", "received message larger than max"),
    ("serverMaxSendSize", "trying to send message larger than max"),
])
def test_messages_that_are_too_large_are_not_tried_again(tmp_path, limit, words):
    server = Server(tmp_path / "data", f"proxy.grpc.{limit}=100000")
    client = MilvusClient(server.uri)
    client.create_collection("some", dimension=1000, consistency_level="Strong")
    rows = [{"id": i, "vector": [1.0] * 1000} for i in range(100)]
    begun = time.monotonic()
    with pytest.raises(Exception, match=words) as refused:
        if limit == "serverMaxSendSize":
            client.insert("some", rows)
            begun = time.monotonic()
            client.query("some", filter="id >= 0", output_fields=["vector"])
        client.insert("some", rows)
    assert "RESOURCE_EXHAUSTED" in str(refused.value)
    assert time.monotonic() - begun < 5
    server.kill()


def test_announced_rows_cost_nothing(server, client, name):
    schema = client.create_schema(auto_id=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4, nullable=True)
    client.create_collection(name, schema=schema)
    channel = grpc.insecure_channel(server.uri.removeprefix("http://"))
    request = milvus_pb2.InsertRequest(collection_name=name, num_rows=2**32 - 1)
    answer = milvus_pb2_grpc.MilvusServiceStub(channel).Insert(request, timeout=10)
    assert answer.status.code == 1102
    assert answer.status.reason == "parameter too large[message=insert request size exceeds maxInsertSize]"
    channel.close()


def test_sigterm_while_starting_stops_too(tmp_path):
    process = subprocess.Popen([binary(), "run", "standalone", "--data-dir", tmp_path / "data", "--set", "proxy.port=0",
                                "--set", "metrics.port=0", "--set", "log.level=off"])
    while not (tmp_path / "data").exists():
        assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=2) == 0


@pytest.fixture
def standalone(tmp_path):
    server = Server(tmp_path / "data")
    yield server
    server.kill()


def test_a_second_server_on_the_directory_is_refused(standalone):
    second = subprocess.run([binary(), "run", "standalone", "--data-dir", standalone.directory, "--set", "proxy.port=0",
                             "--set", "metrics.port=0"], capture_output=True, text=True, timeout=30)
    assert second.returncode != 0
    assert f"data directory {standalone.directory} is in use by another redkite process" in second.stderr


def test_health_of_all_roles(standalone):
    health = json.loads(get(f"{standalone.metrics}/healthz"))
    assert health["state"] == "OK" and {"proxy", "rootcoord", "querynode"} <= {one["name"] for one in health["detail"]}


def test_health_and_metrics(server, client, name):
    assert json.loads(get(f"{server.metrics}/healthz"))["state"] == "OK"
    client.create_collection(name, dimension=4)
    metrics = get(f"{server.metrics}/metrics")
    assert 'milvus_proxy_req_count{' in metrics and 'function_name="CreateCollection"' in metrics


def test_config_prints_values_and_origins(tmp_path):
    file = tmp_path / "redkite.yaml"
    file.write_text("proxy:\n  port: 12345\ncommon:\n  gracefulTme: 3\n")
    printed = subprocess.run([binary(), "config", "--config", file, "--data-dir", "/elsewhere"], capture_output=True,
                             text=True, env={**os.environ, "METRICS_PORT": "9999"}, check=True).stdout
    assert f"proxy.port: 12345  # file {file}" in printed
    assert "metrics.port: 9999  # environment METRICS_PORT" in printed
    assert "localStorage.path: /elsewhere  # command line" in printed
    assert "common.gracefulTime: 5s  # default" in printed
    assert "unknown setting common.gracefulTme" in printed and "did you mean common.gracefulTime?" in printed


@pytest.mark.parametrize("arguments, message", [
    (["--set", "proxy.prot=1"], "did you mean proxy.port?"),
    (["--set", "proxy.port=high"], "proxy.port"),
    (["--set", "log.level=loud"], 'setting log.level = "loud" (command line)'),
    (["--config", "/no/such/file"], "/no/such/file"),
])
def test_bad_settings_are_refused(tmp_path, arguments, message):
    refused = subprocess.run([binary(), "run", "standalone", "--data-dir", tmp_path, *arguments], capture_output=True,
                             text=True, timeout=30)
    assert refused.returncode != 0 and message in refused.stderr


def test_damaged_files_are_refused_loudly(tmp_path):
    server = Server(tmp_path / "data")
    client = MilvusClient(server.uri)
    client.create_collection("some", dimension=4)
    for i in range(20):
        client.insert("some", [{"id": i, "vector": [1.0] * 4}])
    server.kill()
    log = max((tmp_path / "data/wal").rglob("*.log"), key=lambda path: path.stat().st_size)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0xFF
    log.write_bytes(content)
    server.start()
    client = MilvusClient(server.uri)
    with pytest.raises(Exception, match=f"{log.name} is corrupted at byte [0-9]+"):
        client.query("some", filter="id >= 0", timeout=10)
    assert "Abnormal" in urllib_error(f"{server.metrics}/healthz")
    server.kill()


def urllib_error(url):
    try:
        return get(url)
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_metrics_tell_which_processes_there_are(client):
    handler = client._get_connection()
    answer = handler._stub.GetMetrics(milvus_pb2.GetMetricsRequest(request='{"metric_type": "system_info"}'))
    assert answer.status.code == 0
    nodes = [node["infos"] for node in json.loads(answer.response)["nodes_info"]]
    assert {node["type"] for node in nodes} >= {"proxy", "streamingnode", "querynode", "datanode", "querycoord"}
    querynodes = {node["id"] for node in nodes if node["type"] == "querynode"}
    assert querynodes == {node.node_id for node in client.describe_resource_group("__default_resource_group").nodes}
    assert all(node["system_info"]["system_version"] == client.get_server_version() for node in nodes)
