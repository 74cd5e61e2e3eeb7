"""The command line for whoever trains networks: flowfleet dataset, train generator, train release; `api.commands.warm` adds to it.

As in `api.cli`, whatever takes time to import is imported by the command that needs it.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maps.sampling import Family
    from models.checkpoint import ModelIdentity
    from models.training.loop import Report
    from planner.downstream import ValidationConfig

STOPPED = 3  # exit code: a signal ended the run early, and its state is stored
FATAL = 1  # exit code: nothing could be done
MOST_SAID = 400  # characters of an error

app = typer.Typer()
train_app = typer.Typer(help="Trains networks and releases what comes out.", no_args_is_help=True)
app.add_typer(train_app, name="train")

Seed = Annotated[int, typer.Option(min=0, help="of everything that is drawn")]


def _fatal(message: str) -> typer.Exit:
    typer.echo(f"flowfleet: {message}", err=True)
    return typer.Exit(FATAL)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Tells what went wrong in one line, and ends the command."""
    from concurrent.futures.process import BrokenProcessPool
    from textwrap import shorten

    from maps.errors import PlanningError

    try:
        yield
    except (PlanningError, ModuleNotFoundError, BrokenProcessPool) as error:
        raise _fatal(shorten(str(error), MOST_SAID, placeholder=" ...")) from None
    except OSError as error:
        raise _fatal(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None
    except KeyboardInterrupt:
        raise _fatal("stopped; what is done is kept, and the same command goes on from there") from None


@app.command()
def dataset(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the shards; those that are there are kept")],
    scenarios: Annotated[int, typer.Option(min=1, help="how many, rounded up to whole shards")] = 20_000,
    seed: Seed = 1,
    robots: Annotated[str, typer.Option(metavar="LEAST-MOST", help="of a fleet, small ones more often")] = "1-32",
    scenes: Annotated[Literal["broad", "floors"], typer.Option(help="all sizes, or floors of 10 m")] = "broad",
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
    held_out: Annotated[str, typer.Option(help="families of scenes that are left out, with commas between")] = "polygons",
    drawn: Annotated[bool, typer.Option("--drawn", help="starts also from what the released generator draws")] = False,
    shard: Annotated[int, typer.Option(min=1, help="scenarios of a shard")] = 64,
    sheet: Annotated[Path | None, typer.Option(help="makes nothing, but draws random experts of OUT into this picture")] = None,
    count: Annotated[int, typer.Option(min=1, help="experts on the sheet")] = 36,
) -> None:
    """Makes experts for training: random scenarios with several certified plans each; goes on where it was stopped."""
    with in_one_line():
        if sheet is not None:
            _draw_sheet(folder, sheet, count, seed)
            return
        from planner.dataset import SCENES, DatasetConfig, make_dataset, shards

        config = DatasetConfig(seed, scenarios, shard, robots_range(robots), _families(held_out), SCENES[scenes], drawn=drawn)
        make_dataset(folder, config, workers)
        typer.echo(f"{folder} has {len(shards(folder))} shards", err=True)


def _draw_sheet(folder: Path, sheet: Path, count: int, seed: int) -> None:
    from planner.experts_sheet import SheetConfig, draw_sheet

    drawn = draw_sheet(folder, sheet, SheetConfig(count=count, seed=seed))
    typer.echo(f"{drawn} experts in {sheet}", err=True)


def robots_range(text: str) -> tuple[int, int]:
    """Least and most robots of a fleet."""
    from maps.errors import InvalidInput

    least, dash, most = text.partition("-")
    if not (least.isdigit() and (most.isdigit() or not dash)) or not 1 <= int(least) <= int(most or least):
        raise InvalidInput(f"--robots takes two numbers such as 1-32, from 1 up, not {text!r}")
    return int(least), int(most or least)


def _families(text: str) -> tuple[Family, ...]:
    from maps.errors import InvalidInput
    from maps.sampling import FAMILIES

    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in FAMILIES]
    if unknown:
        raise InvalidInput(f"there is no family {unknown[0]!r}, but {', '.join(FAMILIES)}")
    if set(named) == set(FAMILIES):
        raise InvalidInput("--held-out leaves no family to learn from")
    return tuple(family for family in FAMILIES if family in named)


@train_app.command()
def generator(
    experts: Annotated[Path, typer.Argument(metavar="DATA", help="folder of shards, or of folders of shards, from `flowfleet dataset`")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the run: logs, states and the weights")],
    minutes: Annotated[float | None, typer.Option(min=0.01, help="how long to train; give this, --steps or both")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="how many updates")] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="where to train")] = "cpu",
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16 where that is safe")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="compiles the network first")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="goes on from the latest state in OUT; other options as before")] = False,
    resume_from: Annotated[Path | None, typer.Option(metavar="STATE", help="goes on from this state, or a folder's latest")] = None,
    from_weights: Annotated[Path | None, typer.Option(metavar="FOLDER", help="a new run from released weights")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="at its highest [default: 0.001]")] = None,
    robots_per_batch: Annotated[int | None, typer.Option(min=1, help="over all scenes of a batch [default: 384]")] = None,
    scenes_per_batch: Annotated[int | None, typer.Option(min=1, help="at most [default: 64]")] = None,
    width: Annotated[int | None, typer.Option(min=4, help="of a robot's token [default: 128]")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="of the network [default: 4]")] = None,
    no_flow: Annotated[bool, typer.Option("--no-flow", help="plain regression, for comparison")] = False,
    no_map_encoder: Annotated[bool, typer.Option("--no-map-encoder", help="blind to walls, for comparison")] = False,
    no_attention: Annotated[bool, typer.Option("--no-attention", help="robots do not see each other, for comparison")] = False,
    seed: Seed = 0,
    version: Annotated[str, typer.Option(help="of the weights that come out")] = "1",
    threads: Annotated[int, typer.Option(min=1, help="of torch")] = 1,
    evaluate_every: Annotated[float | None, typer.Option(metavar="MINUTES", min=0.0, help="and at the end in any case")] = None,
    validation: Annotated[list[str] | None, typer.Option(metavar="FAMILY,ROBOTS,SCENARIOS", help="instead of the built-in set")] = None,
) -> None:
    """Trains the generator on experts; exit code 0: done, 3: stopped by a signal, its state stored, 1: nothing could be done."""
    loop = {"learning_rate": learning_rate, "seed": seed, "device": device, "bf16": bf16, "compile": compiled}
    network = {"width": width, "layers": layers, "map_encoder": not no_map_encoder, "attention": not no_attention}
    batch = {"robots": robots_per_batch, "scenes": scenes_per_batch}
    with in_one_line():
        import torch

        from models.training.schedule import Every

        torch.set_num_threads(threads)
        refuse_missing_gpu(device)
        loop |= length(minutes, steps) | {"resume": resumed(folder, resume, resume_from), "evaluate_every": Every(minutes=evaluate_every)}
        if from_weights is not None:
            _refuse_sizes(network)
        parts = {"loop": loop, "network": network, "loss": {"flow": not no_flow}, "batch": batch}
        whole = {"validation": _validation(validation), "weights": from_weights, "version": version}
        _train(experts, folder, parts, whole)


def _train(experts: Path, folder: Path, parts: dict[str, dict[str, Any]], whole: dict[str, Any]) -> None:
    """Runs a training whose configs differ from the defaults where something is given."""
    from dataclasses import replace

    from maps.errors import InvalidInput
    from planner.training import GeneratorTraining, train_generator

    config = GeneratorTraining()
    chosen = {part: replace(getattr(config, part), **given(values)) for part, values in parts.items()}
    config = replace(config, **chosen, **given(whole))
    if config.network.width % config.network.heads:
        raise InvalidInput(f"--width is a multiple of {config.network.heads}, not {config.network.width}")
    report, identity = train_generator(experts, folder, config)
    tell_end(report, identity, folder)


def tell_end(report: Report[Any], identity: ModelIdentity, folder: Path) -> None:
    """Says how a run ended; one that a signal ended ends the command with its own exit code."""
    for name, value in report.evaluation.items():
        typer.echo(f"{name}\t{value:.4g}")
    typer.echo(f"{identity.name} {identity.version} in {folder}: {report.step} steps in {report.minutes:.1f} min", err=True)
    if not report.finished:
        typer.echo(f"stopped; go on with --resume from {report.state}", err=True)
        raise typer.Exit(STOPPED)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Those options that are."""
    return {key: value for key, value in values.items() if value is not None}


def length(minutes: float | None, steps: int | None) -> dict[str, Any]:
    """How long to train; by time alone, steps do not count."""
    from maps.errors import InvalidInput

    if minutes is None and steps is None:
        raise InvalidInput("say how long to train: --minutes, --steps or both")
    return {"minutes": minutes, "steps": steps or 1 << 40}


def resumed(folder: Path, resume: bool, resume_from: Path | None) -> Path | None:
    """The state, or the folder whose latest state, a run goes on from; None: a new run."""
    from maps.errors import InvalidInput

    if resume_from is not None and resume:
        raise InvalidInput("--resume is for the latest state in OUT, --resume-from for another one; give one of them")
    if resume_from is not None and not resume_from.exists():
        raise InvalidInput(f"{resume_from}: no such file or folder")
    return folder if resume else resume_from


def refuse_missing_gpu(device: str) -> None:
    """Ends the command where there is no GPU and one was asked for."""
    import torch

    from maps.errors import InvalidInput

    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("--device cuda: torch sees no GPU here")


def _refuse_sizes(network: dict[str, Any]) -> None:
    from maps.errors import InvalidInput

    if network != {"width": None, "layers": None, "map_encoder": True, "attention": True}:
        raise InvalidInput("--from-weights brings the network's sizes along; leave them out")


def _validation(cells: list[str] | None) -> ValidationConfig | None:
    """Scenes to judge by; None where nothing is given."""
    from planner.downstream import ValidationConfig

    return ValidationConfig(cells=tuple(_validation_cell(text) for text in cells)) if cells else None


def _validation_cell(text: str) -> tuple[Family, int, int]:
    from maps.errors import InvalidInput

    parts = text.split(",")
    if len(parts) != 3 or not all(number.isdigit() and int(number) for number in parts[1:]):
        raise InvalidInput(f"--validation takes a family, robots and scenarios such as rooms,9,8, not {text!r}")
    families = _families(parts[0])
    if len(families) != 1:
        raise InvalidInput(f"--validation takes one family at a time, not {text!r}")
    return families[0], int(parts[1]), int(parts[2])


@train_app.command()
def release(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run that has ended")],
    version: Annotated[str, typer.Option(help="that the released weights are known by")],
    into: Annotated[Path | None, typer.Option(metavar="FOLDER", help="instead of the package's own weights")] = None,
) -> None:
    """Puts the weights of a run where the planner finds them, if they can be loaded."""
    with in_one_line():
        from models.checkpoint import load_weights, save_weights, weights_folder

        name = _trained(run)
        _, config, tensors = load_weights(run, name)
        _refuse_unusable(name, run, config, tensors)
        folder = into or weights_folder()
        identity = save_weights(folder, name, version, config, tensors)
        size = (folder / f"{name}.safetensors").stat().st_size / 1e6
        typer.echo(f"{identity.name} {identity.version}, sha256 {identity.sha256}, {size:.1f} MB, in {folder}")


def _trained(run: Path) -> str:
    """Name of what a run has trained; that of the generator where its folder holds no weights at all."""
    from planner import generation
    from safety_filter import warm_start

    return warm_start.RELEASED if (run / f"{warm_start.RELEASED}.json").exists() else generation.RELEASED


def _refuse_unusable(name: str, run: Path, config: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Builds the network that the weights are for."""
    from maps.errors import InvalidCheckpoint
    from models.checkpoint import fill_module
    from models.dit import DiT
    from models.normalizer import Normalizer
    from planner import generation
    from safety_filter import warm_start

    file = run / f"{name}.safetensors"
    if name == warm_start.RELEASED:
        fill_module(warm_start.WarmStartNetwork(warm_start.network_config(config.get("network"), run)), tensors, file)
        return
    try:
        network = DiT(generation.network_config(config["network"]), Normalizer.blank(config["network"]["modes"]))
    except (KeyError, TypeError) as error:
        raise InvalidCheckpoint(
            f"is no generator: its description has no network that this version builds ({error})", file=str(file)
        ) from None
    fill_module(network, tensors, file)
