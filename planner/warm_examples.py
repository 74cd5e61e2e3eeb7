"""Proposals for the learned initialisation to practise on, and what a long, soft run of the filter makes of each."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from maps.errors import InvalidScenario
from maps.sampling import FAMILIES, Family, sample_scenario
from maps.scenario import Scenario, ScenarioBatch
from maps.scene_batch import SceneBatch
from models.condition import Surveyed, survey_along
from planner.dataset import SCENES
from planner.experts import ExpertConfig
from planner.generation import Proposer, load_generator
from planner.plan import PlanOptions
from planner.task import Task
from planner.waves import perturbed, searched, straight
from safety_filter.problem import FilterConfig
from safety_filter.sine_modes import to_modes
from safety_filter.solver import FilterStatus, cold_run
from safety_filter.training import Unrolling, WarmBatch
from safety_filter.warm_start import WarmStartConfig

KINDS = ("lines", "bent", "search", "flow")


@dataclass(frozen=True)
class ExampleConfig:
    """Which scenes and proposals."""

    seed: int = 1
    count: int = 12_000  # examples of a run
    robots: tuple[int, int] = (1, 32)  # drawn log-uniformly
    broad: float = 0.3  # share of scenes of all sizes; the others are floors of 10 m
    open_floors: float = 0.5  # share of scenes in which straight lines are free but for discs
    held_out: tuple[Family, ...] = ("polygons",)  # families that training never sees
    shares: tuple[float, ...] = (0.4, 0.1, 0.25, 0.25)  # of the kinds of proposals; lines that fail give way to another kind
    lines: FilterConfig = field(default_factory=FilterConfig)  # the long runs, as the planner has them
    bent: FilterConfig = field(default_factory=lambda: FilterConfig(penalty=0.2))
    paths: FilterConfig = field(default_factory=lambda: FilterConfig(penalty=0.3, wall_penalty=2.0))


@dataclass(frozen=True)
class Example:
    """One proposal, and where the long run from it ended."""

    scenario: Scenario
    proposal: Float[Tensor, "N n 2"]  # m
    surveyed: Surveyed  # S = 1
    aim: Float[Tensor, "N K 2"]  # coefficients of control points and multipliers
    solved: bool


def make_examples(config: ExampleConfig, network: WarmStartConfig, workers: int) -> list[Example]:
    """The same for the same config, whatever the number of processes."""
    job = partial(_packed, config=config, network=network)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        found = list(tqdm(pool.map(job, range(config.count), chunksize=16), total=config.count, desc="proposals", mininterval=2.0))
    return [example for example in map(pickle.loads, found) if example is not None]


_proposer: Proposer | None = None  # of this process, loaded once


def _start_worker() -> None:
    global _proposer
    torch.set_num_threads(1)
    _proposer = load_generator(streams=1)


def _packed(k: int, config: ExampleConfig, network: WarmStartConfig) -> bytes:
    """Pickled here: the pool would hand tensors over by a file descriptor each, and run out of them."""
    return pickle.dumps(_example(k, config, network))


def _example(k: int, config: ExampleConfig, network: WarmStartConfig) -> Example | None:
    """Example k; None where its scene has no room for its fleet, or no proposal of its kind is found."""
    rng = np.random.default_rng([config.seed, k])
    low, high = config.robots
    robots = int(np.floor(np.exp(rng.uniform(np.log(low), np.log(high + 1)))))
    others: tuple[Family, ...] = tuple(family for family in FAMILIES if family not in config.held_out)
    families: tuple[Family, ...] = ("open", "discs") if rng.random() < config.open_floors else others
    scenes = SCENES["broad" if rng.random() < config.broad else "floors"]
    kind = KINDS[int(rng.choice(len(KINDS), p=np.array(config.shares) / sum(config.shares)))]
    try:
        scenario = sample_scenario(rng, robots, families[int(rng.integers(len(families)))], scenes)
    except InvalidScenario:
        return None
    task = Task.begin(scenario, PlanOptions(seed=int(rng.integers(1 << 40))))
    kinds = (kind, *rng.permutation(KINDS[2:])) if kind == "lines" else (kind,)
    out = None
    for name in kinds:
        proposals = _propose(task, name)
        if len(proposals):
            out = _run(scenario, proposals[0], getattr(config, name if name in ("lines", "bent") else "paths"), network)
            if out.solved:
                break
    return out


def _propose(task: Task, kind: str) -> Float[Tensor, "M N n 2"]:
    if kind == "flow":
        if _proposer is None:
            raise RuntimeError("proposals are made in worker processes")
        return _proposer(task, 1)
    if kind == "search":
        return searched(task, 1, ExpertConfig().search)
    return straight(task) if kind == "lines" else perturbed(task, 1)


def _run(scenario: Scenario, proposal: Float[Tensor, "N n 2"], config: FilterConfig, network: WarmStartConfig) -> Example:
    status, control, multiplier = cold_run(scenario, proposal.numpy(), config)
    surveyed = survey_along([scenario], proposal[None])
    parts = [(torch.from_numpy(control) - proposal, network.control_modes), (torch.from_numpy(multiplier), network.multiplier_modes)]
    aim = torch.cat([to_modes(values[None], surveyed, modes)[0] for values, modes in parts], dim=1)
    return Example(scenario, proposal, surveyed, aim.float(), status == FilterStatus.PASSED)


def spread(examples: Sequence[Example], control_modes: int, tolerance: float) -> Float[Tensor, "K 2"]:
    """Standard deviation of every coefficient over the robots of solved examples, radii, weighed as the loss weighs them."""
    aim = torch.cat([e.aim for e in examples if e.solved])
    weight = 1.0 / (1.0 + aim[:, :control_modes].square().sum((-1, -2)) / tolerance**2)
    return ((weight[:, None, None] * aim.square()).sum(0) / weight.sum()).sqrt().clamp_min(1e-4)


@dataclass(frozen=True)
class WarmBatchConfig:
    """What a step learns from."""

    robots: int = 256  # at most, over all problems of a batch
    unrolled: float = 0.1  # share of the batches whose problems are run
    unrolled_robots: int = 48  # at most, over all problems of such a batch
    pairs: int = 700  # of robots, at most, over all problems of such a batch


class ExamplePool:
    """Examples as batches of fleets of about one size."""

    def __init__(self, examples: Sequence[Example]) -> None:
        """Sorts them by size."""
        self.examples = sorted(examples, key=lambda e: (len(e.scenario), e.proposal.shape[1]))
        self.solved = [example for example in self.examples if example.solved]  # only these are run: hopeless ones would drown them out

    def draw(self, generator: torch.Generator, config: WarmBatchConfig) -> WarmBatch:
        """A batch around a random example; half of those that are not run are seen in a mirror."""
        run, flip, where = torch.rand(3, generator=generator).tolist()
        middle = min(int(where * len(self.examples)), len(self.examples) - 1)
        if run < config.unrolled and self.solved:
            return self._to_run(min(int(where * len(self.solved)), len(self.solved) - 1), config)
        chosen, robots = [], 0
        for example in self.examples[middle:]:
            if robots + len(example.scenario) > max(config.robots, len(example.scenario)):
                break
            chosen.append(example)
            robots += len(example.scenario)
        return _stacked(chosen, flip < 0.5)

    def _to_run(self, middle: int, config: WarmBatchConfig) -> WarmBatch:
        count = self.solved[middle].proposal.shape[1]
        chosen, robots, pairs = [], 0, 0
        for example in self.solved[middle:]:
            size = len(example.scenario)
            if example.proposal.shape[1] != count:
                continue
            if chosen and (robots + size > config.unrolled_robots or pairs + size**2 > config.pairs):
                break
            chosen.append(example)
            robots, pairs = robots + size, pairs + size**2
        scenarios = tuple(e.scenario for e in chosen)
        batch = ScenarioBatch.stack(scenarios)
        proposal = torch.stack([_padded(e.proposal, batch.mask.shape[1]) for e in chosen])
        unrolling = Unrolling(scenarios, SceneBatch.stack([s.scene for s in scenarios]), batch, proposal)
        taught = _stacked(chosen, False)
        return WarmBatch(taught.surveyed, taught.aim, taught.solved, unrolling)


def _stacked(examples: Sequence[Example], mirrored: bool) -> WarmBatch:
    most = max(len(e.scenario) for e in examples)

    def column(name: str) -> Tensor:
        rows = [getattr(e.surveyed, name) for e in examples]
        fill = 1.0 if name in ("v_max", "a_max") else 0.0
        return torch.cat([row if row.ndim == 1 else _padded(row[0], most, fill)[None] for row in rows])

    surveyed = Surveyed(**{f.name: column(f.name) for f in fields(Surveyed)})
    aim = torch.stack([_padded(e.aim, most) for e in examples])
    if mirrored:
        surveyed, aim = surveyed.mirrored(), aim * torch.tensor([1.0, -1.0])
    return WarmBatch(surveyed, aim, torch.tensor([e.solved for e in examples]))


def _padded(rows: Tensor, most: int, fill: float = 0.0) -> Tensor:
    return torch.cat([rows, rows.new_full((most - len(rows), *rows.shape[1:]), fill)])
