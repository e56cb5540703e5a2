"""What is deployed: do the files under deploy/ and the page about them name settings, roles and options that exist?

The binary itself says which settings it knows (`redkite config`), Helm's own library renders the chart.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import helm_python as helm
import pytest
import yaml
from conftest import REPOSITORY, binary

DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm/redkite"
PAGE = REPOSITORY / "docs/deploy-cluster.md"
PAGES = [PAGE, REPOSITORY / "docs/coordinator-ha.md"]
COORDINATORS = ["rootCoordinator", "queryCoordinator", "dataCoordinator"]
# Read by the roles, but not settings: labels of nodes.
LABEL = "MILVUS_SERVER_LABEL_"


@dataclass
class Setting:
    value: str
    origin: str


def effective(directory: Path, environment=(), file: str = "") -> dict[str, Setting]:
    """What `redkite config` shows, in an environment without anything else; nothing may be warned about."""
    arguments = [binary(), "config"]
    if file:
        (directory / "settings.yaml").write_text(file)
        arguments += ["--config", directory / "settings.yaml"]
    shown = subprocess.run(arguments, cwd=directory, env=dict(environment), capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == []
    settings = {}
    for line in lines:
        key, rest = line.split(": ", 1)
        settings[key] = Setting(*rest.rsplit("  # ", 1))
    return settings


def assert_known(directory: Path, environment: dict[str, str]):
    """Every variable is a setting, and its value can be used."""
    environment = {name: value for name, value in environment.items() if not name.startswith(LABEL)}
    origins = {setting.origin for setting in effective(directory, environment).values()}
    assert {f"environment {name}" for name in environment} <= origins


@pytest.fixture(scope="module")
def defaults(tmp_path_factory):
    return effective(tmp_path_factory.mktemp("defaults"))


@pytest.fixture(scope="module")
def roles():
    """The roles that the binary knows."""
    return commands_of("run")


def commands_of(*command: str) -> set[str]:
    text = subprocess.run([binary(), *command, "--help"], capture_output=True, text=True, check=True).stdout
    block = text.split("Commands:\n")[1].split("\n\n")[0]
    return {line.split()[0] for line in block.splitlines() if re.match(r"  \S", line)} - {"help"}


# Containers.

def services(file: str) -> dict[str, dict]:
    """The services of a compose file that run our image, with variables as they are if the shell sets none."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / file).read_text())
    composed = yaml.safe_load(text)["services"]
    return {name: service for name, service in composed.items() if service["image"] == "redkite:latest"}


def image_environment() -> dict[str, str]:
    lines = re.findall(r"^ENV (\w+)=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert lines
    return dict(lines)


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.standalone.yml"])
def test_containers_are_told_of_roles_and_settings_that_exist(file, roles, tmp_path):
    for name, service in services(file).items():
        run, role = service["command"]
        assert (run, role) == ("run", name) and role in roles
        assert_known(tmp_path, {**image_environment(), **service["environment"]})


def test_compose_has_every_role_and_waits_longer_for_a_stop_than_it_takes(roles, tmp_path):
    cluster = services("docker-compose.yml")
    assert set(cluster) | {"rootcoord", "querycoord", "datacoord", "standalone"} == roles
    for service in cluster.values():
        stop = effective(tmp_path, service["environment"])["common.gracefulStopTimeout"]
        assert int(stop.value) < 60 * int(service["stop_grace_period"].removesuffix("m"))


def test_the_image_starts_with_a_command_that_exists(roles):
    text = (DEPLOY / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["redkite"]' in text
    run, role = re.search(r'^CMD \["(\w+)", "(\w+)"\]$', text, re.MULTILINE).groups()
    assert run == "run" and role in roles


def test_the_image_is_built_from_all_that_is_needed_and_with_our_rust():
    workspace = (REPOSITORY / "Cargo.toml").read_text()
    version = re.search(r'^rust-version = "([\d.]+)"$', workspace, re.MULTILINE).group(1)
    assert f"FROM rust:{version}-" in (DEPLOY / "Dockerfile").read_text()
    sent = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert all((REPOSITORY / path).exists() for path in sent)
    members = re.search(r"^members = \[(.*)\]$", workspace, re.MULTILINE).group(1)
    assert {member.split("/")[0] for member in re.findall(r'"([^"]+)"', members)} <= set(sent)


# The chart.

APART = {"mixCoordinator": {"enabled": False}, **{name: {"enabled": True, "replicas": 2} for name in COORDINATORS}}
OUTSIDE = {
    "externalEtcd": {"enabled": True, "endpoints": ["a:2379", "b:2379"], "existingSecret": "login"},
    "externalS3": {"enabled": True, "host": "s3.example", "port": 443, "useSSL": True, "bucketName": "b",
                   "accessKey": "k", "secretKey": "s", "region": "eu-central-1"},
}
VALUES = {
    "as it is": {},
    "standalone": {"cluster": {"enabled": False}},
    "coordinators apart": APART,
    "etcd and bucket of one's own": OUTSIDE,
    "machine's role": {"externalS3": {**OUTSIDE["externalS3"], "useIAM": True, "existingSecret": "keys"}},
    "alone": {"mixCoordinator": {"activeStandby": {"enabled": False}}},
    "everything": {**APART, **OUTSIDE, "metrics": {"serviceMonitor": {"enabled": True}}, "ingress": {"enabled": True},
                   "networkPolicy": {"enabled": True}, "serviceAccount": {"create": True},
                   "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
                   "log": {"level": "info,redkite_wal=debug", "format": "json"},
                   "image": {"all": {"pullSecrets": ["registry"]}},
                   "queryNode": {"replicas": -1, "resources": {"limits": {"memory": "8Gi"}}, "extraEnv": [
                       {"name": "QUERY_NODE_THREADS", "value": "4"},
                       {"name": "MILVUS_SERVER_LABEL_QN_zone", "value": "a"}]}},
}


def render(values: dict) -> list[dict]:
    with helm.Chart.load(str(CHART)) as chart:
        rendered = chart.render(values, name="demo", namespace="prod")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def named(documents: list[dict], kind: str) -> dict[str, dict]:
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def settings_file(documents: list[dict]) -> str:
    return named(documents, "ConfigMap")["demo-redkite"]["data"]["redkite.yaml"]


def pods(documents: list[dict]) -> dict[str, dict]:
    """The pods that run our image, by role."""
    deployments = named(documents, "Deployment").values()
    templates = [deployment["spec"]["template"] for deployment in deployments]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template["spec"] for template in templates}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_chart_runs_roles_with_settings_that_exist(values, roles, tmp_path):
    documents = render(values)
    file = settings_file(documents)
    given = effective(tmp_path, file=file)
    in_file = {key for key, setting in given.items() if setting.origin.startswith("file")}
    assert {key for key, _ in leaves(yaml.safe_load(file))} == in_file
    for role, pod in pods(documents).items():
        [container] = pod["containers"]
        assert role in roles
        assert container["args"] == ["run", role, "--config", "/etc/redkite/redkite.yaml"]
        variables = {variable["name"]: variable.get("value", "secret") for variable in container.get("env", [])}
        assert_known(tmp_path, variables)


def leaves(tree: dict, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_ports_of_the_chart_are_those_that_are_listened_on(values, defaults, tmp_path):
    documents = render(values)
    sections = {"mixcoord": "mixCoord", "rootcoord": "rootCoord", "querycoord": "queryCoord", "datacoord": "dataCoord",
                "streamingnode": "streamingNode", "querynode": "queryNode", "datanode": "dataNode"}
    for role, pod in pods(documents).items():
        ports = {port["name"]: str(port["containerPort"]) for port in pod["containers"][0]["ports"]}
        expected = {"metrics": defaults["metrics.port"].value}
        if role in ("proxy", "standalone"):
            expected["milvus"] = defaults["proxy.port"].value
        if role == "proxy":
            expected["internal"] = defaults["proxy.internalPort"].value
        elif role != "standalone":
            expected["internal"] = defaults[f"{sections[role]}.port"].value
        assert ports == expected
    selector = named(documents, "Service")["demo-redkite"]["spec"]["selector"]
    assert selector["app.kubernetes.io/component"] in pods(documents)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_what_the_chart_selects_is_there(values):
    documents = render(values)
    labels = [document["spec"]["template"]["metadata"]["labels"].items() for document in documents
              if document["kind"] in ("Deployment", "StatefulSet")]
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            wanted = spec["selector"]
        elif document["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            wanted = spec["selector"]["matchLabels"]
        elif document["kind"] == "NetworkPolicy":
            wanted = spec["podSelector"]["matchLabels"]
        else:
            continue
        assert any(wanted.items() <= present for present in labels), document["metadata"]["name"]
    secrets = set(named(documents, "Secret")) | {"login", "keys"}
    assert set(re.findall(r"'secretKeyRef': \{'name': '([^']+)'", str(documents))) <= secrets


def test_a_pod_is_given_more_time_than_a_stop_takes():
    changed = {"extraConfigFiles": {"user.yaml": "common:\n  gracefulStopTimeout: 600\n"}}
    for values, timeout in [({}, 1800), ({"gracefulStopTimeout": 60}, 60), (changed, 600)]:
        documents = render(values)
        assert yaml.safe_load(settings_file(documents))["common"]["gracefulStopTimeout"] == timeout
        assert {pod["terminationGracePeriodSeconds"] for pod in pods(documents).values()} == {timeout + 30}


def test_settings_of_the_user_are_laid_over_those_of_the_chart(tmp_path):
    user = "proxy:\n  grpc:\n    serverMaxRecvSize: 268435456\nlog:\n  level: debug\n"
    given = effective(tmp_path, file=settings_file(render({"extraConfigFiles": {"user.yaml": user}})))
    assert given["proxy.grpc.serverMaxRecvSize"].value == "268435456"
    assert given["log.level"].value == "debug"
    assert given["minio.address"].value == "demo-redkite-minio"


def test_standby_is_as_the_values_say():
    cases = [({}, "mixCoord", True), (VALUES["alone"], "mixCoord", False), (APART, "rootCoord", True)]
    for values, section, on in cases:
        documents = render(values)
        assert yaml.safe_load(settings_file(documents))[section]["enableActiveStandby"] is on
        role = section.lower()
        strategy = named(documents, "Deployment")[f"demo-redkite-{role}"]["spec"].get("strategy", {})
        assert (strategy.get("type") == "Recreate") is not on
    assert {role for role in pods(render(APART)) if role.endswith("coord")} == {"rootcoord", "querycoord", "datacoord"}


def test_two_releases_do_not_meet_in_etcd_or_bucket():
    settings = yaml.safe_load(settings_file(render(OUTSIDE)))
    assert settings["etcd"]["rootPath"] == settings["minio"]["rootPath"] == "prod-demo"


@pytest.mark.parametrize("values, words", [
    ({"mixCoordinator": {"replicas": 2, "activeStandby": {"enabled": False}}}, "activeStandby.enabled"),
    ({"mixCoordinator": {"enabled": False}}, "nobody would do the work of rootCoordinator"),
    ({"etcd": {"enabled": False}}, "needs an etcd"),
    ({"minio": {"enabled": False}}, "needs a bucket"),
    ({"externalS3": {"enabled": True}}, "host and bucketName"),
    ({"extraConfigFiles": {"user.yaml": "a: [b"}}, "user.yaml"),
    ({"extraConfigFiles": {"user.yaml": "common: {gracefulStopTimeout: 30s}"}}, "number of seconds"),
])
def test_values_that_cannot_work_are_refused(values, words):
    with pytest.raises(helm.HelmError, match=words):
        render(values)


def test_helm_finds_nothing_wrong_with_the_chart():
    found = helm.lint(str(CHART))
    # 1 is mere advice, such as to have an icon.
    problems = [message for message in found["messages"] if message["severity"] > 1]
    assert (problems, found["errors"]) == ([], [])


# The page.

def commands() -> list[list[str]]:
    """The commands that the pages show, as words."""
    text = "".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line]
    lines += re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    return [line.split() for line in lines]


def test_the_table_of_settings_is_true(defaults, tmp_path):
    rows = re.findall(r"^\| `([\w.]+)` \| `([A-Z_]+)` \| (\S+) \|", PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 40
    for key, _, default in rows:
        assert default == "–" or defaults[key].value == default.strip("`"), key
    # Given as it is, a default is no change.
    given = {variable: defaults[key].value for key, variable, default in rows if default != "–"}
    given |= {variable: "x" for key, variable, default in rows if default == "–"}
    shown = effective(tmp_path, given)
    assert {key: shown[key].origin for key, _, _ in rows} == {key: f"environment {name}" for key, name, _ in rows}


def test_names_on_the_page_exist(roles, defaults):
    text = PAGE.read_text()
    for key in re.findall(r"`((?:etcd|minio|common|proxy|localStorage|metrics|log|\w+Coord|\w+Node)\.[\w.]+)`", text):
        known = key in defaults or any(name.startswith(f"{key}.") for name in defaults)
        assert known or key in chart_values(), key
    assert set(re.findall(r"^\| `(\w+)` \| .* \| (?:yes )?\|", text, re.MULTILINE)) == roles - {"standalone"}
    for path in re.findall(r"\]\(\.\./([\w./-]+)\)", text):
        assert (REPOSITORY / path).exists(), path


def chart_values() -> set[str]:
    return {key for key, _ in leaves(yaml.safe_load((CHART / "values.yaml").read_text()))} | {"localStorage.volume"}


def test_commands_on_the_pages_exist():
    shown = commands_of("ctl")
    seen = set()
    for words in commands():
        if words[:2] == ["redkite", "ctl"]:
            assert words[2] in shown
            seen.add(words[2])
            options = subprocess.run([binary(), "ctl", words[2], "--help"], capture_output=True, text=True, check=True)
            assert all(word in options.stdout for word in words if word.startswith("--"))
        elif words[0].endswith("cluster"):
            usage = subprocess.run([sys.executable, REPOSITORY / words[0], words[1], "--help"],
                                   capture_output=True, text=True)
            assert usage.returncode == 0, words
            assert all(re.search(rf"{word}\b", usage.stdout) for word in words if word.startswith("--")), words
        elif words[:2] != ["docker", "push"] and words[0] == "docker":
            files = [word for word in words if word.startswith("deploy/")]
            assert files and all((REPOSITORY / file).exists() for file in files), words
        elif words[0] == "helm":
            for value in re.findall(r"--set (\S+)=", " ".join(words)):
                assert value in chart_values(), value
    assert seen == shown


def test_metrics_on_the_pages_are_recorded():
    source = "".join(file.read_text() for file in (REPOSITORY / "crates").rglob("src/**/*.rs"))
    text = "".join(page.read_text() for page in PAGES)
    for metric in re.findall(r"`((?:redkite|milvus)_\w+)`", text):
        assert metric.startswith("redkite_wal=") or f'"{metric}"' in source, metric
