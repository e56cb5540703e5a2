"""The page at /webui, in a real browser: what it shows, on a desk and on a phone, and when nobody answers."""

import json
import os
import signal
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import Browser
from conftest import make, vectors
from pymilvus import MilvusClient

SIZES = {"desk": (1280, 900), "phone": (320, 640)}
# Elements that reach beyond the window, unless something cuts them off on purpose.
OVERFLOWING = """
[...document.querySelectorAll("body *")].filter(one => {
  const { left, right, width } = one.getBoundingClientRect();
  return width > 0 && (left < -0.5 || right > innerWidth + 0.5) && !one.closest("thead, .bar");
}).map(one => one.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(params=SIZES)
def page(request, browser):
    page = browser.page(*SIZES[request.param])
    yield page
    if directory := os.environ.get("REDKITE_PICTURES"):
        page.picture(Path(directory) / f"{request.node.name}.png")
    page.close()


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def data(server, metrics=None):
    return json.loads(fetch(f"{metrics or server.metrics}/webui/data"))


def post(server, path, form=""):
    request = urllib.request.Request(f"{server.metrics}/management/querycoord/{path}", form.encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture
def loaded(client, name):
    """A loaded collection with two sealed segments of different partitions."""
    make(client, name, {}, dim=64, load=False)
    client.create_partition(name, "other")
    for partition in ("_default", "other"):
        rows = [{"id": i, "vector": vector} for i, vector in enumerate(vectors(2000, 64))]
        client.insert(name, rows, partition_name=partition)
        client.flush(name)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index(name, indexes)
    client.load_collection(name)
    return name


def live(page, url):
    page.open(url)
    page.wait_for("document.querySelector('#state')?.dataset.state === 'live'")


def unharmed(page, origin):
    """Nothing went wrong, nothing came from elsewhere, nothing has to be scrolled to sideways."""
    assert page.errors == []
    assert page.requests and all(url.startswith((origin, "data:")) for url in page.requests), page.requests
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run(OVERFLOWING) == []


def test_the_cluster_is_seen(server, loaded, page):
    live(page, f"{server.metrics}/webui")
    page.wait_for(f"document.querySelector('#legend').innerText.includes('{loaded}')")
    shown = data(server)
    rows = page.texts("#nodes tr")
    assert len(rows) == len(shown["nodes"]) >= 1
    for row, node in zip(rows, shown["nodes"]):
        assert f"Node {node['node']}" in row and "serving" in row and " of " in row, row
    # Its colour has a width in some bar.
    place = next(i for i, it in enumerate(shown["collections"]) if it["name"] == loaded)
    page.wait_for(f"[...document.querySelectorAll('#nodes .bar .c{place}')].some(it => it.offsetWidth > 0)")
    coordinators = page.texts("#coordinators tr")
    assert all(role in row for role, row in zip(["rootcoord", "datacoord", "querycoord"], coordinators, strict=True))
    assert all("Node" in row and "first start" in row for row in coordinators), coordinators
    assert any(f"{loaded}/0" in chip for chip in page.texts("#shards .chips li"))
    assert "On" in page.text("#balance")
    unharmed(page, server.metrics)


def test_it_follows_by_itself(server, page):
    live(page, f"{server.metrics}/webui/")
    try:
        post(server, "balance/suspend")
        page.wait_for("document.querySelector('#balance').innerText.includes('Suspended')")
    finally:
        post(server, "balance/resume")
    page.wait_for("!document.querySelector('#balance').innerText.includes('Suspended')")
    unharmed(page, server.metrics)


@contextmanager
def paused(server, node):
    """The process of a node does nothing for a while; short enough not to count as dead."""
    pid = next(about["pid"] for about in server.processes.values() if about.get("address") == node["address"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_move_is_seen(server, loaded, page):
    def places():
        shown = data(server)
        ids = [one["id"] for one in shown["collections"] if one["name"] == loaded]
        holds = lambda node: any(held["collection"] in ids for held in node["held"])
        return next(filter(holds, shown["nodes"]), None), [node for node in shown["nodes"] if not holds(node)]

    until = time.monotonic() + 30
    while not (found := places())[0]:
        assert time.monotonic() < until
        time.sleep(0.2)
    source, others = found
    if not others:
        pytest.skip("there is no node to move to")
    live(page, f"{server.metrics}/webui")
    form = f"source_node_id={source['node']}&target_node_id={others[0]['node']}&copy_mode=false"
    way = f"{source['node']} → {others[0]['node']}"
    with ThreadPoolExecutor() as threads:
        with paused(server, others[0]):
            moved = threads.submit(post, server, "transfer/segment", form)
            page.wait_for(f"document.querySelector('#moves').innerText.includes('{loaded}')")
            under_way = page.text("#moves")
            assert way in under_way and "by hand" in under_way, under_way
        assert moved.result() == {"msg": "OK"}
    page.wait_for(f"document.querySelector('#history').innerText.includes('{loaded}')")
    row = next(row for row in page.texts("#history tr") if loaded in row)
    assert "by hand" in row and "done" in row and way in row
    page.wait_for(f"!document.querySelector('#moves').innerText.includes('{loaded}')")
    unharmed(page, server.metrics)


def test_every_process_has_the_page(server, loaded):
    processes = getattr(server, "processes", {"standalone": {"metrics": server.metrics.removeprefix("http://")}})
    addresses = [about["metrics"] for about in processes.values() if "metrics" in about]
    assert addresses
    for address in addresses:
        assert "<title>Redkite</title>" in fetch(f"http://{address}/webui")
        told = data(server, f"http://{address}")
        assert told["coordinator"]["problem"] is None and told["metastore"]["problem"] is None
        assert [one["active"] is not None for one in told["coordinators"]] == [True] * 3
        assert all(node["limit"] > 0 for node in told["nodes"])


# Names that try to become markup, a large cluster, moves under way.
BAD = "<img src=x onerror='window.harmed=1'>" + "x" * 60


def picture(now):
    place = lambda node: {"node": str(node), "address": f"a-rather-long-host-name-of-node-{node}.cluster.local:21123",
                          "host": "host", "stopping": False}
    move = {"segment": "459130584093458817", "collection": BAD, "from": "1", "to": "2", "bytes": 734003200,
            "reason": "uneven_memory", "begun": now - 3000}
    names = [BAD, *(f"collection_{i}" for i in range(7))]
    held = [{"collection": str(i), "bytes": 1 << 27, "segments": 3} for i in range(8)]
    node = lambda i: {**place(i), "state": ["serving", "draining", "unknown"][i % 3], "held": held, "limit": 1 << 31,
                      "other": 1 << 28, "serves": 20, "cpu": 1.5, "cores": 4, "coming": 1, "going": 2,
                      "drain": {"begun": now, "bytes": 1 << 30, "left": 1 << 29} if i % 3 == 1 else None}
    shards = {"total": 60, "shards": [{"collection": BAD, "ordinal": i, "serving": i != 1} for i in range(3)]}
    election = {"epoch": 7, "node": "9", "at": now - 90_000, "reason": "died", "by": f"node 3 on {BAD}", "waited": 412}
    apart = {"lowest": 10.0, "highest": 47.5, "mean": 30.0, "difference": 37.5}
    return {
        "now": now, "process": {"node": "5", "version": "0.1.0"},
        "coordinator": {"at": now, "problem": None}, "metastore": {"at": now, "problem": None},
        "balance": {"automatic": True, "suspended": False, "evening": True, "memory": apart, "cpu": apart, "moving": 2,
                    "waiting": 5, "waiting_bytes": 1 << 30, "unplaced_total": 3,
                    "unplaced": [{"segment": "1", "on": None, "bytes": 5, "obstacle": BAD}]},
        "collections": [{"id": str(i), "name": name, "bytes": 1 << 30} for i, name in enumerate(names)],
        "nodes": [node(i) for i in range(12)],
        "shards": {"leaders": [{**place(20), "alive": False, "starting": 1, "led": shards}], "leaderless": shards},
        "coordinators": [{"role": role, "active": active, "epoch": 7, "since": now - 90_000, "elections": [election],
                          "standby": [place(10), place(11)]}
                         for role, active in [("rootcoord", place(9)), ("datacoord", None), ("querycoord", place(9))]],
        "moves": {"total": 9, "bytes": 734003200, "moves": [{**move, "expected": 12_000}, {**move, "expected": None}]},
        "history": {"total": 1, "done": 0, "refused": 1, "dropped": 0, "bytes": 0, "moves": [
            {**move, "ended": now - 1000, "result": "refused", "why": f"memory limit exceeded: {BAD}"}]},
    }


def test_moves_under_way_long_names_and_many_nodes(server, page):
    told = json.dumps(json.dumps(picture(1_800_000_000_000)))
    page.before(f"window.fetch = async () => new Response({told})")
    live(page, f"{server.metrics}/webui")
    first, second = page.texts("#moves tr")
    assert "459130584093458817" in first and "700.0 MiB" in first and "uneven memory" in first
    assert " of about 12 s" in first and "so far" in second
    assert page.run("document.querySelector('#moves progress').value") >= 0.25
    assert "and 7 more" in page.text("#moves-note")
    assert len(page.texts("#nodes tr")) == 12 and "512.0 MiB of 1.0 GiB left" in page.text("#nodes")
    assert "nobody" in page.texts("#coordinators tr")[1]
    assert "gone" in page.text("#shards") and "and 57 more" in page.text("#shards")
    assert "refused" in page.text("#history")
    page.run("document.querySelector('details').open = true")
    assert "node 3 on" in page.text("#elections")
    # A name is a name.
    assert page.run("window.harmed === undefined && document.images.length === 0")
    unharmed(page, server.metrics)


def luminance(colour):
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1:-1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_by_day_and_night(server, browser, dark):
    page = browser.page(dark=dark)
    told = json.dumps(json.dumps(picture(1_800_000_000_000)))
    page.before(f"window.fetch = async () => new Response({told})")
    live(page, f"{server.metrics}/webui")
    sheet = luminance(page.run("getComputedStyle(document.querySelector('section')).backgroundColor"))
    assert (sheet < 0.5) == dark
    texts = page.run("""[...document.querySelectorAll("main h2, main dd, main small, main td, main th, main span")]
        .filter(it => it.innerText).map(it => getComputedStyle(it).color)""")
    for colour in set(texts):
        lighter, darker = sorted([luminance(colour), sheet], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, colour
    page.close()


def test_who_does_not_answer_is_told(own_server, page):
    client = MilvusClient(own_server.uri)
    make(client, f"some_{uuid.uuid4().hex}", {})
    client.close()
    live(page, f"{own_server.metrics}/webui")
    nodes = page.text("#nodes")
    if hasattr(own_server, "processes"):
        own_server.kill("mixcoord-1")
        page.wait_for("document.querySelector('#state').dataset.state === 'old'")
        assert "The query coordinator does not answer" in page.text("#trouble")
        assert page.text("#nodes").split()[:2] == nodes.split()[:2]
    own_server.kill()
    page.wait_for("document.querySelector('#problem').innerText.includes('This process does not answer')")
    assert "Last answer" in page.text("#age")
    assert page.text("#nodes").split()[:2] == nodes.split()[:2], "what was known is still shown"
    unharmed(page, own_server.metrics)
