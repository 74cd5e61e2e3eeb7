"""One suite for everything that plans: over a real socket, over ASGI, and in this process. The same questions, the same answers."""

import math
from functools import partial

import httpx2
import numpy as np
import pytest

from api.client import (
    AsyncPlannerClient,
    Circle,
    Conflict,
    Grid,
    InvalidRequest,
    Map,
    MapFile,
    MovingObstacle,
    NotFound,
    Options,
    PlannerClient,
    PlannerError,
    PlanningService,
    Polygon,
    Request,
    Robot,
)
from api.local import LocalPlanner
from maps.files.inline_grid import decode_cells

ROOM = Map(bounds=(0, 0, 10, 6), obstacles=[Circle(5, 3, 0.8)])
A = Robot("a", start=(1, 2.5), goal=(9, 3.5), radius=0.3, v_max=1.5, a_max=1.0)
B = Robot("b", start=(9, 2.5), goal=(1, 3.5), radius=0.3, v_max=1.5, a_max=1.0)
IN_PILLAR = Robot("b", start=(9, 2.5), goal=(5, 3), radius=0.3, v_max=1.5, a_max=1.0)
KINDS = ("socket", "asgi", "local")


class Bridged:
    """An asynchronous client, called from outside of the server's event loop."""

    def __init__(self, planner: AsyncPlannerClient, portal) -> None:
        self._planner, self._portal = planner, portal

    def __getattr__(self, name: str):
        return lambda *args, **kwargs: self._portal.call(partial(getattr(self._planner, name), *args, **kwargs))


@pytest.fixture(scope="module")
def services(client, server_url):
    asynchronous = AsyncPlannerClient("http://planner", transport=httpx2.ASGITransport(app=client.app))
    found = {"socket": PlannerClient(server_url), "asgi": Bridged(asynchronous, client.portal), "local": LocalPlanner()}
    yield found
    for service in found.values():
        service.close()


@pytest.fixture(params=KINDS)
def planner(services, request) -> PlanningService:
    return services[request.param]


def test_a_fleet_is_planned_and_its_curves_are_arrays(planner):
    plan = planner.plan(Request(ROOM, [A, B], horizon_s=12))
    assert (plan.status, plan.succeeded, plan.horizon_s, [r.id for r in plan.robots]) == ("succeeded", True, 12.0, ["a", "b"])
    assert plan.certificate is not None
    assert plan.certificate.safe
    arrays = plan.to_numpy()
    assert arrays.control_points.shape == (2, len(arrays.knots) - arrays.degree - 1, 2)
    motion = plan.sample(0.001)
    assert motion.position.shape == motion.velocity.shape == motion.acceleration.shape == (2, len(motion.t), 2)
    assert (motion.t[0], motion.t[-1]) == (0.0, 12.0)
    assert np.allclose(motion.position[:, 0], [A.start, B.start], atol=1e-4)
    assert np.allclose(motion.position[:, -1], [A.goal, B.goal], atol=1e-4)
    assert np.allclose(motion.velocity[:, [0, -1]], 0.0, atol=1e-3)
    gap = np.linalg.norm(motion.position[0] - motion.position[1], axis=1).min() - 0.6
    assert plan.certificate.min_robot_gap is not None
    assert 0.99 * gap <= plan.certificate.min_robot_gap <= gap + 1e-6  # a lower bound
    fastest = np.linalg.norm(motion.velocity, axis=2).max() / 1.5
    hardest = np.linalg.norm(motion.acceleration, axis=2).max() / 1.0
    assert (plan.certificate.max_speed_ratio, plan.certificate.max_acceleration_ratio) == (
        pytest.approx(fastest, abs=1e-3),
        pytest.approx(hardest, abs=2e-3),
    )


def test_samples_of_the_server_are_those_of_the_client(planner):
    plan = planner.plan(Request(ROOM, [A, B], horizon_s=12, options=Options(samples_dt=0.7)))
    motion, given = plan.sample(0.7), plan.robot("b").samples
    assert given is not None
    assert np.allclose(motion.t, given["t"])
    assert np.allclose(motion.position[1], np.stack([given["x"], given["y"]], 1), atol=1e-9)
    assert np.allclose(motion.velocity[1], np.stack([given["vx"], given["vy"]], 1), atol=1e-9)


def test_all_services_give_the_same_plan(services):
    options = Options(seed=7, alternatives=2, margin=0.05, deadline_ms=9000)
    request = Request(ROOM, [A, B], horizon_s=12, options=options)
    plans = [services[kind].plan(request) for kind in KINDS]
    assert plans[0].succeeded
    for plan in plans[1:]:
        assert [r.raw for r in plan.robots] == [r.raw for r in plans[0].robots]
        assert (plan.certificate, plan.metrics, plan.model) == (plans[0].certificate, plans[0].metrics, plans[0].model)
        assert [a.robots for a in plan.alternatives] == [a.robots for a in plans[0].alternatives]
        assert plan.raw.keys() == plans[0].raw.keys()


def test_moving_obstacles_and_starts_in_motion_are_understood(planner):
    cart = MovingObstacle("cart", 0.3, t=[0, 12], x=[5, 5], y=[0.4, 1.2])
    moving = Robot("a", start=(1, 2.5), goal=(9, 3.5), radius=0.3, v_max=1.5, a_max=1.0, velocity=(0.5, 0.1), acceleration=(0.2, 0))
    plan = planner.plan(Request(ROOM, [moving], horizon_s=12, moving_obstacles=[cart]))
    assert plan.succeeded
    motion = plan.sample(0.05)
    assert np.allclose(motion.velocity[0, 0], [0.5, 0.1], atol=1e-3)
    place = np.stack([np.full_like(motion.t, 5.0), 0.4 + 0.8 * motion.t / 12], 1)
    assert np.linalg.norm(motion.position[0] - place, axis=1).min() >= 0.6 - 1e-6


def test_a_plan_that_is_not_found_is_a_result_with_reasons(planner):
    plan = planner.plan(Request(ROOM, [A, IN_PILLAR], horizon_s=12))
    reason = plan.robot("b").reason
    assert (plan.status, plan.succeeded, plan.certificate) == ("failed", False, None)
    assert reason is not None
    assert reason.code == "GOAL_OCCUPIED"
    with pytest.raises(ValueError, match="no robot"):
        plan.to_numpy()
    assert plan.sample(1.0).position.shape[0] == 0
    partial_plan = planner.plan(Request(ROOM, [A, IN_PILLAR], horizon_s=12, options=Options(allow_partial=True)))
    assert (partial_plan.status, partial_plan.to_numpy().ids) == ("partial", ("a",))


def wrong(**changes) -> dict:
    return Request(ROOM, [A, B], horizon_s=12).to_dict() | changes


FAULTY = [
    (wrong(colour="red"), 422, "UNKNOWN_KEY", "/colour"),
    (wrong(robots=[]), 422, "NO_ROBOTS", "/robots"),
    (wrong(robots=[A.to_dict(), A.to_dict()]), 422, "DUPLICATE_ID", "/robots/1/id"),
    (wrong(robots=[A.to_dict() | {"radius": -0.3}]), 422, "OUT_OF_RANGE", "/robots/0/radius"),
    (wrong(horizon_s=math.nan), 422, "NON_FINITE", "/horizon_s"),
    (wrong(horizon_s=1e5), 422, "LIMIT_EXCEEDED", "/horizon_s"),
    (wrong(map={"id": "nowhere"}), 422, "UNKNOWN_MAP", "/map/id"),
    ([], 422, "WRONG_TYPE", ""),
    (wrong(padding=" " * 9_000_000), 413, "BODY_TOO_LARGE", ""),
]


@pytest.mark.parametrize(("request_document", "status", "code", "pointer"), FAULTY, ids=[c for _, _, c, _ in FAULTY])
def test_what_cannot_be_planned_is_an_error_with_its_place(planner, request_document, status, code, pointer):
    with pytest.raises(InvalidRequest) as caught:
        planner.plan(request_document)
    error = caught.value
    assert error.status == status
    if error.errors:
        assert (error.errors[0].code, error.errors[0].pointer) == (code, pointer)
    else:
        assert (error.code, status) == (code, 413)
    assert str(error) == error.problem["detail"]


def test_errors_are_the_same_everywhere(services):
    found = []
    for kind in KINDS:
        with pytest.raises(InvalidRequest) as caught:
            services[kind].validate(wrong(robots=[A.to_dict() | {"radius": 0}], horizon_s=-1))
        found.append((caught.value.status, caught.value.code, caught.value.detail, caught.value.errors))
    assert len(found[0][3]) == 2
    assert found[1:] == found[:-1]


def test_what_has_no_form_in_json_never_leaves(planner):
    with pytest.raises(InvalidRequest, match="object"):
        planner.plan(wrong(horizon_s=object()))


def test_numpy_goes_as_plain_numbers(planner):
    robot = Robot("a", start=tuple(np.array([1, 2], dtype=np.float32)), goal=(9, np.int64(4)), radius=np.float32(0.25), v_max=1.5, a_max=1)
    assert planner.validate(Request(ROOM, [robot])).valid


def test_validation_says_what_is_impossible(planner):
    found = planner.validate(Request(ROOM, [A, IN_PILLAR], horizon_s=12))
    assert (found.valid, {name: reason.code for name, reason in found.reasons.items()}) == (False, {"b": "GOAL_OCCUPIED"})
    assert planner.validate(Request(ROOM, [A, B], horizon_s=12)).valid


def test_own_plans_pass_the_check_and_others_are_told_why_not(planner):
    request = Request(ROOM, [A, B], horizon_s=12)
    plan = planner.plan(request)
    verdict = planner.check(request, plan)
    assert (verdict.certificate.safe, verdict.violations) == (True, ())
    assert plan.certificate is not None
    assert verdict.certificate.min_robot_gap == pytest.approx(plan.certificate.min_robot_gap, abs=1e-9)
    through = {"robots": [{"id": k, "samples": {"t": [0, 12], "x": [1, 9], "y": [3, 3]}} for k in "ab"]}
    verdict = planner.check(request, through)
    assert not verdict.certificate.safe
    assert any(set(violation.robots) == {"a", "b"} for violation in verdict.violations)
    with pytest.raises(InvalidRequest) as caught:
        planner.check(request, {"robots": [{"id": "x"}]})
    assert caught.value.errors[0].pointer == "/plan/robots/0/id"
    with pytest.raises(InvalidRequest) as caught:
        planner.check(wrong(robots=[]), through)
    assert caught.value.errors[0].pointer == "/request/robots"


def test_many_requests_keep_their_order_and_one_that_is_wrong_harms_no_other(planner):
    seeds = range(11)
    requests: list = [Request(ROOM, [A, B], horizon_s=12, options=Options(seed=seed)) for seed in seeds]
    requests[4] = wrong(robots=[])
    requests[7] = wrong(horizon_s=object())
    found = planner.plan_many(iter(requests), concurrency=3)
    assert [k for k, result in enumerate(found) if isinstance(result, PlannerError)] == [4, 7]
    assert [result.seed for result in found if not isinstance(result, PlannerError)] == [s for s in seeds if s not in (4, 7)]
    assert all(result.succeeded for result in found if not isinstance(result, PlannerError))
    with pytest.raises(InvalidRequest):
        planner.plan_many(requests, concurrency=3, errors="raise")
    assert planner.plan_many([]) == []
    with pytest.raises(ValueError, match=r"max_workers|concurrency"):
        planner.plan_many(requests, concurrency=0)


def test_maps_are_registered_planned_on_and_forgotten(planner):
    occupied = np.zeros((60, 100), dtype=bool)
    occupied[:, 48:52] = True
    occupied[20:45, 48:52] = False
    yard = Map(grid=Grid.of(occupied, 0.1), obstacles=[Polygon([(2, 4), (3, 4), (2.5, 5)])])
    shown = planner.put_map("client-yard", yard)
    assert (shown.id, shown.built_in, shown.obstacles, shown.grid) == ("client-yard", False, 1, {"shape": [60, 100], "resolution": 0.1})
    assert shown in planner.maps()
    assert planner.plan(Request("client-yard", [A, B], horizon_s=14)).succeeded
    assert np.array_equal(decode_cells(planner.read_map("client-yard")["grid"]["data"], 60, 100), occupied)
    planner.put_map("client-yard", Map(bounds=(0, 0, 4, 4)))
    assert not planner.validate(Request("client-yard", [A])).valid
    planner.delete_map("client-yard")
    with pytest.raises(InvalidRequest):
        planner.plan(Request("client-yard", [A]))
    for call in (planner.delete_map, planner.read_map):
        with pytest.raises(NotFound) as caught:
            call("client-yard")
        assert caught.value.code == "UNKNOWN_MAP"


def test_map_files_of_other_tools_are_registered(planner, tmp_path):
    (tmp_path / "floor.yaml").write_text(
        "image: floor.pgm\nresolution: 0.5\norigin: [0, 0, 0]\nnegate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.25\n"
    )
    (tmp_path / "floor.pgm").write_bytes(b"P5\n4 2\n255\n" + bytes([254, 254, 0, 254, 254, 254, 254, 254]))
    (tmp_path / "tiles.map").write_text("type octile\nheight 2\nwidth 3\nmap\n..@\n...\n")
    nav2 = planner.put_map("client-floor", MapFile.nav2(tmp_path / "floor.yaml", tmp_path / "floor.pgm"))
    tiles = planner.put_map("client-tiles", MapFile.one(tmp_path / "tiles.map", "movingai", cell_size=0.25))
    assert nav2.grid == {"shape": [2, 4], "resolution": 0.5}
    assert tiles.grid == {"shape": [2, 3], "resolution": 0.25}
    for map_id in ("client-floor", "client-tiles"):
        planner.delete_map(map_id)
    with pytest.raises(InvalidRequest) as caught:
        planner.put_map("client-tiles", MapFile.one(tmp_path / "tiles.map", "movingai"))
    assert caught.value.errors[0].pointer == "/cell_size"


def test_maps_that_cannot_be_registered_are_told_apart(planner):
    with pytest.raises(Conflict) as caught:
        planner.put_map("depot", ROOM)
    assert caught.value.code == "BUILT_IN_MAP"
    with pytest.raises(Conflict):
        planner.delete_map("depot")
    with pytest.raises(InvalidRequest) as caught:
        planner.put_map("no spaces", ROOM)
    assert caught.value.code == "INVALID_MAP_ID"
    with pytest.raises(InvalidRequest) as caught:
        planner.put_map("client-x", {"bounds": [0, 0, 1]})
    assert caught.value.errors[0].pointer == "/bounds"


def test_it_says_that_it_is_ready(planner):
    assert planner.ready()
