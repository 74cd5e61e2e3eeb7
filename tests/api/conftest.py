import copy
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

TWO_ROBOTS: dict[str, Any] = {
    "map": {"bounds": [0, 0, 10, 6], "obstacles": [{"type": "circle", "x": 5, "y": 3, "radius": 0.8}]},
    "horizon_s": 12,
    "robots": [
        {"id": "a", "start": {"x": 1, "y": 2.5}, "goal": {"x": 9, "y": 3.5}, "radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}},
        {"id": "b", "start": {"x": 9, "y": 2.5}, "goal": {"x": 1, "y": 3.5}, "radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}},
    ],
}


@pytest.fixture(scope="session", autouse=True)
def store_in_memory():
    """Servers of the tests, those in processes of their own too, leave nothing in the working folder unless a test says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWFLEET_STORE_URL", "sqlite://")
        yield


@pytest.fixture(scope="session")
def two_robots() -> dict[str, Any]:
    """Two robots that pass each other beside a pillar; not to be changed."""
    return TWO_ROBOTS


@pytest.fixture
def request_body() -> dict[str, Any]:
    """The same, a fresh copy."""
    return copy.deepcopy(TWO_ROBOTS)


@pytest.fixture(scope="session")
def client():
    """A server with the real planner, warm."""
    from api.app import create_app
    from api.settings import Settings

    with TestClient(create_app(Settings()), raise_server_exceptions=False) as served:
        deadline = time.monotonic() + 120
        while served.get("/readyz").status_code != 200:
            state = served.get("/healthz").json()["status"]
            assert state in ("starting", "ready"), f"the planner is {state}; its log has more"
            assert time.monotonic() < deadline, "the planner takes too long to load"
            time.sleep(0.05)
        yield served
