"""The learned initialisation inside the planner: repeatable, alone or in company, switched off by option, counted where it fails."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.errors import InvalidCheckpoint
from maps.sampling import SamplingConfig, sample_scenario
from maps.scenario import Scenario
from maps.scene import Scene
from models.checkpoint import weights_folder
from planner.assembly import load_planner
from planner.pipeline import Planner
from planner.plan import Plan, PlanOptions, PlanStatus, Source
from planner.task import Task
from planner.waves import CROWDED, Wave, is_open, straight
from safety_filter.verify import certify
from safety_filter.warm_start import (
    MANY,
    PATIENT,
    AtProposal,
    WarmSchedule,
    WarmStart,
    WarmStartConfig,
    WarmStartNetwork,
    load_warm_start,
)


def hall(robots: int, seed: int) -> Scenario:
    """An open floor of 10 m on which robots meet."""
    return sample_scenario(np.random.default_rng(seed), robots, "open", SamplingConfig(slack=(1.3, 2.0)))


def curves(plan: Plan) -> list[bytes]:
    return [robot.control_points.tobytes() for robot in plan.robots if robot.control_points is not None]


@pytest.fixture(scope="module")
def planner() -> Planner:
    """One that asks for straight lines, too, whatever that costs."""
    return load_planner().replace(warm_lines=(3, 64))


def test_fewer_rounds_lead_to_certified_plans(planner):
    warm, cold = [], []
    for seed in range(6):
        scenario = hall(16, seed)
        for out, allowed in ((warm, True), (cold, False)):
            plan = planner.plan(scenario, PlanOptions(warm_start=allowed))
            assert plan.status is PlanStatus.SUCCEEDED
            assert certify(np.stack([r.control_points for r in plan.robots]), plan.horizon, scenario).safe
            out.append(plan)
    rounds = [np.median([plan.diagnostics.filter_rounds for plan in plans]) for plans in (warm, cold)]
    assert rounds[0] < 0.6 * rounds[1]
    assert all(plan.diagnostics.cold_runs == 0 for plan in cold)


def test_without_it_plans_are_those_of_a_planner_that_has_none(planner):
    bare = Planner(planner.config, planner.proposer)
    for seed in (1, 2):
        asked = PlanOptions(warm_start=False)
        assert curves(planner.plan(hall(14, seed), asked)) == curves(bare.plan(hall(14, seed), asked))


def test_company_makes_no_difference(planner):
    scenarios = [hall(n, n) for n in (3, 13, 15, 13)]
    options = [PlanOptions(warm_start=k != 1) for k in range(4)]
    together = planner.plan_batch(scenarios, options)
    for scenario, asked, plan in zip(scenarios, options, together, strict=True):
        alone = planner.plan(scenario, asked)
        assert curves(plan) == curves(alone)
        assert plan.diagnostics == alone.diagnostics


def test_a_network_gone_astray_costs_rounds_but_no_plans(planner):
    torch.manual_seed(1)
    network = WarmStartNetwork(WarmStartConfig(width=16, layers=1, heads=2, pair=8))
    torch.nn.init.normal_(network.last.weight, std=30.0)
    astray = Planner(planner.config, planner.proposer, WarmStart(network, WarmSchedule(rounds=9)))
    plan, cold = astray.plan(hall(13, 1)), planner.plan(hall(13, 1), PlanOptions(warm_start=False))
    assert plan.status is PlanStatus.SUCCEEDED
    assert plan.diagnostics.cold_runs >= 1
    assert plan.diagnostics.filter_rounds > cold.diagnostics.filter_rounds
    assert curves(plan) == curves(cold)


def test_lines_that_are_free_stay_as_they_are(planner):
    torch.manual_seed(1)
    network = WarmStartNetwork(WarmStartConfig(width=16, layers=1, heads=2, pair=8))
    torch.nn.init.normal_(network.last.weight, std=30.0)
    astray = Planner(planner.config, planner.proposer, WarmStart(network))
    crowd = hall(9, 1)
    start = torch.stack([torch.linspace(0.5, 9.5, 9), torch.full((9,), 2.0)], 1).double()
    scenario = replace(crowd, scene=Scene(crowd.scene.bounds), start=start, goal=start + torch.tensor([0.0, 4.0]), horizon=20.0)
    plan = astray.plan(scenario)
    assert plan.diagnostics.filter_rounds == 0
    lines = straight(Task.begin(scenario, PlanOptions()))[0].numpy()
    assert np.allclose(np.stack([robot.control_points for robot in plan.robots]), lines, atol=1e-8)


def test_damaged_weights_are_refused_at_the_start(tmp_path):
    for name in ("warm-start.json", "warm-start.safetensors"):
        (tmp_path / name).write_bytes((weights_folder() / name).read_bytes())
    load_warm_start(tmp_path)
    packed = bytearray((tmp_path / "warm-start.safetensors").read_bytes())
    packed[-100] ^= 1
    (tmp_path / "warm-start.safetensors").write_bytes(packed)
    with pytest.raises(InvalidCheckpoint, match="sha256"):
        load_warm_start(tmp_path)


def test_the_rule_decides_by_size_kind_and_option(planner):
    first = AtProposal()

    def learned(scenario: Scenario, wave: Wave, allowed: bool = True) -> bool:
        starter = wave.starter_for(Task.begin(scenario, PlanOptions(warm_start=allowed)))
        assert starter in (first, planner.warm_start)
        return starter is planner.warm_start

    def wave(source: Source) -> Wave:
        return Wave(source, "filter", straight, planner.config.lines, first, planner.warm_start, (4, 9))

    lines, paths = wave("straight"), wave("search")
    walls = sample_scenario(np.random.default_rng(3), 5, "rooms")
    assert learned(hall(4, 1), lines)
    assert learned(hall(9, 1), lines)
    assert not learned(hall(3, 1), lines)
    assert not learned(hall(10, 1), lines)
    assert not learned(hall(5, 1), lines, allowed=False)
    assert not learned(walls, lines)
    assert learned(walls, paths)
    assert not learned(walls, replace(paths, warm_robots=None))
    assert not learned(walls, replace(paths, warm_start=None))


def test_floors_are_open_where_discs_leave_most_of_them_free():
    def floor(discs: int) -> Scenario:
        scene = Scene((0.0, 0.0, 10.0, 10.0), torch.tensor([[5.0, 5.0, 0.6]], dtype=torch.float64).repeat(discs, 1))
        return replace(hall(2, 1), scene=scene)

    radius = float(hall(2, 1).fleet.radius.mean())
    most = CROWDED * 100.0 / (np.pi * (0.6 + 2.0 * radius) ** 2)
    assert is_open(floor(0))
    assert is_open(floor(int(most)))
    assert not is_open(floor(int(most) + 1))
    assert not is_open(sample_scenario(np.random.default_rng(3), 5, "rooms"))


def test_large_fleets_go_on_more_patiently_from_the_same_start(planner):
    released = planner.warm_start
    assert released.for_fleet(MANY) is released
    patient = released.for_fleet(MANY + 1)
    assert patient.schedule == PATIENT
    assert patient.network is released.network
    own = WarmStart(released.network, WarmSchedule(rounds=9))
    assert own.for_fleet(MANY + 1) is own


def test_draws_take_a_short_schedule_first_and_the_long_one_where_it_fails(planner):
    options = PlanOptions(sources=("flow",), candidates=2)
    patient = planner.replace(quick=None)
    hasty = planner.replace(quick=AtProposal(WarmSchedule(rounds=1)))  # nothing passes in one round
    for seed in (1, 2):
        scenario = sample_scenario(np.random.default_rng(seed), 8, "discs")
        short, long, failed = (each.plan(scenario, options) for each in (planner, patient, hasty))
        assert short.status is long.status is PlanStatus.SUCCEEDED
        assert short.diagnostics.filter_rounds < long.diagnostics.filter_rounds
        assert curves(failed) == curves(long)
        assert failed.diagnostics.cold_runs > 0
        assert short.diagnostics.cold_runs == long.diagnostics.cold_runs == 0


def test_a_planner_keeps_it_when_settings_change(planner):
    assert planner.replace(threads=1).warm_start is planner.warm_start
    assert replace(planner.config, threads=1) == planner.replace(threads=1).config
