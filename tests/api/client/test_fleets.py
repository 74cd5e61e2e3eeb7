"""Released policies by the typed client, over a real socket."""

import numpy as np
import pytest

from api.agents.examples import ACT_REQUEST
from api.client import AsyncPlannerClient, FleetState, InvalidRequest, PlannerClient, RobotState, Stranger

CURVE = ACT_REQUEST["robots"][0]["curve"]
ROBOT = RobotState("amr-1", (3.4, 2.05), 0.3, 1.5, 1.0, 4.6, velocity=(0.9, 0.0), acceleration=(0.2, 0.0), late_s=0.2, curve=CURVE)
STATE = FleetState(ACT_REQUEST["map"], [ROBOT], [Stranger((6.4, 1.8), 0.3, (-0.5, 0.0))])


def test_what_is_typed_is_what_the_wire_has(server_url: str) -> None:
    """The example of the API's description, typed: the same answer as to its wire form, and other actions by another policy."""
    with PlannerClient(server_url) as planner:
        typed, plain = planner.act("fql", STATE), planner.act("fql", {key: ACT_REQUEST[key] for key in ("map", "robots", "others")})
        other = planner.act("gfp", STATE)
        listed = {agent.id: agent for agent in planner.agents()}
        told = planner.capabilities()["agents"]
    assert typed == plain
    assert (typed.agent, typed.tick_s, [robot.id for robot in typed.robots]) == ("fql", 0.1, ["amr-1"])
    assert np.hypot(*typed.robots[0].acceleration) <= 1.0 + 1e-6
    assert typed.robots[0].wanted != other.robots[0].wanted
    assert sorted(told) == sorted(listed)
    assert [agent.id for agent in listed.values() if agent.streams] == ["sfp"]
    assert listed["fql"].card.startswith("# fleet-fql")


def test_the_plan_of_the_server_will_do_and_options_are_sent(server_url: str) -> None:
    """A goal of its own and no curve but that of a plan by its id; without the filter, what is wanted is done."""
    from api.client import Map, Request, Robot

    room = Map(bounds=(0, 0, 10, 6))
    with PlannerClient(server_url) as planner:
        plan = planner.plan(Request(room, [Robot("amr-1", (1, 2), (9, 2), 0.3, 1.5, 1.0)], horizon_s=12))
        robot = RobotState("amr-1", (9.3, 2.0), 0.3, 1.5, 1.0, 6.0, velocity=(1.4, 0.0), goal=(9.0, 2.0))
        done = planner.act("fql", FleetState(room, [robot], plan_id=plan.plan_id)).robots[0]
        free = planner.act("fql", FleetState(room, [robot], plan_id=plan.plan_id, filter=False, tick_s=0.05))
    assert done.changed
    assert free.tick_s == 0.05
    assert free.robots[0].acceleration == free.robots[0].wanted
    assert not free.robots[0].changed


def test_what_is_wrong_is_named(server_url: str) -> None:
    with PlannerClient(server_url) as planner:
        with pytest.raises(InvalidRequest) as unknown:
            planner.act("nobody", STATE)
        with pytest.raises(InvalidRequest) as lacking:
            planner.act("fql", FleetState({"bounds": [0, 0, 10, 6]}, [RobotState("a", (1, 1), 0.3, 1.0, 1.0, 0.0)]))
    assert "fql" in str(unknown.value)
    assert "curve" in str(lacking.value)


def test_both_clients_act_alike(server_url: str) -> None:
    import asyncio

    async def asked() -> object:
        async with AsyncPlannerClient(server_url) as planner:
            return await planner.act("fql", STATE), [agent.id for agent in await planner.agents()]

    with PlannerClient(server_url) as planner:
        assert asyncio.run(asked()) == (planner.act("fql", STATE), [agent.id for agent in planner.agents()])
