"""Shards: the same for a seed, made once, and what is read from them is what was planned."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maps.errors import InvalidInput, InvalidScenario
from models.checkpoint import load_weights, weights_folder
from models.condition import Surveyed, condition_on
from models.path_frame import headings, rotate_out_of
from planner.dataset import MANIFEST, SCENES, DatasetConfig, describe, make_dataset, sampled, shard_path, shards, training_scenarios
from planner.expert_batches import BatchConfig, ExpertSet
from planner.experts import ExpertConfig, find_experts
from planner.experts_sheet import stored_config
from planner.generation import RELEASED, survey
from safety_filter.problem import FilterConfig
from safety_filter.solver import SafetyFilter


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as shard:
        return dict(shard)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shards_come_back_bitwise_and_only_missing_ones_are_made(few_experts: Path, few_config: DatasetConfig, tmp_path: Path):
    known = shard_path(few_experts, 0)
    assert shards(few_experts) == [known]
    shard_path(tmp_path, 1).write_bytes(b"made before")
    make_dataset(tmp_path, replace(few_config, scenarios=9), workers=1)  # two shards, the second of which is there
    assert [path.name for path in shards(tmp_path)] == ["shard-00000.npz", "shard-00001.npz"]
    assert shard_path(tmp_path, 0).read_bytes() == known.read_bytes()
    assert shard_path(tmp_path, 1).read_bytes() == b"made before"
    assert list(tmp_path.glob("*.partial")) == []
    make_dataset(few_experts, few_config)  # nothing is missing
    assert shards(few_experts) == [known]


def test_every_shard_and_seed_has_its_own_scenarios(few_config: DatasetConfig):
    def starts(config: DatasetConfig, k: int) -> list[float]:
        return [float(scenario.start.sum()) for _, scenario in training_scenarios(config, k)]

    first = starts(few_config, 0)
    assert first == starts(few_config, 0)
    others = starts(few_config, 1) + starts(replace(few_config, seed=4), 0)
    assert len({*first, *others}) == len(first) + len(others)


def test_what_is_drawn_enters_shards_and_its_weights_the_manifest(few_experts: Path, few_config: DatasetConfig, tmp_path: Path):
    manifest = make_dataset(tmp_path, replace(few_config, drawn=True), workers=1)
    assert manifest["generator"] == load_weights(weights_folder(), RELEASED)[0].sha256
    plain, drawn_too = arrays(shard_path(few_experts, 0)), arrays(shard_path(tmp_path, 0))
    assert drawn_too["plans"].sum() >= 1
    assert stored_config(tmp_path) == replace(few_config, drawn=True)
    assert not (plain["path"].shape == drawn_too["path"].shape and np.array_equal(plain["path"], drawn_too["path"]))


@pytest.mark.parametrize("scenes", SCENES)
def test_a_manifest_tells_the_config_back(scenes: str, tmp_path: Path):
    config = DatasetConfig(seed=5, robots=(2, 9), held_out=("grid",), sampling=SCENES[scenes])
    (tmp_path / MANIFEST).write_text(json.dumps({"config": asdict(config)}))
    assert stored_config(tmp_path) == config


@pytest.mark.parametrize("other", [{"seed": 4}, {"shard": 4}, {"robots": (1, 4)}, {"held_out": ()}, {"drawn": True}])
def test_a_folder_of_another_data_set_is_refused(few_experts: Path, few_config: DatasetConfig, other: dict):
    before = (few_experts / "manifest.json").read_text()
    with pytest.raises(InvalidScenario, match="another folder"):
        make_dataset(few_experts, replace(few_config, **other))
    assert (few_experts / "manifest.json").read_text() == before


def test_a_shard_without_any_plan_is_refused(few_config: DatasetConfig, tmp_path: Path):
    hopeless = FilterConfig(rounds=1, most_penalty=1e-9)
    experts = ExpertConfig(hopeless, hopeless, hopeless, searched=0)
    with pytest.raises(InvalidScenario, match="larger shards"):
        make_dataset(tmp_path, replace(few_config, scenarios=2, shard=2, robots=(8, 8), experts=experts), workers=1)
    assert shards(tmp_path) == []


def test_the_manifest_tells_what_was_made(few_experts: Path):
    manifest = json.loads((few_experts / "manifest.json").read_text())
    assert manifest["config"]["seed"] == 8
    assert manifest["config"]["held_out"] == ["polygons"]
    assert set(manifest["packages"]) == {"numpy", "numba", "torch"}


def test_the_shard_holds_what_it_should(few_experts: Path, few_config: DatasetConfig):
    shard = arrays(shards(few_experts)[0])
    robots, plans = shard["robots"], shard["plans"]
    assert 1 <= robots.min() <= robots.max() <= 3
    assert len(robots) <= few_config.shard
    assert len(shard["path"]) == (robots * plans).sum()
    assert len(shard["cost"]) == plans.sum()
    for name in ("route", "room", "start", "start_velocity", "radius", "v_max", "a_max"):
        assert len(shard[name]) == robots.sum()
    assert all(np.isfinite(values).all() for values in shard.values())
    assert np.abs(shard["route"][:, 0]).max() == 0.0
    assert np.abs(shard["path"][:, [0, -1]]).max() < 1e-3  # radii: plans start and end where routes do


def test_held_out_families_never_come_up(few_config: DatasetConfig):
    config = replace(few_config, shard=4, held_out=("open", "discs", "boxes", "polygons", "grid", "dense", "lattice", "mazes", "crossings"))
    assert all(len(scenario.scene.polygons) > 0 for _, scenario in training_scenarios(config, 0))


def test_route_and_offsets_give_the_plans_back(few_config: DatasetConfig):
    plans_seen = 0
    for seed, scenario in list(training_scenarios(few_config, 0))[:5]:
        plans = find_experts(scenario, seed, SafetyFilter(pool=None))
        entry = describe(scenario, plans)
        route = torch.from_numpy(entry["route"])
        offset = torch.from_numpy(entry["path"]).float().unflatten(0, (len(plans), len(scenario)))
        metres = rotate_out_of(offset, headings(route)) * torch.from_numpy(entry["radius"]).float()[:, None, None]
        found = route.double() + torch.from_numpy(entry["start"])[:, None] + metres
        for plan, place in zip(plans, found, strict=True):
            known = sampled(torch.from_numpy(plan.control_points), float(scenario.horizon or 0.0))
            assert torch.allclose(place, known, atol=1e-3 * float(metres.abs().max()) + 1e-4 * float(scenario.fleet.radius.max()))
            plans_seen += 1
    assert plans_seen >= 5


def test_learned_from_shards_and_asked_of_scenarios_the_view_is_the_same(few_experts: Path, few_config: DatasetConfig):
    experts, scenarios = ExpertSet(shards(few_experts)), [scenario for _, scenario in training_scenarios(few_config, 0)]
    assert len(experts) == len(scenarios)  # all of these have plans
    for k, scenario in enumerate(scenarios):
        learned = experts.batch(np.array([k]), [0]).surveyed
        asked = survey(scenario, float(scenario.horizon or 0.0)).surveyed
        one, other = condition_on(learned), condition_on(asked)
        for name, atol in (
            ("place", 1e-3),
            ("heading", 2e-3),
            ("radius", 1e-6),
            ("room", 5e-3),
            ("robot", 1e-3),
            ("pair", 2e-3),
            ("fleet", 1e-5),
        ):
            assert torch.allclose(getattr(one, name), getattr(other, name), atol=atol), (k, name)


def test_batches_hold_fleets_of_one_size_with_their_own_plans(few_experts: Path):
    experts, shard = ExpertSet(shards(few_experts)), arrays(shards(few_experts)[0])
    first_plan, first_robot = (np.concatenate([[0], np.cumsum(counts)]) for counts in (shard["robots"] * shard["plans"], shard["robots"]))
    for n, members in experts.sizes.items():
        last = [int(shard["plans"][k]) - 1 for k in members]
        batch = experts.batch(members, last)
        assert batch.path.shape == (len(members), n, 97, 2)
        for row, (k, plan) in enumerate(zip(members, last, strict=True)):
            begin = first_plan[k] + plan * n
            assert np.array_equal(batch.path[row].numpy(), shard["path"][begin : begin + n].astype(np.float32))
            assert np.array_equal(batch.surveyed.radius[row].numpy(), shard["radius"][first_robot[k] :][:n].astype(np.float32))
            assert float(batch.surveyed.horizon[row]) == pytest.approx(shard["horizon"][k], rel=1e-6)


def test_draws_follow_the_generator_and_keep_to_the_limits(few_experts: Path):
    experts, config = ExpertSet(shards(few_experts)), BatchConfig(robots=4, scenes=2)
    sizes, generator = set(), drawn(2)
    for _ in range(40):
        batch = experts.draw(generator, config)
        assert len(batch) <= 4
        assert len(batch.path) <= 2
        sizes.add(batch.path.shape[1])
    assert sizes == set(experts.sizes)
    one, same, other = (experts.draw(drawn(seed), config) for seed in (7, 7, 8))
    assert torch.equal(one.path, same.path)
    assert all(torch.equal(getattr(one.surveyed, f.name), getattr(same.surveyed, f.name)) for f in fields(Surveyed))
    assert one.path.shape != other.path.shape or not torch.equal(one.path, other.path)


def test_batches_are_mirrored_as_often_as_asked(few_experts: Path):
    experts = ExpertSet(shards(few_experts))
    plain, mirrored = (experts.draw(drawn(3), BatchConfig(mirrored=share)) for share in (0.0, 1.0))
    assert torch.equal(mirrored.path, plain.path * torch.tensor([1.0, -1.0]))
    assert torch.equal(mirrored.surveyed.route, plain.surveyed.mirrored().route)
    assert torch.equal(mirrored.surveyed.room, plain.surveyed.room.flip(-1))


def test_cheap_plans_are_drawn_more_often(few_experts: Path):
    experts, shard = ExpertSet(shards(few_experts)), arrays(shards(few_experts)[0])
    k = int(np.argmax(shard["plans"]))
    assert shard["plans"][k] > 1
    cost = np.split(shard["cost"], np.cumsum(shard["plans"])[:-1])[k]
    firsts = {plan: experts.batch(np.array([k]), [plan]).path for plan in range(len(cost))}
    n, counts, generator = int(shard["robots"][k]), np.zeros(len(cost)), drawn(5)
    warmth = float(np.ptp(cost))  # the dearest plan is drawn 1/e times as often as the cheapest
    config = BatchConfig(robots=n * len(experts.sizes[n]), warmth=warmth, mirrored=0.0)
    for _ in range(1500):
        path = experts.draw(generator, config).path
        counts += [path.shape[1] == n and bool((path == first).flatten(1).all(1).any()) for first in firsts.values()]
    weight = np.exp(-(cost - cost.min()) / warmth)
    assert counts.sum() > 150
    assert counts / counts.sum() == pytest.approx(weight / weight.sum(), abs=0.1)


def test_no_shards_are_refused(tmp_path: Path):
    with pytest.raises(InvalidInput, match="flowfleet dataset"):
        ExpertSet(shards(tmp_path))
