"""The first things a user does."""

import re

from conftest import REPOSITORY


def test_the_example_of_the_readme_runs_as_printed(server, capsys):
    readme = (REPOSITORY / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.S).group(1)
    assert "http://localhost:19530" in example
    exec(compile(example.replace("http://localhost:19530", server.uri), "README.md", "exec"), {})
    printed = re.search(r"```text\n(.*?)```", readme, re.S).group(1)
    assert capsys.readouterr().out.strip() == printed.strip()


def test_quick_create_insert_search_get_delete(client, name):
    client.create_collection(name, dimension=4)
    rows = [{"id": i, "vector": [float(i == j) for j in range(4)], "colour": f"c{i}"} for i in range(4)]
    assert client.insert(name, rows)["insert_count"] == 4
    hits = client.search(name, [[0.0, 1.0, 0.0, 0.0]], limit=2, output_fields=["colour"],
                         consistency_level="Strong")[0]
    assert hits[0]["id"] == 1
    assert hits[0]["distance"] == 1.0
    assert hits[0]["entity"]["colour"] == "c1"
    assert client.get(name, [2])[0]["colour"] == "c2"
    assert client.delete(name, ids=[2])["delete_count"] == 1
    assert client.query(name, filter="", output_fields=["count(*)"], consistency_level="Strong") == [{"count(*)": 3}]
    assert client.query(name, filter='colour == "c3"', output_fields=["id"])[0]["id"] == 3


def test_upsert_flush_statistics_and_drop(client, name):
    client.create_collection(name, dimension=4)
    client.insert(name, [{"id": i, "vector": [float(i)] * 4} for i in range(10)])
    client.upsert(name, [{"id": 3, "vector": [9.0] * 4, "note": "new"}])
    client.flush(name)
    assert client.query(name, filter="id == 3", output_fields=["note"])[0]["note"] == "new"
    assert client.query(name, filter="id >= 0", output_fields=["count(*)"])[0]["count(*)"] == 10
    assert client.get_collection_stats(name)["row_count"] in (10, 11)
    assert client.has_collection(name)
    client.drop_collection(name)
    assert not client.has_collection(name)
