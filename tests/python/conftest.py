"""Servers for the tests of the real client: started here, on ports the system chooses.

With REDKITE_CLUSTER set, such as "proxy=2 querynode=3" (or "" for one of each role), `server` and `own_server`
are clusters of separate processes on a real etcd, made by scripts/cluster.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

REPOSITORY = Path(__file__).resolve().parents[2]


def binary() -> Path:
    path = Path(os.environ.get("REDKITE_BIN", REPOSITORY / "target/debug/redkite"))
    assert path.exists(), f"no server at {path}: run `make server`"
    return path


class Server:
    """A standalone server on a directory."""

    def __init__(self, directory: Path, *settings: str):
        self.directory = directory
        self.settings = settings
        self.start()

    def start(self):
        arguments = [binary(), "run", "standalone", "--data-dir", self.directory]
        for setting in ("proxy.port=0", "metrics.port=0", "proxy.ip=127.0.0.1", "log.format=json", *self.settings):
            arguments += ["--set", setting]
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        addresses, said = {}, []
        for line in self.process.stderr:
            said.append(line)
            fields = json.loads(line).get("fields", {}) if line.startswith("{") else {}
            if fields.get("message") == "listening":
                addresses[fields["service"]] = fields["address"]
            if {"proxy", "metrics"} <= addresses.keys():
                break
        else:
            raise AssertionError(f"server ended with {self.process.wait()}:\n{''.join(said)}")
        self.uri = f"http://{addresses['proxy']}"
        self.metrics = f"http://{addresses['metrics']}"
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self):
        for line in self.process.stderr:
            print("server:", line, end="", file=sys.stderr)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.kill()

    def terminate(self, patience: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=patience)


class Cluster:
    """Separate processes that can be used as a server can."""

    def __init__(self, directory: Path, shape: str):
        self.directory = directory
        self.shape = [f"--{pair}" for pair in shape.split()]
        self.start()

    def _cluster(self, *arguments, check=True):
        command = [sys.executable, REPOSITORY / "scripts/cluster", "--dir", self.directory, *arguments]
        environment = {**os.environ, "REDKITE_BIN": str(binary())}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.returncode

    def start(self):
        self._cluster("start", "--port", "0", *self.shape)
        self.processes = json.loads((self.directory / "cluster.json").read_text())
        proxies = [about for name, about in self.processes.items() if name.startswith("proxy-")]
        self.metrics = f"http://{proxies[0]['metrics']}"
        self._uris = itertools.cycle([f"http://{proxy['address']}" for proxy in proxies])

    @property
    def uri(self):
        """One proxy after the other: it must not matter which."""
        return next(self._uris)

    def kill(self, *names):
        """Kills these processes, or all."""
        for name in names or self.processes:
            if name not in ("etcd", "bucket"):
                self._cluster("kill", name)

    def terminate(self) -> int:
        return self._cluster("stop", check=False)

    def remove(self):
        self._cluster("remove")


def started(directory: Path):
    shape = os.environ.get("REDKITE_CLUSTER")
    return Server(directory) if shape is None else Cluster(directory, shape)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = started(tmp_path_factory.mktemp("data"))
    yield server
    server.remove()


@pytest.fixture
def own_server(tmp_path):
    """A server the test may kill and start again."""
    server = started(tmp_path / "data")
    yield server
    server.remove()


@pytest.fixture
def client(server):
    client = MilvusClient(server.uri)
    yield client
    client.close()


@pytest.fixture
def name(client):
    """A collection name of the test's own; the collection is dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    yield name
    client.drop_collection(name)


def vectors(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def make(client, name, fields, dim=8, index="AUTOINDEX", metric="L2", load=True, dynamic=False, **options):
    """A collection with an Int64 primary key `id`, a vector `vector` and more scalar fields."""
    schema = client.create_schema(auto_id=False, enable_dynamic_field=dynamic)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    for field, (data_type, parameters) in fields.items():
        schema.add_field(field, data_type, **parameters)
    indexes = client.prepare_index_params()
    parameters = {"M": 16, "efConstruction": 100} if index == "HNSW" else {}
    indexes.add_index("vector", index_type=index, metric_type=metric, **parameters)
    client.create_collection(name, schema=schema, index_params=indexes if load else None,
                             consistency_level="Strong", **options)


def indexed(client, name, field="vector"):
    """Waits until every flushed row is indexed."""
    while (described := client.describe_index(name, field))["state"] != "Finished":
        assert described["state"] != "Failed", described
