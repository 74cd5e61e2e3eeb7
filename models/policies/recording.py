"""Recorded data for OGBench's environments, made here by the oracles that come with them; nothing is downloaded.

The files are what `ogbench.make_env_and_datasets(dataset_path=...)` and `read_npz` read: float32 rows `observations`, `actions`, `qpos`
and `qvel`, and `terminals`, true at the last row of each episode; beside `<name>.npz` stands `<name>-val.npz`, a tenth as long.
Source: Park et al., OGBench: Benchmarking Offline Goal-Conditioned RL (2024), for oracles, noise and the choice of goals.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.policies.environments import Environment, imported, is_ogbench, simulation
from models.policies.replay import Experience, as_experience, read_npz
from models.policies.rollouts import seed_of

Row = tuple[Any, Any, bool, Any, Any]  # observation, action, whether the episode ends, positions and velocities before
NAMES = ("observations", "actions", "terminals", "qpos", "qvel")


@dataclass(frozen=True)
class RecordingConfig:
    """How much is recorded, and how far the oracle is led astray."""

    episodes: int = 200  # to learn from; a tenth as many beside, to validate
    steps: int = 1001  # of an episode; its last row is a state only
    noise: float | None = None  # as in OGBench where None: .5 (of a pointmaze's actions), .1 (of a cube's plan)
    seed: int = 0  # of all


def recorded_steps(path: Path, environment: str) -> Experience:
    """Recorded data for an environment.

    Args:
        path: of an npz file in the format of OGBench.
        environment: its name; for a single task of OGBench, rewards are that task's, and nothing follows a step that reaches its goal.

    Returns:
        The steps.

    Raises:
        MissingPackage: OGBench is not installed, and the environment is of it.
        ValueError: no such file, or not of this format.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if not is_ogbench(environment):
        return read_npz(path)
    for part in (path, path.with_name(f"{path.stem}-val.npz")):
        if not part.is_file():
            raise ValueError(f"{part}: no such file; OGBench reads two")
    ogbench = imported("ogbench", environment)
    with warnings.catch_warnings(action="ignore"):
        arrays = ogbench.make_env_and_datasets(environment, dataset_path=str(path))[1]
    ends = np.maximum(arrays["terminals"], 1.0 - arrays["masks"])
    return as_experience(arrays | {"terminals": ends}, str(path))


def record_pointmaze(path: Path, maze: str, config: RecordingConfig, tell: Callable[[float], None]) -> int:
    """Records `navigate` data: a point heads for one random goal after the other, along the shortest way, with noise on its actions.

    Args:
        path: of the npz file.
        maze: "medium", "large", "giant" or "teleport".
        config: how much.
        tell: hears the share that is done, after each episode.

    Returns:
        Transitions to learn from.

    Raises:
        MissingPackage: OGBench is not installed.
        ValueError: no such maze, or a path that does not end in .npz.
    """
    if maze not in ("medium", "large", "giant", "teleport"):
        raise ValueError(f"there is no maze {maze!r}, but medium, large, giant and teleport")
    made = _environment(f"pointmaze-{maze}-v0", config, terminate_at_goal=False)
    noise = 0.5 if config.noise is None else config.noise
    return _record(path, made, config, lambda environment, seed: _navigate(environment, seed, noise), tell)


def record_cube(path: Path, config: RecordingConfig, tell: Callable[[float], None]) -> int:
    """Records `play` data: an arm carries one cube to one random place after the other, by plans with noise; else as `record_pointmaze`."""
    made = _environment("cube-single-v0", config, terminate_at_goal=False, mode="data_collection")
    noise = 0.1 if config.noise is None else config.noise
    return _record(path, made, config, lambda environment, seed: _play(environment, seed, noise), tell)


def _environment(name: str, config: RecordingConfig, **how: Any) -> Environment:
    imported("ogbench", name)  # registers its environments
    return Environment(simulation(name, "gymnasium", lambda gymnasium: gymnasium.make(name, max_episode_steps=config.steps, **how)))


def _record(
    path: Path,
    environment: Environment,
    config: RecordingConfig,
    episode: Callable[[Environment, int], Iterator[Row]],
    tell: Callable[[float], None],
) -> int:
    if path.suffix != ".npz" or config.episodes < 1:
        raise ValueError(f"{path} with {config.episodes} episodes: a name in .npz and an episode or more are needed")
    path.parent.mkdir(parents=True, exist_ok=True)
    validation = max(1, config.episodes // 10)
    total = config.episodes + validation
    for first, count, target in ((0, config.episodes, path), (config.episodes, validation, path.with_name(f"{path.stem}-val.npz"))):
        rows: list[Row] = []
        for number in range(first, first + count):
            rows += episode(environment, seed_of(config.seed, number))
            tell((number + 1) / total)
        arrays = (
            np.asarray(column, bool if name == "terminals" else np.float32)
            for name, column in zip(NAMES, zip(*rows, strict=True), strict=True)
        )
        np.savez_compressed(target, **dict(zip(NAMES, arrays, strict=True)))
    environment.close()
    return config.episodes * (config.steps - 1)


def _navigate(environment: Environment, seed: int, noise: float) -> Iterator[Row]:
    """One episode of a point; a new goal whenever one is reached."""
    generator, maze = np.random.default_rng(seed), environment.simulation.unwrapped
    free, crossings = _cells(maze.maze_map)
    start = free[generator.integers(len(free))]
    observation = environment.begin(seed, {"task_info": {"init_ij": start, "goal_ij": crossings[generator.integers(len(crossings))]}})[0]
    ended = False
    while not ended:
        place = maze.get_xy()
        aside = maze.get_oracle_subgoal(place, maze.cur_goal_xy)[0] - place
        action = aside / (np.linalg.norm(aside) + 1e-6) + generator.normal(0.0, noise, 2)
        action = np.clip(action, -1.0, 1.0)
        seen, _, terminated, truncated, told = environment.advance(action)
        ended = terminated or truncated
        yield observation, action, ended, told["prev_qpos"], told["prev_qvel"]
        if told["success"]:
            with environment.drawing():
                maze.set_goal(crossings[generator.integers(len(crossings))])
        observation = seen


def _cells(walls: np.ndarray) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Free cells, and those among them that are no straight corridor: goals are there."""
    free = [(int(i), int(j)) for i, j in np.argwhere(walls == 0)]
    corridor = ([0, 0, 1, 1], [1, 1, 0, 0])
    around = {(i, j): [int(walls[i - 1, j]), int(walls[i + 1, j]), int(walls[i, j - 1]), int(walls[i, j + 1])] for i, j in free}
    return free, [cell for cell in free if around[cell] not in corridor]


def _play(environment: Environment, seed: int, noise: float) -> Iterator[Row]:
    """One episode of the arm; a new place whenever a plan is done."""
    oracles = imported("ogbench.manipspace.oracles.plan.cube_plan", "cube-single")
    observation, told = environment.begin(seed, {})
    oracle, ended = oracles.CubePlanOracle(env=environment.simulation, noise=noise, noise_smoothing=0.5), False
    with environment.drawing():
        oracle.reset(observation, told)
    while not ended:
        with environment.drawing():
            action = np.clip(np.asarray(oracle.select_action(observation, told)), -1.0, 1.0)
        seen, _, terminated, truncated, told = environment.advance(action)
        ended = terminated or truncated
        yield observation, action, ended, told["prev_qpos"], told["prev_qvel"]
        if oracle.done:
            with environment.drawing():
                oracle.reset(*environment.simulation.unwrapped.set_new_target(p_stack=0.0))
        observation = seen
