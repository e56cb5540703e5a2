"""Insert one row, search it strongly: what a Python client waits, on the collection that redkite-bench filled.

    .venv/bin/python bench/read_your_write.py [ROUNDS]
"""

import random
import sys
import time

from pymilvus import MilvusClient

COLLECTION = "redkite_bench"


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    client = MilvusClient("http://127.0.0.1:19530")
    fields = client.describe_collection(COLLECTION)["fields"]
    dim = next(field["params"]["dim"] for field in fields if field["name"] == "vector")
    first = client.query(COLLECTION, output_fields=["count(*)"])[0]["count(*)"] + 1_000_000
    took = []
    for key in range(first, first + rounds):
        vector = [random.gauss(0, dim**-0.5) for _ in range(dim)]
        length = sum(value * value for value in vector) ** 0.5
        vector = [value / length for value in vector]
        begun = time.perf_counter()
        client.insert(COLLECTION, {"id": key, "bucket": key % 100, "vector": vector})
        found = client.search(COLLECTION, [vector], anns_field="vector", limit=10, consistency_level="Strong")
        took.append((time.perf_counter() - begun) * 1e3)
        assert found[0][0]["id"] == key, f"row {key} is acknowledged, and a strong search finds {found[0][:2]}"
    client.delete(COLLECTION, filter=f"id >= {first}")
    # The first call loads modules of the client.
    took = sorted(took[1:])
    p50, p99 = (took[len(took) * share // 100] for share in (50, 99))
    print(f"{len(took)} rounds: p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {took[-1]:.2f} ms")


main()
