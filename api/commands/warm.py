"""The command that trains the filter's learned initialisation: flowfleet train warm-start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from api.commands.train import Seed, given, in_one_line, length, refuse_missing_gpu, resumed, robots_range, tell_end, train_app


@train_app.command(name="warm-start")
def warm_start(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the run: logs, states and the weights")],
    minutes: Annotated[float | None, typer.Option(min=0.01, help="how long to train; give this, --steps or both")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="how many updates")] = None,
    proposals: Annotated[int | None, typer.Option(min=1, help="made for the run, from fresh scenes [default: 12000]")] = None,
    robots: Annotated[str, typer.Option(metavar="LEAST-MOST", help="of a fleet, small ones more often")] = "1-32",
    unrolled: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="share of the batches run through rounds [default: 0.1]")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="unrolled from the predicted start [default: 5]")] = None,
    save_memory: Annotated[bool, typer.Option("--save-memory", help="computes each round again in the backward pass")] = False,
    imitation: Annotated[float | None, typer.Option(min=0.0, help="weight of what long runs end at; 0: rounds alone teach")] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="where to train")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="goes on from the latest state in OUT; other options as before")] = False,
    resume_from: Annotated[Path | None, typer.Option(metavar="STATE", help="goes on from this state, or a folder's latest")] = None,
    from_weights: Annotated[Path | None, typer.Option(metavar="FOLDER", help="a new run from weights of an earlier one")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="takes no layers over from the released generator")] = False,
    width: Annotated[int | None, typer.Option(min=4, help="of a robot's token [default: 128]")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="of the network [default: 2]")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="at its highest [default: 0.001]")] = None,
    seed: Seed = 0,
    version: Annotated[str, typer.Option(help="of the weights that come out")] = "1",
    workers: Annotated[int, typer.Option(min=1, help="processes that make proposals")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="of torch")] = 1,
    evaluate_every: Annotated[float | None, typer.Option(metavar="MINUTES", min=0.0, help="and at the end in any case")] = None,
) -> None:
    """Trains where the filter's rounds start; exit code 0: done, 3: stopped by a signal, its state stored, 1: nothing could be done."""
    with in_one_line():
        import torch

        from models.training.schedule import Every

        torch.set_num_threads(threads)
        refuse_missing_gpu(device)
        loop = {"learning_rate": learning_rate, "seed": seed, "device": device, "evaluate_every": Every(minutes=evaluate_every)}
        loop |= length(minutes, steps) | {"resume": resumed(folder, resume, resume_from)}
        parts = {
            "loop": loop,
            "network": {"width": width, "layers": layers},
            "loss": {"rounds": rounds, "save_memory": save_memory, "imitation": imitation},
            "examples": {"count": proposals, "robots": robots_range(robots), "seed": seed},
            "batch": {"unrolled": unrolled},
        }
        whole = {"weights": from_weights, "trunk": not from_scratch, "workers": workers, "version": version}
        _train(folder, parts, whole)


def _train(folder: Path, parts: dict[str, dict[str, Any]], whole: dict[str, Any]) -> None:
    """Runs a training whose configs differ from the defaults where something is given."""
    from dataclasses import replace

    from maps.errors import InvalidInput
    from planner.training import WarmStartTraining, train_warm_start

    config = WarmStartTraining()
    config = replace(config, **{part: replace(getattr(config, part), **given(values)) for part, values in parts.items()}, **given(whole))
    if config.network.width % config.network.heads:
        raise InvalidInput(f"--width is a multiple of {config.network.heads}, not {config.network.width}")
    tell_end(*train_warm_start(folder, config), folder)
