"""Experts on disk: shards of scenarios with several certified plans each, for training the generator."""

import json
import os
import platform
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from maps.errors import InvalidScenario
from maps.sampling import FAMILIES, TRAINING, Family, SamplingConfig, sample_scenario
from maps.scenario import Scenario
from maps.trajectory import TrajectoryBatch
from models.checkpoint import load_weights, weights_folder
from models.path_frame import SAMPLES, headings, rotate_into, sample_times
from models.surroundings import free_room
from planner.choose import Candidate
from planner.experts import ExpertConfig, find_experts
from planner.generation import RELEASED, load_generator
from planner.proposals import control_count
from planner.routes import routes
from safety_filter.solver import SafetyFilter

SCENES = {
    "broad": TRAINING,  # every size of robot and workspace, tight to generous horizons
    "floors": SamplingConfig(slack=(1.3, 2.5), moving=0.1),  # 10 m floors, the robots 30 to 70 radii apart from side to side
}
FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class DatasetConfig:
    """Which scenarios; shard k of a seed is always the same."""

    seed: int = 1
    scenarios: int = 20_000
    shard: int = 64  # scenarios of a shard
    robots: tuple[int, int] = (1, 32)  # drawn log-uniformly
    held_out: tuple[Family, ...] = ("polygons",)  # families that training never sees
    sampling: SamplingConfig = field(default_factory=lambda: TRAINING)
    experts: ExpertConfig = field(default_factory=ExpertConfig)
    drawn: bool = False  # the released generator draws starts, too


def make_dataset(folder: Path, config: DatasetConfig, workers: int = 2) -> dict:
    """Makes the shards that are not there yet, and the manifest.

    Args:
        folder: where shards and manifest go; made if missing.
        config: which scenarios and experts.
        workers: processes; one a core is best.

    Returns:
        The manifest.

    Raises:
        InvalidScenario: the folder holds a data set made with another configuration, or no scenario of some shard has a plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(config)
    _same_or_new(folder / MANIFEST, manifest)
    count = -(-config.scenarios // config.shard)
    missing = [k for k in range(count) if not shard_path(folder, k).exists()]
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        jobs = [pool.submit(_make_shard, folder, k, config) for k in missing]
        try:
            _follow(jobs, count, config.shard)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the shards under way are finished, no other is begun
            raise
    return manifest


def _follow(jobs: list[Future], count: int, shard: int) -> None:
    """Waits for shards, with a progress bar."""
    with tqdm(total=count * shard, initial=(count - len(jobs)) * shard, unit="scenario") as bar:
        for job in as_completed(jobs):
            bar.set_postfix(job.result())
            bar.update(shard)


def shard_path(folder: Path, k: int) -> Path:
    """Where shard k lies."""
    return folder / f"shard-{k:05d}.npz"


def shards(folder: Path) -> list[Path]:
    """The shards in a folder and the folders below it, in order: several data sets side by side are one."""
    return sorted(folder.rglob("shard-*.npz"))


def training_scenarios(config: DatasetConfig, k: int) -> Iterator[tuple[int, Scenario]]:
    """The scenarios of shard k, each with the seed of its experts."""
    families: list[Family] = [f for f in FAMILIES if f not in config.held_out]
    low, high = np.log(config.robots[0]), np.log(config.robots[1] + 1)
    for row in range(config.shard):
        rng = np.random.default_rng([config.seed, k, row])
        family = families[int(rng.integers(len(families)))]
        robots = int(np.exp(rng.uniform(low, high)))
        try:
            yield int(rng.integers(1 << 31)), sample_scenario(rng, robots, family, config.sampling)
        except InvalidScenario:
            continue  # no room for so many robots of that size


def _start_worker() -> None:
    """One thread a process; an interrupt is for the process that hands out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _make_shard(folder: Path, k: int, config: DatasetConfig) -> dict[str, float]:
    safety_filter, proposer = SafetyFilter(pool=None), load_generator(streams=1) if config.drawn else None
    entries, asked = [], 0
    for seed, scenario in training_scenarios(config, k):
        asked += 1
        plans = find_experts(scenario, seed, safety_filter, config.experts, proposer)
        if plans:
            entries.append(describe(scenario, plans))
    if not entries:
        raise InvalidScenario(f"none of the {asked} scenarios of shard {k} has a plan; ask for larger shards")
    whole = {name: np.concatenate([entry[name] for entry in entries]) for name in entries[0]}
    path = shard_path(folder, k)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **whole)  # type: ignore[arg-type]
    partial.replace(path)
    return {"solved": len(entries) / max(asked, 1), "plans": float(np.mean(whole["plans"]))}


def describe(scenario: Scenario, plans: Sequence[Candidate]) -> dict[str, np.ndarray]:
    """One scenario and its plans as the arrays that a shard holds.

    Returns:
        `robots` (1,), `plans` (1,), `horizon` (1,), `margin` (1,); for each robot `route` (N, T, 2) m from the start,
        `room` (N, K, A) radii, `start_velocity` (N, 2), `radius`, `v_max`, `a_max` (N,); for each plan `cost` (P,);
        `path` (P * N, T, 2), the plans as offsets from the routes, forward and left, radii.
    """
    horizon = float(scenario.horizon or 0.0)
    count = control_count(scenario, horizon)
    route = sampled(routes(scenario, horizon, count), horizon)
    heading, radius = headings(route), scenario.fleet.radius
    path = torch.stack([sampled(torch.from_numpy(plan.control_points), horizon) for plan in plans])
    offset = rotate_into(path - route, heading) / radius[:, None, None]
    return {
        "robots": np.array([len(scenario)]),
        "plans": np.array([len(plans)]),
        "horizon": np.array([horizon]),
        "margin": np.array([scenario.margin]),
        "route": (route - route[:, :1]).float().numpy(),
        "start": scenario.start.numpy(),
        "room": free_room(scenario, route).half().numpy(),
        "start_velocity": scenario.start_velocity.float().numpy(),
        "radius": radius.numpy(),
        "v_max": scenario.fleet.v_max.numpy(),
        "a_max": scenario.fleet.a_max.numpy(),
        "cost": np.array([plan.metrics.cost for plan in plans]),
        "path": offset.flatten(0, 1).half().numpy(),
    }


def sampled(control_points: torch.Tensor, horizon: float) -> torch.Tensor:
    """Places (N, T, 2) of curves (N, n, 2) at the model's sample times, m."""
    return TrajectoryBatch(control_points, torch.tensor(horizon, dtype=control_points.dtype)).position(sample_times())


def _manifest(config: DatasetConfig) -> dict:
    packages = {name: version(name) for name in ("numpy", "numba", "torch")}
    told = {"format": FORMAT, "samples": SAMPLES, "config": asdict(config), "packages": packages, "python": platform.python_version()}
    return told | ({"generator": load_weights(weights_folder(), RELEASED)[0].sha256} if config.drawn else {})


def _same_or_new(path: Path, manifest: dict) -> None:
    wanted = json.loads(json.dumps(manifest))
    if path.exists():
        found = json.loads(path.read_text())
        for told in (found, wanted):
            told["config"] = {key: value for key, value in told["config"].items() if key != "scenarios"}  # it may grow
        if any(found.get(key) != wanted.get(key) for key in ("format", "samples", "config", "generator")):
            raise InvalidScenario(f"{path} tells of a data set made otherwise; choose another folder")
    path.write_text(json.dumps(manifest, indent=1))
