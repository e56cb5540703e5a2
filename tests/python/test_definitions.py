"""Databases, collections, partitions, aliases."""

import uuid

import grpc
import pytest
from conftest import make
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc


def test_databases(client, server):
    database = f"db_{uuid.uuid4().hex}"
    client.create_database(database)
    assert {"default", database} <= set(client.list_databases())
    other = MilvusClient(server.uri, db_name=database)
    other.create_collection("inside", dimension=4)
    assert other.list_collections() == ["inside"]
    assert "inside" not in client.list_collections()
    with pytest.raises(MilvusException):
        client.drop_database(database)
    other.drop_collection("inside")
    client.drop_database(database)
    assert database not in client.list_databases()
    with pytest.raises(MilvusException, match="database not found"):
        client.use_database(database)
    client.use_database("default")


def test_describe_echoes_the_schema(client, name):
    make(client, name, {"text": (DataType.VARCHAR, {"max_length": 64, "nullable": True}),
                        "rank": (DataType.INT64, {"default_value": 7})}, dynamic=True)
    described = client.describe_collection(name)
    fields = {field["name"]: field for field in described["fields"]}
    assert list(fields) == ["id", "vector", "text", "rank"]
    assert fields["id"]["is_primary"]
    assert fields["vector"]["params"]["dim"] == 8
    assert fields["text"]["params"]["max_length"] == 64
    assert fields["text"]["nullable"]
    assert described["enable_dynamic_field"]
    assert described["num_shards"] == 1
    assert described["consistency_level"] == 0


def test_rename_and_aliases(client, name):
    client.create_collection(name, dimension=4)
    alias = f"alias_{uuid.uuid4().hex}"
    client.create_alias(name, alias)
    client.insert(alias, [{"id": 1, "vector": [1.0] * 4}])
    assert client.get(alias, [1])[0]["id"] == 1
    assert client.describe_alias(alias)["collection_name"] == name
    assert client.list_aliases(name)["aliases"] == [alias]
    with pytest.raises(MilvusException, match="alias"):
        client.drop_collection(name)
    renamed = f"renamed_{uuid.uuid4().hex}"
    client.rename_collection(name, renamed)
    assert not client.has_collection(name)
    assert client.get(renamed, [1])[0]["id"] == 1
    client.rename_collection(renamed, name)
    client.drop_alias(alias)


def test_partitions(client, name):
    make(client, name, {})
    client.create_partition(name, "part")
    assert client.has_partition(name, "part")
    assert set(client.list_partitions(name)) == {"_default", "part"}
    client.insert(name, [{"id": 1, "vector": [1.0] * 8}])
    client.insert(name, [{"id": 2, "vector": [2.0] * 8}], partition_name="part")
    assert [row["id"] for row in client.query(name, filter="id > 0", partition_names=["part"])] == [2]
    hits = client.search(name, [[1.0] * 8], limit=10, partition_names=["part"])[0]
    assert [hit["id"] for hit in hits] == [2]
    with pytest.raises(MilvusException, match="partition name missing not found"):
        client.query(name, filter="id > 0", partition_names=["missing"])
    client.release_partitions(name, ["part"])
    client.drop_partition(name, "part")
    assert client.list_partitions(name) == ["_default"]
    assert [row["id"] for row in client.query(name, filter="id > 0")] == [1]


def test_load_state(client, name):
    make(client, name, {}, load=False)
    assert "NotLoad" in str(client.get_load_state(name)["state"])
    with pytest.raises(MilvusException, match="index not found"):
        client.load_collection(name)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index(name, indexes)
    with pytest.raises(MilvusException, match="not loaded"):
        client.search(name, [[1.0] * 8], limit=1)
    client.load_collection(name)
    assert "Loaded" in str(client.get_load_state(name)["state"])
    client.release_collection(name)
    assert "NotLoad" in str(client.get_load_state(name)["state"])


@pytest.mark.parametrize("bad", ["1abc", "a-b", "a b", "", "x" * 256, "中文"])
def test_invalid_collection_names(client, bad):
    with pytest.raises(MilvusException):
        client.create_collection(bad, dimension=4)


def test_what_has_no_effect_is_refused(server, client, name):
    client.create_collection(name, dimension=4)
    client.load_collection(name, refresh=True)
    client.release_collection(name)
    with pytest.raises(MilvusException, match="collection not loaded") as refused:
        client.load_collection(name, refresh=True)
    assert refused.value.code == 101
    with pytest.raises(MilvusException, match=r"resource group not found\[rg=rg1\]"):
        client.load_collection(name, resource_groups=["rg1"])
    with pytest.raises(MilvusException, match="clustering compaction"):
        client.compact(name, is_clustering=True)
    stub = milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(server.uri.removeprefix("http://")))
    answer = stub.FlushAll(milvus_pb2.FlushAllRequest(db_name="nowhere"))
    assert (answer.status.code, answer.status.reason) == (800, "database not found[database=nowhere]")
