"""What is counted: each number against what was sent, from the real planner's answers."""

import copy
import time

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.intake import Intake
from api.maps_store import MapsStore
from api.metrics import Metrics
from api.plan_wire import to_json
from api.settings import Settings


@pytest.fixture(scope="module")
def served():
    with TestClient(create_app(Settings()), raise_server_exceptions=False) as served:
        while served.get("/readyz").status_code != 200:
            time.sleep(0.05)
        yield served


@pytest.fixture
def planned(served, two_robots):
    """A plan that grew from the search."""
    settings = Settings()
    body = two_robots | {"options": {"sources": ["search"]}}
    order = Intake(settings, MapsStore(settings)).order(to_json(body), time.monotonic())
    return served.portal.call(served.app.state.desk.plan, order).plan


def samples(served) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(served.get("/metrics").text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def risen(before, after, name: str, **labels: str) -> float:
    key = (name, tuple(sorted(labels.items())))
    return after[key] - before.get(key, 0.0)


def test_a_plan_is_counted_in_all_that_it_is(served, two_robots) -> None:
    before = samples(served)
    answer = served.post("/v1/plans", json=two_robots).json()
    after = samples(served)
    assert risen(before, after, "planner_requests_total", endpoint="/v1/plans", outcome="succeeded") == 1
    assert risen(before, after, "planner_robots_total", outcome="planned") == 2
    assert risen(before, after, "planner_queue_seconds_count") == 1
    assert risen(before, after, "planner_batches_total") == risen(before, after, "planner_batch_size_sum") == 1
    assert risen(before, after, "planner_request_seconds_count", endpoint="/v1/plans") == 1
    told = answer["timings_ms"]
    for stage in ("generate", "search", "filter", "verify"):
        assert risen(before, after, "planner_stage_seconds_sum", stage=stage) == pytest.approx(told[stage] / 1e3, abs=1e-6)
    gaps = answer["certificate"]
    assert risen(before, after, "planner_min_clearance_m_count") == 1
    smallest = min(gaps["min_robot_gap"], gaps["min_obstacle_gap"])
    assert risen(before, after, "planner_min_clearance_m_sum") == pytest.approx(smallest)
    proposals = answer["diagnostics"]
    assert risen(before, after, "planner_verified_total", result="certified") == proposals["certified"]
    refused = max(0, proposals["candidates"] - proposals["certified"])
    assert risen(before, after, "planner_verified_total", result="refused") == refused


def test_a_plan_that_grew_from_a_later_source_than_the_first_is_counted_by_it(two_robots, planned) -> None:
    metrics = Metrics()

    def fallbacks() -> float:
        return metrics.registry.get_sample_value("planner_fallback_total", {"kind": "search"}) or 0.0

    metrics.planned(planned, 0.0, ("search",))
    assert fallbacks() == 0
    metrics.planned(planned, 0.0, ("search", "flow"))
    assert fallbacks() == 1


def test_failed_robots_and_refused_requests_are_counted_apart(served, two_robots) -> None:
    before = samples(served)
    served.post("/v1/plans", json=two_robots | {"horizon_s": 1})
    wrong = copy.deepcopy(two_robots)
    wrong["robots"][0]["radius"] = -1
    served.post("/v1/plans", json=wrong)
    after = samples(served)
    assert risen(before, after, "planner_requests_total", endpoint="/v1/plans", outcome="failed") == 1
    assert risen(before, after, "planner_requests_total", endpoint="/v1/plans", outcome="422") == 1
    assert risen(before, after, "planner_robots_total", outcome="failed") == 2


def test_calls_are_named_by_their_form_and_unknown_ones_alike(served) -> None:
    before = samples(served)
    for k in range(20):
        served.get(f"/v1/maps/none-{k}")
        served.get(f"/nowhere/{k}")
    after = samples(served)
    assert risen(before, after, "planner_requests_total", endpoint="/v1/maps/{map_id}", outcome="404") == 20
    assert risen(before, after, "planner_requests_total", endpoint="other", outcome="404") == 20
    fresh = {key for key in after.keys() - before.keys() if key[0] == "planner_requests_total"}
    assert len(fresh) <= 2


def test_weights_and_the_process_are_told(served) -> None:
    now = samples(served)
    info = [dict(labels) for (name, labels) in now if name == "planner_model_info"]
    assert {entry["name"] for entry in info} == {"generator", "warm-start"}
    assert all(len(entry["hash"]) == 64 and entry["device"] == "cpu" for entry in info)
    assert now["process_resident_memory_bytes", ()] > 1e6
    assert now["planner_queue_depth", ()] == 0
    assert now["planner_inflight", ()] == 0  # probes are not among those that are waited for


def test_each_application_counts_for_itself(served) -> None:
    other = create_app(Settings())
    text, _ = other.state.metrics.text()
    assert b"planner_requests_total{" not in text


def test_openmetrics_is_spoken_where_it_is_asked_for(served) -> None:
    answer = served.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
