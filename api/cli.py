"""The command line: flowfleet serve, plan, check, render, convert, version; those of `api.commands.train` and its like join them.

Whatever takes time to import is imported by the command that needs it, so that --help answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.commands import policy, rollout, warm  # noqa: F401 - their commands join those of training
from api.commands.train import app as training
from api.cores import limit_threads
from api.kernels import settle_kernels

NOT_ALL = 3  # exit code: some lines were not planned, or not safe
FATAL = 1  # exit code: nothing could be done

app = typer.Typer(
    name="flowfleet",
    help="Plans smooth, certified trajectories for fleets of mobile robots.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(training)

Source = Annotated[Path, typer.Argument(metavar="IN", help="one request a line")]


def _fatal(message: str) -> typer.Exit:
    typer.echo(f"flowfleet: {message}", err=True)
    return typer.Exit(FATAL)


def _lines(path: Path) -> list[bytes]:
    from api.lines import read_lines

    try:
        return read_lines(path)
    except OSError as error:
        raise _fatal(f"{path}: {error.strerror}") from None


def _line(path: Path, number: int) -> bytes:
    lines = _lines(path)
    if number > len(lines):
        raise _fatal(f"{path} has {len(lines)} lines, line {number} was asked for")
    return lines[number - 1]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free port [default: 8000]")] = None,
    config: Annotated[Path | None, typer.Option(envvar="FLOWFLEET_CONFIG", help="a TOML file of settings")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [default: info]")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="print all settings as TOML and end")] = False,
) -> None:
    """Starts the planning server; arguments go before FLOWFLEET_<NAME> in the environment, that before the file."""
    gc.disable()  # until the engine is ready: what is loaded stays, and looking at it again and again takes a seventh of the start
    from api.settings import load_settings
    from maps.errors import InvalidCheckpoint, InvalidInput

    try:
        settings = load_settings(config, host=host, port=port, log_level=log_level)
        if print_config:
            from api.settings_file import settings_text

            typer.echo(settings_text(settings), nl=False)
            return
        from api.serving import ServerFailed, run_server

        try:
            run_server(settings)
        except ServerFailed as error:
            raise _fatal(str(error)) from None
    except InvalidInput as error:
        raise _fatal(error.message) from None
    except InvalidCheckpoint as error:
        raise _fatal(str(error)) from None
    except OSError as error:
        raise _fatal(f"cannot listen: {error.strerror}") from None


@app.command()
def plan(
    requests: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="one plan a line, in the order of the requests")],
    batch_size: Annotated[int, typer.Option(min=1, help="requests planned together")] = 32,
) -> None:
    """Plans a file of requests; exit code 0: all planned, 3: some not, 1: nothing could be done."""
    from tqdm import tqdm

    lines, good = _lines(requests), 0
    try:
        with output.open("wb") as out:
            from api.batch import BatchPlanner
            from planner.assembly import load_planner

            planner = load_planner()
            planner.warm_up()  # deadlines are not for loading
            answers = BatchPlanner(planner).plan(lines, batch_size)
            for answer in tqdm(answers, total=len(lines), unit="plan", file=sys.stderr):
                out.write(answer.text + b"\n")
                good += answer.good
    except OSError as error:
        raise _fatal(f"{error.filename}: {error.strerror}") from None
    typer.echo(f"{good} of {len(lines)} planned", err=True)
    raise typer.Exit(0 if good == len(lines) else NOT_ALL)


@app.command()
def check(
    requests: Source,
    plans: Annotated[Path, typer.Argument(metavar="PLANS", help="one plan a line, from any tool")],
) -> None:
    """Judges plans at every instant, one row a request; exit code 0: all safe, 3: some not."""
    asked, made = _lines(requests), _lines(plans)
    if len(made) > len(asked):
        raise _fatal(f"{len(asked)} requests but {len(made)} plans")
    from api.batch import judge_lines

    all_safe = True
    for row in judge_lines(asked, made):
        typer.echo(row.text.decode())
        all_safe &= row.good
    raise typer.Exit(0 if all_safe else NOT_ALL)


@app.command()
def render(
    plans: Annotated[Path, typer.Argument(metavar="PLANS", help="one plan a line")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ends in .png, .svg, .gif or .mp4")],
    request: Annotated[Path, typer.Option(help="the requests that the plans answer: they have the map")],
    line: Annotated[int, typer.Option(min=1, help="which plan, and which request")] = 1,
    plan_line: Annotated[int | None, typer.Option(min=1, help="which plan, where it is on another line than its request")] = None,
) -> None:
    """Draws a plan: map, discs, paths and time."""
    asked, made = _line(request, line), _line(plans, plan_line or line)
    from api.picture import render_lines
    from api.problems import Problem
    from maps.errors import PlanningError

    try:
        render_lines(asked, made, output)
    except Problem as problem:
        raise _fatal(problem.detail) from None
    except (PlanningError, ValueError) as error:
        raise _fatal(str(error)) from None
    except OSError as error:
        raise _fatal(f"{error.filename}: {error.strerror}") from None


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a map: .yaml (Nav2), .map (MovingAI), .geojson, .wkt")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="the inline map as JSON")],
    cell_size: Annotated[float | None, typer.Option(help="m, side of a MovingAI map's cell")] = None,
) -> None:
    """Turns a map file into the inline form of requests."""
    from api.plan_wire import to_json
    from api.settings import Settings
    from api.uploads import read_map_file
    from maps.errors import PlanningError
    from maps.files.inline import write_inline

    try:
        scene = read_map_file(source, cell_size, Settings())
        output.write_bytes(to_json(write_inline(scene)) + b"\n")
    except PlanningError as error:
        raise _fatal(f"{source}: {error}") from None
    except OSError as error:
        raise _fatal(f"{error.filename}: {error.strerror}") from None


@app.command()
def version() -> None:
    """Prints the version."""
    from importlib.metadata import version as installed

    typer.echo(f"flowfleet {installed('flowfleet')}")


def main() -> None:
    """Runs the command line."""
    limit_threads()
    settle_kernels(os.environ)
    app()


if __name__ == "__main__":
    main()
