"""Index types, parameters, progress."""

import pytest
from conftest import make, vectors
from pymilvus import DataType, MilvusException

DIM = 16


@pytest.mark.parametrize("index, parameters, search", [
    ("FLAT", {}, {}), ("IVF_FLAT", {"nlist": 32}, {"nprobe": 32}), ("IVF_SQ8", {"nlist": 32}, {"nprobe": 32}),
    ("HNSW", {"M": 16, "efConstruction": 100}, {"ef": 64}), ("AUTOINDEX", {}, {}),
])
@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
def test_vector_indexes_find_neighbours(client, name, index, parameters, search, metric):
    make(client, name, {}, dim=DIM, load=False)
    data = vectors(2000, DIM, seed=3)
    client.insert(name, [{"id": i, "vector": data[i]} for i in range(2000)])
    client.flush(name)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type=index, metric_type=metric, params=parameters)
    client.create_index(name, indexes)
    described = client.describe_index(name, "vector")
    assert described["index_type"] == index and described["metric_type"] == metric
    assert (described["state"], described["indexed_rows"], described["pending_index_rows"]) == ("Finished", 2000, 0)
    client.load_collection(name)
    queries = vectors(20, DIM, seed=4)
    scores = {"L2": lambda q: -((data - q) ** 2).sum(axis=1), "IP": lambda q: data @ q,
              "COSINE": lambda q: data @ q / (data ** 2).sum(axis=1) ** 0.5}[metric]
    results = client.search(name, list(queries), limit=10, search_params={"params": search})
    found = 0
    for hits, query in zip(results, queries):
        nearest = set((-scores(query)).argsort()[:10].tolist())
        found += len({hit["id"] for hit in hits} & nearest)
    assert found >= 0.93 * 200


@pytest.mark.parametrize("field, kinds", [
    ("number", ["INVERTED", "STL_SORT", "BITMAP", "AUTOINDEX"]), ("text", ["INVERTED", "TRIE", "BITMAP", "AUTOINDEX"]),
])
def test_scalar_indexes_change_no_answer(client, name, field, kinds):
    filters = {"number": ["number == 7", "number in [1, 2, 3]", "number > 40", "10 <= number < 20", "number != 5"],
               "text": ["text == 't7'", "text in ['t1', 't2']", "text like 't1%'", "text > 't5'", "text != 't1'"]}[field]
    make(client, name, {"number": (DataType.INT64, {}), "text": (DataType.VARCHAR, {"max_length": 20})})
    client.insert(name, [{"id": i, "vector": [float(i)] * 8, "number": i % 50, "text": f"t{i % 30}"}
                         for i in range(3000)])
    client.flush(name)
    expected = [client.query(name, filter=one, output_fields=["id"]) for one in filters]
    for kind in kinds:
        indexes = client.prepare_index_params()
        indexes.add_index(field, index_type=kind, index_name=f"{field}_index")
        client.create_index(name, indexes)
        assert [client.query(name, filter=one, output_fields=["id"]) for one in filters] == expected, kind
        client.drop_index(name, f"{field}_index")


def test_index_rules(client, name):
    make(client, name, {"number": (DataType.INT64, {})})
    with pytest.raises(MilvusException, match="at most one distinct index is allowed per field"):
        indexes = client.prepare_index_params()
        indexes.add_index("vector", index_type="FLAT", metric_type="L2")
        client.create_index(name, indexes)
    with pytest.raises(MilvusException):
        client.drop_index(name, "vector")
    assert client.list_indexes(name) == ["vector"]
    assert client.describe_index(name, "missing") is None
    client.release_collection(name)
    client.drop_index(name, "vector")
    assert client.list_indexes(name) == []


@pytest.mark.parametrize("index, metric, parameters", [
    ("HNSW", "L2", {"M": 1}), ("HNSW", "L2", {"M": 4096}), ("HNSW", "HAMMING", {}), ("IVF_FLAT", "L2", {"nlist": 0}),
    ("NO_SUCH", "L2", {}), ("IVF_FLAT", "L2", {"nlist": "many"}),
])
def test_bad_index_parameters(client, name, index, metric, parameters):
    make(client, name, {}, load=False)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type=index, metric_type=metric, params=parameters)
    with pytest.raises(MilvusException):
        client.create_index(name, indexes)
