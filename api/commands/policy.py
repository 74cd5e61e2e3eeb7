"""The commands for policies of single agents: flowfleet train policy, flowfleet make-data."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.commands.train import STOPPED, Seed, app, in_one_line, refuse_missing_gpu, train_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.policies.learning import Ended, RunConfig
    from models.policies.policy import Policy
    from models.policies.replay import ReplayBuffer
    from planner.fleet_scenes import Planned
    from planner.pipeline import Planner

FLEET_SEEDS = 100_000  # of one seed of recorded fleets


@contextmanager
def _refusals() -> Iterator[None]:
    """Tells what policies refuse in one line, and ends the command."""
    from maps.errors import InvalidInput
    from models.policies.learning import DivergedPolicy

    with in_one_line():
        try:
            yield
        except (ValueError, DivergedPolicy) as error:
            raise InvalidInput(str(error)) from error


@train_app.command()
def policy(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the run: logs and states")],
    agent: Annotated[str, typer.Option(help="bc, fql, sac, ...: the algorithm")],
    env: Annotated[str, typer.Option(help="of Gymnasium, dm_control/DOMAIN-TASK, an OGBench singletask, or MODULE:CLASS")],
    data: Annotated[Path | None, typer.Option(metavar="NPZ", help="recorded steps, as OGBench stores them")] = None,
    offline_steps: Annotated[int, typer.Option(min=0, help="updates from recorded steps alone, first")] = 0,
    online_steps: Annotated[int, typer.Option(min=0, help="steps of the environment, then")] = 0,
    random_steps: Annotated[int, typer.Option(min=0, help="first online ones, by uniform actions")] = 0,
    wait: Annotated[int, typer.Option(min=0, help="online steps before the first update among them")] = 0,
    updates: Annotated[int, typer.Option(min=1, help="an online step, or a number of them")] = 1,
    update_every: Annotated[int, typer.Option(min=1, help="online steps of which the first has the updates")] = 1,
    preset: Annotated[Literal["default", "paper", "cpu"], typer.Option(help="of the config")] = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="of the config: alpha=3, solver.steps=2")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="transitions of an update")] = 256,
    chunk: Annotated[int, typer.Option(min=1, help="actions that are chosen together")] = 1,
    returns: Annotated[int, typer.Option(min=1, help="time steps of a return, where actions are chosen one by one")] = 1,
    execute: Annotated[int, typer.Option(min=0, help="actions of a chunk that are done before looking anew; 0: all")] = 0,
    normalize: Annotated[bool, typer.Option("--normalize", help="brings observations to mean 0 and spread 1 of those in --data")] = False,
    capacity: Annotated[int, typer.Option(min=1, help="steps that are kept beside recorded ones")] = 1_000_000,
    evaluate_every: Annotated[int, typer.Option(min=1, help="steps, and at the end in any case")] = 50_000,
    episodes: Annotated[int, typer.Option(min=0, help="of an evaluation; 0: none")] = 10,
    store_every: Annotated[int, typer.Option(min=1, help="steps, and at the end in any case")] = 50_000,
    log_every: Annotated[int, typer.Option(min=1, help="steps")] = 1000,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="where the networks are")] = "cpu",
    tensorboard: Annotated[bool, typer.Option(help="event files beside the tables")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="goes on from the latest state in OUT; other options as before")] = False,
    threads: Annotated[int, typer.Option(min=1, help="of torch")] = 1,
    seed: Seed = 0,
) -> None:
    """Trains a policy offline, online, or the one and then the other; exit code 0: done, 3: stopped and stored, 1: nothing done."""
    with _refusals():
        import torch

        from models.policies.learning import RunConfig
        from models.policies.registry import policy_config
        from models.policies.replay import DrawConfig
        from models.policies.rollouts import EvaluationConfig

        torch.set_num_threads(threads)
        refuse_missing_gpu(device)
        if not offline_steps + online_steps:
            raise ValueError("say how long to train: --offline-steps, --online-steps or both")
        config = policy_config(agent, preset, _pairs(settings or []))
        actions = getattr(config, "horizon", chunk)
        chunked = actions > 1 or hasattr(config, "horizon")
        if chunked and returns > 1:
            raise ValueError("the return of a chunk is over its actions; --returns is for single ones")
        draw = DrawConfig(batch, actions if chunked else returns, chunked, config.learning.discount)
        every = {"update_every": update_every, "log_every": log_every, "evaluate_every": evaluate_every, "store_every": store_every}
        judged = EvaluationConfig(episodes, seed, execute=execute)
        run = RunConfig(offline_steps, online_steps, random_steps, wait, updates, draw, evaluation=judged, seed=seed, **every)
        chosen = {"agent": agent, "config": config, "env": env, "device": device}
        chosen |= {"data": data, "capacity": capacity, "normalize": normalize}
        ended = _train(folder, run, chosen, tensorboard, resume)
        for name, value in ended.evaluation.items():
            typer.echo(f"{name}\t{value:.4g}")
        typer.echo(f"{agent} in {folder}: {ended.step} steps in {ended.minutes:.1f} min", err=True)
        if not ended.finished:
            typer.echo("stopped; go on with --resume", err=True)
            raise typer.Exit(STOPPED)


def _train(folder: Path, run: RunConfig, chosen: dict[str, Any], tensorboard: bool, resume: bool) -> Ended:
    from models.policies.environments import make_environment
    from models.policies.learning import Places, Watchers, learn
    from models.policies.registry import with_members
    from models.policies.run_state import stored_runs
    from models.training.logs import Journal, ProgressBar
    from models.training.stopping import StopRequest

    states = stored_runs(folder)
    if states and not resume:
        raise ValueError(f"{folder} holds a run already: resume it, or choose another folder")
    done = int(states[-1].name.removeprefix("state-")) if resume and states else 0
    with ExitStack() as stack:
        acting, judging = make_environment(chosen["env"]), make_environment(chosen["env"])
        stack.callback(acting.close)
        stack.callback(judging.close)
        chosen = chosen | {"config": with_members(chosen["config"], acting.members)}
        if chosen["normalize"] and acting.members is not None:
            raise ValueError("--normalize is not for observations with a set in them")
        learner, replay = _parts(chosen, run, acting.observation, acting.action)
        folder.mkdir(parents=True, exist_ok=True)
        journal = stack.enter_context(Journal(folder, done, tensorboard))
        stop, bar = stack.enter_context(StopRequest()), ProgressBar(done / run.steps)
        stack.callback(bar.close)
        places = Places(acting, judging if run.evaluation.episodes else None)
        return learn(learner, replay, places, run, Watchers(journal, bar, lambda: stop.asked), folder, resume)


def _parts(chosen: dict[str, Any], run: RunConfig, observation: int, action: int) -> tuple[Policy, ReplayBuffer]:
    """The policy, new, and the ring with what is recorded."""
    from models.policies.networks import Sizes
    from models.policies.recording import recorded_steps
    from models.policies.registry import policy_class
    from models.policies.replay import ReplayBuffer, ReplayConfig

    recorded = None if chosen["data"] is None else recorded_steps(chosen["data"], chosen["env"])
    if recorded is not None and (recorded.observation.shape[1], recorded.action.shape[1]) != (observation, action):
        seen, done = recorded.observation.shape[1], recorded.action.shape[1]
        raise ValueError(f"{chosen['data']} has observations of {seen} and actions of {done}, not {observation} and {action}")
    room = max(1, (chosen["capacity"] if run.online else 0) + (0 if recorded is None else len(recorded)))
    replay = ReplayBuffer(ReplayConfig(observation, action, room))
    if recorded is not None:
        replay.add(recorded)
    kind: Any = policy_class(chosen["agent"])
    made = kind(Sizes(observation, action * (run.draw.steps if run.draw.chunk else 1)), chosen["config"], run.seed)
    if chosen["normalize"]:
        if recorded is None:
            raise ValueError("--normalize takes mean and spread from --data")
        made.look_at(recorded.observation)
    return made.to(chosen["device"]), replay


@train_app.command(name="release-policy")
def release_policy(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run that trained a policy of fleets")],
    version: Annotated[str, typer.Option(help="that the released weights are known by")],
    into: Annotated[Path | None, typer.Option(metavar="FOLDER", help="instead of the package's own weights")] = None,
) -> None:
    """Puts the policy of a run's latest state where servers and rollouts find it, as fleet-AGENT."""
    with _refusals():
        from models.checkpoint import weights_folder
        from models.policies.registry import agent_named, policy_class
        from models.policies.run_state import stored_runs
        from models.policies.stored import stored_class
        from planner.fleet_policy import save_fleet_policy

        states = stored_runs(run)
        if not states:
            raise ValueError(f"{run} holds no state of a run")
        file = states[-1] / "policy.safetensors"
        made = policy_class(agent_named(stored_class(file))).load(file)
        identity = save_fleet_policy(into or weights_folder(), made, version, {"updates": made.updates})
        typer.echo(f"{identity.name} {identity.version}, sha256 {identity.sha256}, in {into or weights_folder()}")


def _pairs(settings: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in settings]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise ValueError(f"--set takes NAME=VALUE, not {name!r}")
    return {name: value for name, _, value in pairs}


@app.command(name="make-data")
def make_data(
    task: Annotated[
        Literal["pointmaze", "cube", "fleet"], typer.Argument(help="a point that navigates, an arm that plays, robots that carry plans out")
    ],
    file: Annotated[Path, typer.Argument(metavar="OUT", help="an npz file; but for a fleet, NAME-val.npz comes to stand beside it")],
    episodes: Annotated[int, typer.Option(min=1, help="to learn from; a tenth as many to validate")] = 200,
    steps: Annotated[int, typer.Option(min=2, help="rows of an episode; of a fleet, on average over all")] = 1001,
    maze: Annotated[Literal["medium", "large", "giant", "teleport"], typer.Option(help="of a pointmaze")] = "medium",
    noise: Annotated[float | None, typer.Option(min=0.0, help="as OGBench has it unless given")] = None,
    seed: Seed = 0,
) -> None:
    """Records data for policies in the format of OGBench, by its oracles or from certified plans; nothing is downloaded."""
    with _refusals():
        if task == "fleet":
            typer.echo(f"{file} has {_fleet_data(file, episodes * steps, noise, seed)} transitions", err=True)
            return
        from models.policies.recording import RecordingConfig, record_cube, record_pointmaze
        from models.training.logs import ProgressBar

        config, bar = RecordingConfig(episodes, steps, noise, seed), ProgressBar(0.0)
        try:
            count = record_cube(file, config, bar.move) if task == "cube" else record_pointmaze(file, maze, config, bar.move)
        finally:
            bar.close()
        typer.echo(f"{file} has {count} transitions", err=True)


def _fleet_data(file: Path, least: int, noise: float | None, seed: int) -> int:
    """Records fleets that carry their plans out; returns how many transitions there are."""
    import numpy as np

    from models.training.logs import ProgressBar
    from planner.assembly import load_planner
    from planner.demonstrations import DemonstrationConfig, record_demonstrations

    planner, bar = load_planner(), ProgressBar(0.0)
    config = DemonstrationConfig(least, seed=seed) if noise is None else DemonstrationConfig(least, noise=noise, seed=seed)
    try:
        draw = partial(_fleets, planner, seed)
        rows: dict[str, Any] = dict(record_demonstrations(draw, config, bar.move))
    finally:
        bar.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **rows)
    return len(rows["rewards"])


def _fleets(planner: Planner, seed: int, number: int) -> Planned:
    """Fleets of eight, in five random scenes and three built-in maps."""
    from planner.fleet_scenes import mixed_scenarios

    return mixed_scenarios(planner, 8, (5, 3), FLEET_SEEDS * seed + 2 * number)
