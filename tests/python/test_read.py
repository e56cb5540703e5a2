"""Searches, queries, iterators, consistency."""

import numpy as np
import pytest
from conftest import indexed, make, vectors
from pymilvus import DataType, MilvusException

ROWS, DIM = 3000, 16


@pytest.fixture(scope="module")
def data():
    return vectors(ROWS, DIM, seed=1)


@pytest.fixture(scope="module", params=["growing", "sealed"])
def filled(request, server, data):
    from pymilvus import MilvusClient

    client = MilvusClient(server.uri)
    name = f"read_{request.param}"
    make(client, name, {"group": (DataType.INT64, {}), "text": (DataType.VARCHAR, {"max_length": 20})},
         dim=DIM, index="HNSW", dynamic=True)
    client.insert(name, [{"id": i, "vector": data[i], "group": i % 100, "text": f"t{i % 10}", "dyn": i}
                         for i in range(ROWS)])
    if request.param == "sealed":
        client.flush(name)
        indexed(client, name)
    yield client, name
    client.drop_collection(name)


def exact(data, query, rows, k):
    distances = ((data[rows] - query) ** 2).sum(axis=1)
    return [int(rows[i]) for i in np.argsort(distances, kind="stable")[:k]]


@pytest.mark.parametrize("filter, keep", [("", lambda i: True), ("group < 50", lambda i: i % 100 < 50),
                                          ("group < 10", lambda i: i % 100 < 10), ("group == 7", lambda i: i % 100 == 7)])
def test_search_recall_under_filters(filled, data, filter, keep):
    client, name = filled
    rows = np.array([i for i in range(ROWS) if keep(i)])
    queries = vectors(20, DIM, seed=2)
    results = client.search(name, list(queries), limit=10, filter=filter, search_params={"params": {"ef": 64}})
    found = sum(len({hit["id"] for hit in hits} & set(exact(data, query, rows, 10)))
                for hits, query in zip(results, queries))
    assert found >= 0.95 * 200


def test_scores_offsets_and_order(filled, data):
    client, name = filled
    query = data[5]
    hits = client.search(name, [query], limit=20, search_params={"params": {"ef": 128}})[0]
    assert hits[0]["id"] == 5 and hits[0]["distance"] == 0
    distances = [hit["distance"] for hit in hits]
    assert distances == sorted(distances)
    paged = client.search(name, [query], limit=10, offset=10, search_params={"params": {"ef": 128}})[0]
    assert [hit["id"] for hit in paged] == [hit["id"] for hit in hits[10:]]
    rounded = client.search(name, [query], limit=5, round_decimal=2)[0]
    assert all(hit["distance"] == pytest.approx(round(hit["distance"], 2)) for hit in rounded)


def test_output_fields(filled, data):
    client, name = filled
    hit = client.search(name, [data[3]], limit=1, output_fields=["*"])[0][0]["entity"]
    assert hit["group"] == 3 and hit["text"] == "t3" and hit["dyn"] == 3
    assert np.allclose(hit["vector"], data[3])


def test_range_search(filled, data):
    client, name = filled
    all_distances = ((data - data[0]) ** 2).sum(axis=1)
    radius, inner = float(np.sort(all_distances)[50]), float(np.sort(all_distances)[10])
    hits = client.search(name, [data[0]], limit=100,
                         search_params={"params": {"radius": radius, "range_filter": inner, "ef": 512}})[0]
    assert hits and all(inner <= hit["distance"] < radius for hit in hits)
    assert len(hits) >= 38


def test_query_limit_offset_and_count(filled):
    client, name = filled
    rows = client.query(name, filter="group == 7", output_fields=["group", "dyn"])
    assert len(rows) == ROWS // 100 and all(row["group"] == 7 for row in rows)
    page = client.query(name, filter="group == 7", limit=5, offset=3)
    assert [row["id"] for row in page] == [307, 407, 507, 607, 707]
    assert client.query(name, filter="group < 10", output_fields=["count(*)"])[0]["count(*)"] == ROWS // 10
    assert client.query(name, ids=[1, 5], output_fields=["id"]) == [{"id": 1}, {"id": 5}]
    with pytest.raises(MilvusException, match="limit"):
        client.query(name, filter="")


@pytest.mark.parametrize("filter, keep", [
    ("id in [1, 5, 99999]", lambda i: i in (1, 5)),
    ("group > 10 and not (text == 't1')", lambda i: i % 100 > 10 and i % 10 != 1),
    ("text like 't%' and group in [1, 2]", lambda i: i % 100 in (1, 2)),
    ("10 < id <= 20 or dyn == 2000", lambda i: 10 < i <= 20 or i == 2000),
    ("dyn % 7 == 3 && group != 5", lambda i: i % 7 == 3 and i % 100 != 5),
    ("group + 5 > 100", lambda i: i % 100 + 5 > 100),
    ('$meta["dyn"] >= 2990', lambda i: i >= 2990),
    ("missing == 1", lambda i: False),
])
def test_filters(filled, filter, keep):
    client, name = filled
    found = {row["id"] for row in client.query(name, filter=filter, output_fields=["id"])}
    assert found == {i for i in range(ROWS) if keep(i)}


def test_filter_templates(filled):
    client, name = filled
    rows = client.query(name, filter="id in {ids} and text == {text}",
                        filter_params={"ids": [1, 2, 11], "text": "t1"}, output_fields=["id"])
    assert [row["id"] for row in rows] == [1, 11]


@pytest.mark.parametrize("filter", ["group ==", "group == 'x'", "(group > 1", "group in 5", "vector > 1",
                                    "(" * 5000 + "id > 1" + ")" * 5000])
def test_bad_filters_are_refused(filled, filter):
    client, name = filled
    with pytest.raises(MilvusException, match="cannot parse expression|failed to create query plan"):
        client.query(name, filter=filter)


@pytest.mark.parametrize("limit, offset", [(0, 0), (16385, 0), (10, 16380), (-1, 0)])
def test_search_limits(filled, data, limit, offset):
    client, name = filled
    with pytest.raises(MilvusException):
        client.search(name, [data[0]], limit=limit, offset=offset)


def test_metric_mismatch(filled, data):
    client, name = filled
    with pytest.raises(MilvusException, match="metric type not match"):
        client.search(name, [data[0]], limit=1, search_params={"metric_type": "IP"})


def test_search_iterator(filled, data):
    client, name = filled
    iterator = client.search_iterator(name, [data[0]], batch_size=500, limit=2000,
                                      search_params={"metric_type": "L2", "params": {"ef": 600}})
    ids, last = [], -1.0
    while page := iterator.next():
        ids += [hit["id"] for hit in page]
        assert page[0]["distance"] >= last
        last = page[-1]["distance"]
    iterator.close()
    assert len(ids) == len(set(ids)) == 2000


def test_query_iterator_sees_a_snapshot(filled):
    client, name = filled
    iterator = client.query_iterator(name, batch_size=700, filter="group < 50", output_fields=["id"])
    ids = [row["id"] for row in iterator.next()]
    client.insert(name, [{"id": 1_000_000, "vector": [0.0] * DIM, "group": 0, "text": "late"}])
    while page := iterator.next():
        ids += [row["id"] for row in page]
    iterator.close()
    client.delete(name, ids=[1_000_000])
    assert ids == [i for i in range(ROWS) if i % 100 < 50]


@pytest.mark.parametrize("level", ["Strong", "Session", "Bounded", "Eventually"])
def test_own_writes_are_seen(client, name, level):
    make(client, name, {})
    for i in range(30):
        client.insert(name, [{"id": i, "vector": [float(i)] * 8}])
        if level in ("Strong", "Session"):
            hit = client.search(name, [[float(i)] * 8], limit=1, consistency_level=level)[0][0]
            assert (hit["id"], hit["distance"]) == (i, 0.0)
            assert client.query(name, filter=f"id == {i}", consistency_level=level)
        else:
            client.search(name, [[float(i)] * 8], limit=1, consistency_level=level)
