"""The command that carries a plan out in simulation: flowfleet rollout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.train import Seed, app, in_one_line

if TYPE_CHECKING:
    from planner.executor import Outcome
    from planner.pilots import Pilot
    from planner.rollout import RolloutConfig

NOT_ALL = 3  # exit code: a robot did not arrive, or touched something


@app.command()
def rollout(
    plans: Annotated[Path, typer.Argument(metavar="PLANS", help="one plan a line")],
    request: Annotated[Path, typer.Option(help="the requests that the plans answer: they have the map")],
    line: Annotated[int, typer.Option(min=1, help="which plan, and which request")] = 1,
    pilot: Annotated[str, typer.Option(help="sidestep: passes strangers; tracking: follows the plan; or a policy")] = "sidestep",
    strangers: Annotated[int, typer.Option(min=0, max=24, help="discs that walk across the plan and that it does not know")] = 2,
    delays: Annotated[float, typer.Option(min=0.0, help="a minute and robot: how often it stands still for 1 to 4 s")] = 0.0,
    noise: Annotated[float, typer.Option(min=0.0, help="m, standard deviation of where robots see strangers")] = 0.0,
    filtered: Annotated[bool, typer.Option("--filter/--no-filter", help="whether accelerations are filtered")] = True,
    replan: Annotated[bool, typer.Option("--replan/--no-replan", help="whether a fleet that is held up is planned anew")] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="a film (.gif) or a picture (.png) of it")] = None,
    seed: Seed = 0,
) -> None:
    """Carries a plan out among strangers and tells how it went, as JSON; exit code 0: all arrived and touched nothing, 3: not so."""
    with in_one_line():
        from dataclasses import asdict

        from api.plan_wire import to_json
        from api.problems import Problem
        from maps.errors import InvalidInput
        from planner.rollout import RolloutConfig
        from planner.strangers import StrangerConfig

        world = RolloutConfig(shield=filtered, strangers=StrangerConfig(strangers), delays=delays / 60.0, noise=noise)
        try:
            outcome = _carried_out((plans, request, line), world, (pilot, replan, seed), output)
        except (Problem, ValueError) as error:
            raise InvalidInput(str(error)) from error
        typer.echo(to_json(asdict(outcome)).decode())
        if not outcome.success:
            raise typer.Exit(NOT_ALL)


@app.command()
def agents() -> None:
    """Lists the released policies that move robots of a fleet, one a line, after each has acted once."""
    with in_one_line():
        from api.agents.service import AgentService
        from api.intake import Intake
        from api.maps_store import MapsStore
        from api.settings import Settings

        settings = Settings()
        service = AgentService(Intake(settings, MapsStore(settings)), settings.weights, settings.queue_size)
        service.load()
        for agent in service.listed()["agents"]:
            model = agent["model"]
            typer.echo(f"{agent['id']}\t{model['name']} {model['version']}\t{model['sha256']}")


def _carried_out(files: tuple[Path, Path, int], world: RolloutConfig, how: tuple[str, bool, int], output: Path | None) -> Outcome:
    import time

    from api.intake import Intake
    from api.lines import read_lines
    from api.maps_store import MapsStore
    from api.parsing import parse_json
    from api.picture import read_back
    from api.settings import Settings
    from maps.errors import InvalidInput
    from planner.assembly import load_planner
    from planner.executor import Executor
    from planner.rollout_film import write_rollout

    (plans, request, line), (pilot, replan, seed) = files, how
    asked, made = read_lines(request), read_lines(plans)
    if line > min(len(asked), len(made)):
        raise InvalidInput(f"there are {len(made)} plans and {len(asked)} requests, line {line} was asked for", code="NO_SUCH_LINE")
    settings = Settings()
    scenario = Intake(settings, MapsStore(settings)).order(asked[line - 1], time.monotonic()).scenario
    plan = read_back(parse_json(made[line - 1]), scenario)
    if output is not None and output.suffix.lower() not in (".gif", ".png"):
        raise InvalidInput(f"a rollout's picture ends in .gif or .png, got {output.name!r}", code="UNKNOWN_FORMAT")
    executor = Executor(_pilot(pilot, seed), load_planner().plan if replan else None)
    outcomes, journey = executor.run([scenario], [plan], world, seed, keep=True)
    if output is not None:
        write_rollout(output, scenario, journey, world.strangers.size * float(scenario.fleet.radius.mean()), world.filter.tick)
    return outcomes[0]


def _pilot(name: str, seed: int) -> Pilot:
    from maps.errors import InvalidInput
    from planner.fleet_policy import PolicyPilot, load_fleet_policy, released_agents
    from planner.pilots import Sidestepping, Tracking

    if name in ("sidestep", "tracking"):
        return Sidestepping() if name == "sidestep" else Tracking()
    known = released_agents()
    if name not in known:
        raise InvalidInput(f"--pilot takes sidestep, tracking, {', '.join(known)}; not {name!r}", code="UNKNOWN_AGENT")
    return PolicyPilot(load_fleet_policy(name), seed)
