#!/usr/bin/env python3
"""Does anything of a cluster grow for ever? Inserts, deletes, flushes and compactions for half an hour over a collection
that always has as many rows, while memory, objects and the metastore are measured.

    scripts/cluster start --querynode 2 --set dataCoord.segment.maxSize=16MiB
    bench/soak.py --cluster redkite-cluster [--minutes 30]

One client moves a window over the keys: each round inserts a batch at its end and deletes one at its beginning, by
filter, and every few rounds flushes; another creates, fills and drops collections; two search strongly. Every round
checks `count(*)` and a strong search against what must be there. Prints a table of samples and at the end compares the
last third with the second; more than a fifth above it is a failure. Needs pymilvus and numpy.
"""

import argparse
import json
import statistics
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy
from pymilvus import DataType, MilvusClient

LASTING = "soak"
PASSING = "soak_passing"
DIMENSION = 64
WINDOW = 40_000  # rows that are there at any time
BATCH = 500
FLUSH_EVERY = 8  # rounds
PAUSE = 0.25  # s between rounds
GROWTH = 1.2


def get(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=10) as answer:
        return json.load(answer)


def resident_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Load:
    """What the clients do; `failure` is the first thing that went wrong."""

    def __init__(self, uri):
        self.uri, self.over, self.failure = uri, threading.Event(), None
        self.rounds = self.searches = self.dropped = 0

    def run(self, work):
        client = MilvusClient(self.uri)
        try:
            work(client)
        except Exception as error:  # reported by the main thread
            self.failure = self.failure or f"{work.__name__}: {error}"
            self.over.set()

    def create(self, client, name):
        client.drop_collection(name)
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="HNSW", metric_type="L2", M=16, efConstruction=100)
        client.create_collection(name, schema=schema, index_params=index, num_shards=2, consistency_level="Strong")

    def insert(self, client, name, first, count):
        vectors = numpy.random.default_rng(first).random((count, DIMENSION), dtype=numpy.float32)
        rows = [{"id": first + n, "vector": vector} for n, vector in enumerate(vectors)]
        client.insert(name, rows)
        return vectors

    def write(self, client):
        self.create(client, LASTING)
        end = 0
        while end < WINDOW:
            self.insert(client, LASTING, end, 5_000)
            end += 5_000
        while not self.over.is_set():
            vectors = self.insert(client, LASTING, end, BATCH)
            end += BATCH
            client.delete(LASTING, filter=f"id < {end - WINDOW}")
            count = client.query(LASTING, output_fields=["count(*)"])[0]["count(*)"]
            assert count == WINDOW, f"{count} rows in place of {WINDOW}"
            nearest = client.search(LASTING, [vectors[-1]], limit=1)[0][0]["id"]
            assert nearest == end - 1, f"row {end - 1} is acknowledged, and a strong search finds {nearest}"
            self.rounds += 1
            time.sleep(PAUSE)
            if self.rounds % FLUSH_EVERY == 0:
                client.flush(LASTING)

    def search(self, client):
        while not client.has_collection(LASTING) and not self.over.is_set():
            time.sleep(0.1)
        random = numpy.random.default_rng()
        while not self.over.is_set():
            found = client.search(LASTING, random.random((4, DIMENSION), dtype=numpy.float32), limit=10)
            ids = [[hit["id"] for hit in hits] for hits in found]
            assert all(len(set(row)) == len(row) for row in ids), f"a row twice: {ids}"
            self.searches += 1
            time.sleep(0.02)

    def define(self, client):
        while not self.over.is_set():
            self.create(client, PASSING)
            self.insert(client, PASSING, 0, BATCH)
            client.flush(PASSING)
            client.drop_collection(PASSING)
            self.dropped += 1
            time.sleep(1)


def sample(processes, first):
    """What is measured, by name."""
    bucket = get(f"http://{processes['bucket']['address']}/_stats")
    etcd = f"http://{processes['etcd']['address']}/v3"
    every = {"key": "AA==", "range_end": "AA==", "count_only": True}
    keys = int(get(f"{etcd}/kv/range", every).get("count", 0))
    seen = {"objects": bucket["objects"], "objects MiB": bucket["bytes"] / 2**20, "etcd keys": keys}
    for name, about in processes.items():
        if "metrics" in about:
            role = name.rsplit("-", 1)[0]
            seen[f"{role} MiB"] = seen.get(f"{role} MiB", 0.0) + resident_mib(about["pid"])
    return {"minutes": (time.monotonic() - first) / 60, **seen}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=Path, default=Path("redkite-cluster"), help="directory of scripts/cluster")
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    processes = json.loads((options.cluster / "cluster.json").read_text())
    load = Load(f"http://{processes['proxy-1']['address']}")
    first = time.monotonic()
    works = [load.write, load.search, load.search, load.define]
    threads = [threading.Thread(target=load.run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    samples = []
    period = options.minutes * 60 / 30
    while not load.over.wait(period) and time.monotonic() - first < options.minutes * 60:
        seen = sample(processes, first)
        if not samples:
            print("| " + " | ".join(seen) + " |\n|" + "---|" * len(seen))
        print("| " + " | ".join(f"{value:.0f}" for value in seen.values()) + " |", flush=True)
        samples.append(seen)
    load.over.set()
    for thread in threads:
        thread.join()
    if load.failure:
        sys.exit(load.failure)
    print(f"\n{load.rounds} rounds of {BATCH} rows in and out, {load.searches} searches, {load.dropped} collections dropped\n")
    third = len(samples) // 3
    grown = []
    print("| | second third | last third | ratio |\n|---|---|---|---|")
    for name in list(samples[0])[1:]:
        # Garbage comes and goes: medians of a third are compared.
        before, after = (statistics.median(seen[name] for seen in part) for part in (samples[third:-third], samples[-third:]))
        print(f"| {name} | {before:.0f} | {after:.0f} | {after / max(before, 1):.2f} |")
        if after > max(before, 1) * GROWTH:
            grown.append(name)
    if grown:
        sys.exit(f"grows: {', '.join(grown)}")


if __name__ == "__main__":
    main()
