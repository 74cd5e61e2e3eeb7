"""Released policies over HTTP: which there are, and one tick for a fleet."""

import copy
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.agents.examples import ACT_REQUEST
from api.agents.wire import ActAnswer, AgentsAnswer
from planner.fleet_policy import released_agents

AGENTS = ("flowrl", "fql", "gfp", "sfp")


@pytest.fixture
def body() -> dict[str, Any]:
    return copy.deepcopy(ACT_REQUEST)


def test_released_policies_are_listed_with_their_cards(client: TestClient) -> None:
    answer = AgentsAnswer.model_validate(client.get("/v1/agents").json())
    listed = {agent.id: agent for agent in answer.agents}
    assert set(AGENTS) <= set(listed)
    assert set(listed) == set(released_agents())
    for agent in listed.values():
        assert agent.card.startswith(f"# {agent.model.name} {agent.model.version}")
        assert len(agent.model.sha256) == 64
    assert [agent.id for agent in answer.agents if agent.streams] == ["sfp"]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_fleet_acts_within_its_limits(client: TestClient, body: dict[str, Any], agent: str) -> None:
    answer = client.post("/v1/agents/act", json=body | {"agent": agent})
    assert answer.status_code == 200, answer.text
    acted = ActAnswer.model_validate(answer.json())
    assert acted.agent == agent
    assert [robot.id for robot in acted.robots] == ["amr-1"]
    for robot in acted.robots:
        assert np.hypot(*robot.acceleration) <= 1.0 + 1e-6
        assert np.hypot(*robot.wanted) <= 1.0 + 1e-6
        assert robot.safe


def test_the_same_request_and_seed_give_the_same_answer(client: TestClient, body: dict[str, Any]) -> None:
    answers = [client.post("/v1/agents/act", json=body | {"options": {"seed": seed}}).json() for seed in (3, 3, 4)]
    assert answers[0] == answers[1]
    assert answers[0]["robots"] != answers[2]["robots"]


def test_the_filter_stops_a_robot_before_a_wall_and_says_so(client: TestClient, body: dict[str, Any]) -> None:
    """Half a metre before a wall at full speed: without the filter nobody looks, with it the robot brakes."""
    body["others"] = []
    body["robots"][0] |= {"state": {"x": 9.18, "y": 2.0, "vx": 1.0}, "limits": {"v_max": 1.5, "a_max": 1.0}, "t_s": 1.0}
    body["robots"][0]["goal"] = {"x": 9.6, "y": 2.0}
    done = client.post("/v1/agents/act", json=body).json()["robots"][0]
    free = client.post("/v1/agents/act", json=body | {"options": {"filter": False}}).json()["robots"][0]
    assert done["acceleration"][0] < -0.9
    assert free["acceleration"] == free["wanted"]
    assert not free["changed"]
    assert not free["safe"]


def test_curves_may_come_from_a_plan_of_the_server(client: TestClient, request_body: dict[str, Any]) -> None:
    """With the id of a plan the answer is that of the same curves sent along."""
    plan = client.post("/v1/plans", json=request_body).json()
    assert plan["status"] == "succeeded"
    robots = [
        {"id": robot["id"], "state": robot["start"], "radius": robot["radius"], "limits": robot["limits"], "t_s": 0.5}
        for robot in request_body["robots"]
    ]
    given = [robot | {"curve": made["curve"]} for robot, made in zip(robots, plan["robots"], strict=True)]
    request = {"agent": "fql", "map": request_body["map"]}
    stored = client.post("/v1/agents/act", json=request | {"robots": robots, "plan_id": plan["plan_id"]})
    sent = client.post("/v1/agents/act", json=request | {"robots": given})
    assert stored.status_code == 200, stored.text
    assert stored.json() == sent.json()


@pytest.mark.parametrize(
    ("spoil", "pointer", "code"),
    [
        (lambda b: b.update(agent="nobody"), "/agent", "UNKNOWN_AGENT"),
        (lambda b: b["robots"].append(b["robots"][0]), "/robots/1/id", "DUPLICATE_ID"),
        (lambda b: b.update(robots=[]), "/robots", None),
        (lambda b: b.update(map={"id": "nowhere"}), "/map/id", "UNKNOWN_MAP"),
        (lambda b: b["robots"][0].pop("curve"), "/robots/0/curve", "MISSING"),
        (lambda b: b.update(plan_id="gone") or b["robots"][0].pop("curve"), "/plan_id", "UNKNOWN_PLAN"),
        (lambda b: b["robots"][0]["curve"]["knots_s"].pop(), "/robots/0/curve/knots_s", "BAD_CURVE"),
        (lambda b: b["robots"][0].update(radius=-1), "/robots/0/radius", None),
        (lambda b: b["robots"][0]["state"].update(vx=1e9), "/robots/0/state/vx", None),
        (lambda b: b.update(others=b["others"] * 129), "/others", None),
        (lambda b: b.update(options={"tick_s": 0}), "/options/tick_s", None),
        (lambda b: b.update(colour="red"), "/colour", None),
    ],
)
def test_bad_requests_are_told_where_they_are_wrong(client: TestClient, body: dict[str, Any], spoil: Any, pointer: str, code: str) -> None:
    spoil(body)
    answer = client.post("/v1/agents/act", json=body)
    assert answer.status_code == 422, answer.text
    fault = answer.json()["errors"][0]
    assert fault["pointer"] == pointer
    assert code is None or fault["code"] == code


def test_robots_anywhere_and_at_any_time_get_an_answer(client: TestClient, body: dict[str, Any]) -> None:
    """Inside a wall, out of bounds, long after the end, far too fast, over one another: an answer that is finite, and not called safe."""
    states = [{"x": 5, "y": 4}, {"x": -40, "y": 1e5}, {"x": 1, "y": 1, "vx": 80}, {"x": 1, "y": 1}]
    robots = [body["robots"][0] | {"id": f"r{k}", "state": state, "t_s": 1e5 * k} for k, state in enumerate(states)]
    answer = client.post("/v1/agents/act", json=body | {"robots": robots})
    assert answer.status_code == 200, answer.text
    for robot in answer.json()["robots"]:
        assert np.isfinite([*robot["acceleration"], *robot["wanted"]]).all()


def test_far_from_the_origin_all_is_as_near_it(client: TestClient, body: dict[str, Any]) -> None:
    """A million metres away, where single precision is six centimetres coarse: fails if states are kept in it."""
    near = client.post("/v1/agents/act", json=body).json()["robots"][0]
    far, robot = 900_000.0, body["robots"][0]
    body["map"] = {"bounds": [far, far, far + 10, far + 6], "obstacles": [{"type": "circle", "x": far + 5, "y": far + 4, "radius": 0.8}]}
    robot["state"] |= {axis: robot["state"][axis] + far for axis in "xy"}
    robot["curve"] = robot["curve"] | {"control_points": [[x + far, y + far] for x, y in robot["curve"]["control_points"]]}
    body["others"] = [disc | {axis: disc[axis] + far for axis in "xy"} for disc in body["others"]]
    away = client.post("/v1/agents/act", json=body).json()["robots"][0]
    assert np.allclose(away["wanted"], near["wanted"], atol=0.02)
    assert away["changed"] == near["changed"]
