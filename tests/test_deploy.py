"""The files of deploy/ and the Dockerfile speak of the product as it is: names, ports, paths, limits."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from api.app import create_app
from api.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "flowfleet.json").read_text())
UNIT = (DEPLOY / "flowfleet.service").read_text()
PORT = Settings.model_fields["port"].default
DATA = "/var/lib/flowfleet"

# Named in deploy/, and not there yet: what is found missing from the product must be one of these.
SHOWN_METRICS = {
    "planner_requests_total",
    "planner_request_seconds_bucket",
    "planner_queue_seconds_bucket",
    "planner_batch_size_sum",
    "planner_batch_size_count",
    "planner_batch_size_bucket",
    "planner_batches_total",
    "planner_stage_seconds_sum",
    "planner_stage_seconds_count",
    "planner_queue_depth",
    "planner_inflight",
    "planner_verified_total",
    "planner_fallback_total",
    "planner_rejected_total",
    "planner_robots_total",
    "planner_min_clearance_m_bucket",
    "planner_model_info",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
}


def loaded(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


COMPOSE = loaded("compose.yaml")[0]
CLUSTER = {document["kind"]: document for document in loaded("kubernetes.yaml")}
POD = CLUSTER["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
PROBES = [CONTAINER[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
SCRAPE = loaded("prometheus/prometheus.yaml")[0]["scrape_configs"]
IN_COMPOSE = COMPOSE["services"]["flowfleet"]["environment"]
IN_CLUSTER = {**CLUSTER["ConfigMap"]["data"], **CLUSTER["Secret"]["stringData"]}


@pytest.fixture(scope="module")
def paths():
    """Paths of the server."""
    return set(create_app(Settings()).openapi()["paths"])


def exposed_metrics():
    """Names of samples as /metrics writes them; None as long as there are none."""
    if importlib.util.find_spec("api.metrics") is None:
        return None
    from api.metrics import Metrics

    kinds = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    families = list(Metrics().registry.collect())
    return {family.name + ending for family in families for ending in kinds.get(family.type, ())}


@pytest.mark.parametrize("values", [IN_COMPOSE, IN_CLUSTER], ids=["compose", "kubernetes"])
def test_settings_exist_and_take_their_values(values):
    names = {variable.removeprefix("FLOWFLEET_").lower(): value for variable, value in values.items()}
    assert len(names) >= 4
    assert names.keys() <= Settings.model_fields.keys()
    Settings(**{name: value for name, value in names.items() if name in Settings.model_fields})  # raises where one cannot be used


def test_values_of_a_cluster_are_texts():
    assert all(isinstance(value, str) for value in IN_CLUSTER.values())


def test_probes_and_scrapes_ask_for_paths_that_exist(paths):
    asked = {probe["httpGet"]["path"] for probe in PROBES} | {job["metrics_path"] for job in SCRAPE}
    asked |= set(re.findall(r"http://127\.0\.0\.1:8000(/\w+)", DOCKERFILE))
    assert {"/readyz", "/livez", "/metrics"} <= asked
    assert asked <= paths
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/livez"  # a server that is starting or draining is not to be killed


def test_everyone_speaks_of_the_same_port():
    assert f"EXPOSE {PORT}\n" in DOCKERFILE
    assert f'"--port", "{PORT}"' in DOCKERFILE
    assert COMPOSE["services"]["flowfleet"]["ports"][0].endswith(f":{PORT}")
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": PORT}]
    assert {probe["httpGet"]["port"] for probe in PROBES} == {"http"}
    assert CLUSTER["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    assert SCRAPE[0]["dns_sd_configs"][0]["port"] == PORT
    assert f"--port {PORT}" in UNIT


def test_whoever_stops_the_server_waits_longer_than_it_drains():
    drain = Settings.model_fields["drain_s"].default
    pause = float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] >= pause + float(IN_CLUSTER["FLOWFLEET_DRAIN_S"]) + 2
    assert float(COMPOSE["services"]["flowfleet"]["stop_grace_period"].removesuffix("s")) >= float(IN_COMPOSE["FLOWFLEET_DRAIN_S"]) + 2
    assert int(re.search(r"TimeoutStopSec=(\d+)", UNIT).group(1)) >= drain + 2


def test_a_start_that_compiles_is_not_cut_short():
    startup = CONTAINER["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 240
    assert int(re.search(r"--start-period=(\d+)s", DOCKERFILE).group(1)) >= 240


def test_the_cluster_runs_it_without_rights():
    assert POD["securityContext"]["runAsNonRoot"] is True
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE).groups()
    assert (str(POD["securityContext"]["runAsUser"]), str(POD["securityContext"]["runAsGroup"])) == user
    rights = CONTAINER["securityContext"]
    assert (rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (True, False)
    assert rights["capabilities"] == {"drop": ["ALL"]}
    mounted = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert set(mounted) == {DATA, "/tmp"}
    assert set(mounted.values()) == {volume["name"] for volume in POD["volumes"]}
    assert POD["enableServiceLinks"] is False  # FLOWFLEET_PORT would be tcp://..., which is no port


def test_parts_of_the_cluster_find_each_other():
    labels = CLUSTER["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        CLUSTER["Deployment"]["spec"]["selector"]["matchLabels"],
        CLUSTER["Service"]["spec"]["selector"],
        CLUSTER["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    sources = [next(iter(source.items())) for source in CONTAINER["envFrom"]]
    assert sources == [(f"{kind[0].lower()}{kind[1:]}Ref", {"name": CLUSTER[kind]["metadata"]["name"]}) for kind in ("ConfigMap", "Secret")]
    assert CLUSTER["PodDisruptionBudget"]["spec"]["minAvailable"] < CLUSTER["Deployment"]["spec"]["replicas"]


def test_files_that_compose_mounts_are_there():
    mounts = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", []) if volume.startswith("./")]
    assert len(mounts) == 3
    assert [mount for mount in mounts if not (DEPLOY / mount.split(":")[0]).exists()] == []
    named = {v.split(":")[0] for s in COMPOSE["services"].values() for v in s.get("volumes", []) if v[0] not in "./"}
    assert named == set(COMPOSE["volumes"])


def test_the_store_of_compose_is_the_database_beside_it():
    database = COMPOSE["services"]["postgres"]["environment"]
    url = IN_COMPOSE["FLOWFLEET_STORE_URL"]
    user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
    assert url == f"postgresql+psycopg://{user}:{database['POSTGRES_PASSWORD']}@postgres:5432/{name}"
    assert COMPOSE["services"]["flowfleet"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_the_dashboard_asks_for_metrics_that_are_exposed():
    asked = {name for target in targets() for name in re.findall(r"\b(?:planner|process)_\w+", target["expr"])}
    exposed = exposed_metrics()
    assert asked == SHOWN_METRICS
    if exposed is not None:
        assert {name for name in asked if name.startswith("planner_")} - exposed == set()


def test_the_dashboard_shows_what_operators_ask_for():
    asked = " ".join(target["expr"] for target in targets())
    for metric in (
        "requests",
        "request_seconds",
        "queue_seconds",
        "batch_size",
        "stage_seconds",
        "verified",
        "fallback",
        "rejected",
        "queue_depth",
    ):
        assert f"planner_{metric}" in asked, metric
    assert all(asked.count(left) == asked.count(right) for left, right in ("()", "[]", "{}"))


def test_panels_lie_side_by_side():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_grafana_finds_its_data():
    source = loaded("grafana/provisioning/datasources/prometheus.yaml")[0]["datasources"][0]
    used = {target["datasource"]["uid"] for target in targets()} | {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert used == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE["services"]
    folder = loaded("grafana/provisioning/dashboards/flowfleet.yaml")[0]["providers"][0]["options"]["path"]
    assert any(volume == f"./grafana/dashboards:{folder}:ro" for volume in COMPOSE["services"]["grafana"]["volumes"])


def targets():
    return [target for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_image_says_what_it_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', DOCKERFILE))
    assert labels["title"] == project["name"]
    assert labels["licenses"] == project["license"]
    assert labels["version"] == "${VERSION}"
    assert f"ARG VERSION={project['version']}\n" in DOCKERFILE
    assert CONTAINER["image"] == f"{project['name']}:{project['version']}"


def test_the_image_keeps_its_data_in_one_folder():
    assert f"VOLUME {DATA}\n" in DOCKERFILE
    assert f"WORKDIR {DATA}\n" in DOCKERFILE
    written = re.findall(r"(?:HOME|MPLCONFIGDIR|NUMBA_CACHE_DIR)=(/var\S*)", DOCKERFILE)
    assert len(written) == 3
    assert all(Path(place).is_relative_to(DATA) for place in written)


def test_the_build_is_given_every_file_that_it_copies():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert len(copied) >= 10
    assert [name for name in copied if name not in allowed or not (ROOT / name).exists()] == []
