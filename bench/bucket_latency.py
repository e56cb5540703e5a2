#!/usr/bin/env python3
"""How long does an insert into a cluster take, as a function of the bucket's latency?

    scripts/cluster start
    bench/bucket_latency.py --cluster redkite-cluster

The bucket server of scripts/cluster is told to answer later and later; a client inserts one row at a time, then eight
clients do. Prints a table; needs pymilvus.
"""

import argparse
import json
import statistics
import threading
import time
import urllib.request
from pathlib import Path

from pymilvus import DataType, MilvusClient

LATENCIES = [0, 2, 5, 10, 20, 50, 100]  # ms
SECONDS = 5
COLLECTION = "bucket_latency"


def insert(uri, seconds, first, times):
    client = MilvusClient(uri)
    end = time.monotonic() + seconds
    key = first
    while time.monotonic() < end:
        begun = time.perf_counter()
        client.insert(COLLECTION, [{"id": key, "vector": [float(key % 97)] * 8}])
        times.append((time.perf_counter() - begun) * 1000)
        key += 1
    client.close()


def measure(uri, clients, first):
    times = []
    threads = [threading.Thread(target=insert, args=(uri, SECONDS, first + n * 10_000_000, times)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cuts = statistics.quantiles(times, n=100)
    return len(times) / SECONDS, cuts[49], cuts[98]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=Path, default=Path("redkite-cluster"), help="directory of scripts/cluster")
    options = parser.parse_args()
    processes = json.loads((options.cluster / "cluster.json").read_text())
    uri = f"http://{processes['proxy-1']['address']}"
    faults = f"http://{processes['bucket']['address']}/_faults"

    def delay(milliseconds):
        body = json.dumps({"latencyMillis": milliseconds}).encode()
        urllib.request.urlopen(urllib.request.Request(faults, data=body, method="PUT")).close()

    client = MilvusClient(uri)
    client.drop_collection(COLLECTION)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    client.create_collection(COLLECTION, schema=schema)
    print("| bucket's latency ms | clients | inserts/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
    first = 0
    try:
        for latency in LATENCIES:
            delay(latency)
            for clients in (1, 8):
                rate, half, most = measure(uri, clients, first)
                first += 100_000_000
                print(f"| {latency} | {clients} | {rate:.0f} | {half:.1f} | {most:.1f} |", flush=True)
    finally:
        delay(0)
        client.drop_collection(COLLECTION)


if __name__ == "__main__":
    main()
