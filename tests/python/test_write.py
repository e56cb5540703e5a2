"""Inserts, upserts, deletes, types."""

import ml_dtypes
import numpy as np
import pytest
from conftest import make, vectors
from pymilvus import DataType, MilvusException


def test_every_scalar_type_comes_back(client, name):
    make(client, name, {
        "b": (DataType.BOOL, {}), "i8": (DataType.INT8, {}), "i16": (DataType.INT16, {}),
        "i32": (DataType.INT32, {}), "f": (DataType.FLOAT, {}), "d": (DataType.DOUBLE, {}),
        "text": (DataType.VARCHAR, {"max_length": 100}), "json": (DataType.JSON, {}),
    }, dynamic=True)
    row = {"id": 1, "vector": [0.5] * 8, "b": True, "i8": -128, "i16": 32767, "i32": -5, "f": 1.5, "d": 1e300,
           "text": "grüße", "json": {"a": [1, {"b": None}]}, "extra": {"deep": [1, 2]}}
    client.insert(name, [row])
    for flushed in (False, True):
        if flushed:
            client.flush(name)
        found = client.query(name, filter="id == 1", output_fields=["*"])[0]
        assert found == row


@pytest.mark.parametrize("data_type, dtype", [(DataType.FLOAT16_VECTOR, np.float16),
                                              (DataType.BFLOAT16_VECTOR, ml_dtypes.bfloat16)])
def test_half_precision_vectors(client, name, data_type, dtype):
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("half", data_type, dim=16)
    indexes = client.prepare_index_params()
    indexes.add_index("half", index_type="HNSW", metric_type="COSINE", M=8, efConstruction=64)
    client.create_collection(name, schema=schema, index_params=indexes, consistency_level="Strong")
    data = vectors(50, 16).astype(dtype)
    client.insert(name, [{"id": i, "half": data[i]} for i in range(50)])
    for flushed in (False, True):
        if flushed:
            client.flush(name)
        hits = client.search(name, [data[7]], limit=1, anns_field="half")[0]
        assert hits[0]["id"] == 7
        assert hits[0]["distance"] == pytest.approx(1.0, abs=1e-2)


def test_auto_id(client, name):
    schema = client.create_schema(auto_id=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    client.create_collection(name, schema=schema)
    ids = client.insert(name, [{"vector": [1.0] * 4} for _ in range(5)])["ids"]
    assert len(set(ids)) == 5


def test_varchar_primary_keys(client, name):
    client.create_collection(name, dimension=4, id_type="string", max_length=32)
    client.insert(name, [{"id": key, "vector": [1.0] * 4} for key in ("a", "b", "ü")])
    client.delete(name, ids=["a"])
    rows = client.query(name, filter='id in ["a", "b", "ü"]', consistency_level="Strong")
    assert sorted(row["id"] for row in rows) == ["b", "ü"]


def test_nulls_and_defaults(client, name):
    make(client, name, {"maybe": (DataType.INT64, {"nullable": True}),
                        "kind": (DataType.VARCHAR, {"max_length": 10, "default_value": "plain"})})
    client.insert(name, [{"id": 1, "vector": [1.0] * 8, "maybe": 5, "kind": "odd"},
                         {"id": 2, "vector": [1.0] * 8, "maybe": None}])
    for flushed in (False, True):
        if flushed:
            client.flush(name)
        rows = {row["id"]: row for row in client.query(name, filter="id > 0", output_fields=["maybe", "kind"])}
        assert rows[1]["maybe"] == 5 and rows[1]["kind"] == "odd"
        assert rows[2]["maybe"] is None and rows[2]["kind"] == "plain"
        assert [row["id"] for row in client.query(name, filter="maybe is null")] == [2]
        assert [row["id"] for row in client.query(name, filter="maybe is not null")] == [1]
        assert client.query(name, filter="maybe != 5") == []


def test_an_upsert_replaces_in_its_partition(client, name):
    client.create_collection(name, dimension=4)
    for partition in ("spring", "autumn"):
        client.create_partition(name, partition)
        client.insert(name, [{"id": 1, "vector": [0.0] * 4, "group": 1}], partition_name=partition)
    client.upsert(name, [{"id": 1, "vector": [0.0] * 4, "group": 2}], partition_name="spring")
    client.flush(name)
    client.upsert(name, [{"id": 1, "vector": [0.0] * 4, "group": 3}])

    def group(partition):
        rows = client.query(name, "id == 1", ["group"], partition_names=[partition])
        return [row["group"] for row in rows]

    assert [group(partition) for partition in ("spring", "autumn", "_default")] == [[2], [1], [3]]


def test_delete_by_filter_and_upsert_across_a_flush(client, name):
    make(client, name, {"group": (DataType.INT64, {})})
    client.insert(name, [{"id": i, "vector": [float(i)] * 8, "group": i % 5} for i in range(1000)])
    client.flush(name)
    client.delete(name, filter="group == 3")
    client.upsert(name, [{"id": 1, "vector": [0.0] * 8, "group": 77}])
    assert client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"] == 800
    assert client.query(name, filter="group == 3") == []
    assert [row["id"] for row in client.query(name, filter="group == 77")] == [1]
    assert client.query(name, filter="id == 1", output_fields=["group"])[0]["group"] == 77


def test_two_vector_fields(client, name):
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("left", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("right", DataType.FLOAT_VECTOR, dim=8)
    indexes = client.prepare_index_params()
    indexes.add_index("left", index_type="FLAT", metric_type="L2")
    indexes.add_index("right", index_type="IVF_FLAT", metric_type="IP", nlist=4)
    client.create_collection(name, schema=schema, index_params=indexes, consistency_level="Strong")
    client.insert(name, [{"id": i, "left": [float(i)] * 4, "right": [float(-i)] * 8} for i in range(20)])
    assert client.search(name, [[3.0] * 4], limit=1, anns_field="left")[0][0]["id"] == 3
    assert client.search(name, [[-1.0] * 8], limit=1, anns_field="right")[0][0]["id"] == 19
    with pytest.raises(MilvusException):
        client.search(name, [[-1.0] * 8], limit=1)


@pytest.mark.parametrize("row, message", [
    ({"id": 1}, "vector"),
    ({"id": 1, "vector": [1.0] * 7}, "dim"),
    ({"id": "x", "vector": [1.0] * 8}, "id"),
    ({"id": 1, "vector": [float("nan")] * 8}, "NaN"),
])
def test_bad_rows_are_refused(client, name, row, message):
    make(client, name, {})
    with pytest.raises(Exception, match=message):
        client.insert(name, [row])
    assert client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"] == 0


def test_varchar_too_long(client, name):
    make(client, name, {"text": (DataType.VARCHAR, {"max_length": 4})})
    with pytest.raises(MilvusException, match="max length"):
        client.insert(name, [{"id": 1, "vector": [1.0] * 8, "text": "grüße"}])
