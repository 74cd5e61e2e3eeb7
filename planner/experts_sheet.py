"""A sheet of pictures of random experts, read back from their shards: what the generator will see, to be looked at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from maps.errors import InvalidInput
from models.path_frame import headings, rotate_out_of
from planner.dataset import MANIFEST, SCENES, DatasetConfig, shards, training_scenarios
from planner.drawing import FLOOR, INK, OUTSIDE, Box, discs_at, draw_scene, robot_colors, view_box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maps.scenario import Scenario

Shard = dict[str, np.ndarray]


@dataclass(frozen=True)
class SheetConfig:
    """How many experts, and how large."""

    count: int = 36  # pictures, if there are as many experts
    seed: int = 1  # of the choice
    columns: int = 6  # pictures in a row
    from_shard: int = 6  # pictures from one shard; a shard's scenarios are drawn again all at once
    cell: float = 3.0  # inches, side of a picture
    dpi: int = 110  # pixels an inch
    instants: tuple[float, ...] = (0.25, 0.5, 0.75)  # of the horizon, when discs are shown on the way


@dataclass(frozen=True)
class Expert:
    """A scenario and its plans."""

    scenario: Scenario
    place: np.ndarray  # (P, N, T, 2) m, at uniform times; the best plan first
    cost: np.ndarray  # (P,)


def draw_sheet(folder: Path, path: Path, config: SheetConfig | None = None) -> int:
    """Draws random experts: scene, rings at starts, discs at goals, the best plan's ways, those of other plans thin.

    Args:
        folder: of the shards.
        path: of the picture, in a format that matplotlib knows.
        config: how many, and how large.

    Returns:
        How many were drawn.

    Raises:
        InvalidInput: no shards, or shards that this version would make otherwise.
    """
    config = config or SheetConfig()
    experts = list(_chosen(folder, stored_config(folder), config))
    rows = -(-len(experts) // config.columns)
    figure = _figure(config, rows)
    for k, expert in enumerate(experts):
        corner = (k % config.columns / config.columns, 1.0 - (k // config.columns + 1) / rows)
        _draw_expert(_cell(figure, corner, (1.0 / config.columns, 1.0 / rows)), expert, config)
    try:
        figure.savefig(path)
    except ValueError as error:
        raise InvalidInput(f"{path}: {error}", code="UNKNOWN_FORMAT") from None
    return len(experts)


def stored_config(folder: Path) -> DatasetConfig:
    """What a data set was made with, as its manifest tells.

    Raises:
        InvalidInput: no manifest, or settings that are no longer those of this version.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise InvalidInput(f"{folder} holds no data set; make one with `flowfleet dataset`")
    told: dict[str, Any] = json.loads(path.read_text())["config"]
    lists = {name: tuple(told[name]) for name in ("robots", "held_out")}
    drawn = DatasetConfig(seed=told["seed"], scenarios=told["scenarios"], shard=told["shard"], drawn=told.get("drawn", False))
    known = [replace(drawn, sampling=sampling, **lists) for sampling in SCENES.values()]
    config = next((config for config in known if json.loads(json.dumps(asdict(config))) == told), None)
    if config is None:
        raise InvalidInput(f"{path} tells of settings that this version does not have; its scenarios cannot be drawn again")
    return config


def experts_of(path: Path, config: DatasetConfig, wanted: np.ndarray) -> Iterator[Expert]:
    """Some experts of a shard, with their scenarios.

    Args:
        path: of the shard.
        config: of the data set.
        wanted: indices of its scenarios.

    Raises:
        InvalidInput: its scenarios are not those that this version draws.
    """
    with np.load(path) as opened:
        shard: Shard = dict(opened)
    number = int(path.stem.removeprefix("shard-"))
    drawn = {scenario.start.numpy().tobytes(): scenario for _, scenario in training_scenarios(config, number)}
    for entry in wanted:
        first = int(shard["robots"][:entry].sum())
        start = shard["start"][first : first + int(shard["robots"][entry])]
        scenario = drawn.get(start.tobytes())
        if scenario is None:
            raise InvalidInput(f"{path} holds scenarios that this version draws otherwise")
        yield _expert(shard, int(entry), scenario)


def _expert(shard: Shard, entry: int, scenario: Scenario) -> Expert:
    """Places in the map frame from offsets beside the routes."""
    robots, plans = shard["robots"], shard["plans"]
    count, many = int(robots[entry]), int(plans[entry])
    first, first_path, first_plan = int(robots[:entry].sum()), int((robots * plans)[:entry].sum()), int(plans[:entry].sum())
    rows = slice(first, first + count)
    route = torch.from_numpy(shard["route"][rows]).double()
    offset = torch.from_numpy(shard["path"][first_path : first_path + many * count]).double().unflatten(0, (many, count))
    aside = rotate_out_of(offset, headings(route)) * torch.from_numpy(shard["radius"][rows])[:, None, None]
    place = (aside + route + torch.from_numpy(shard["start"][rows])[:, None]).numpy()
    cost = shard["cost"][first_plan : first_plan + many]
    order = np.argsort(cost, kind="stable")
    return Expert(scenario, place[order], cost[order])


def _chosen(folder: Path, made: DatasetConfig, config: SheetConfig) -> Iterator[Expert]:
    paths = shards(folder)
    if not paths:
        raise InvalidInput(f"{folder} holds no shards yet")
    rng = np.random.default_rng(config.seed)
    left = config.count
    for k in rng.permutation(len(paths)):
        with np.load(paths[k]) as opened:
            entries = len(opened["robots"])
        # The fewer shards there are, the more is taken from each.
        most = max(config.from_shard, -(-config.count // len(paths)))
        wanted = rng.choice(entries, min(most, entries, left), replace=False)
        left -= len(wanted)
        yield from experts_of(paths[k], made, wanted)
        if left == 0:
            return


def _figure(config: SheetConfig, rows: int) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(config.columns * config.cell, rows * config.cell), dpi=config.dpi, facecolor=FLOOR)
    FigureCanvasAgg(figure)
    return figure


def _cell(figure: Figure, corner: tuple[float, float], size: tuple[float, float]) -> Axes:
    """Axes in a cell of the sheet, with room for a title above."""
    axes = figure.add_axes((corner[0] + 0.02 * size[0], corner[1] + 0.02 * size[1], 0.96 * size[0], 0.88 * size[1]), facecolor=OUTSIDE)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def _draw_expert(axes: Axes, expert: Expert, config: SheetConfig) -> None:
    scenario = expert.scenario
    radius = scenario.fleet.radius.numpy()
    _show(axes, view_box(scenario.scene, expert.place.reshape(-1, 2), float(radius.max())))
    draw_scene(axes, scenario.scene)
    colors = robot_colors(len(scenario))
    for other in expert.place[1:]:
        _draw_ways(axes, other, colors, {"linewidth": 0.6, "linestyle": (0, (3, 2)), "alpha": 0.6})
    _draw_ways(axes, expert.place[0], colors, {"linewidth": 1.2})
    _draw_discs(axes, expert.place[0], (radius, colors), config.instants)
    count, plans = len(scenario), len(expert.cost)
    words = f"{count} robot{'s' * (count != 1)}, {scenario.horizon:.1f} s, {plans} plan{'s' * (plans != 1)}, cost {expert.cost[0]:.2f}"
    axes.set_title(words, fontsize=7.5, color=INK, pad=3)


def _show(axes: Axes, box: Box) -> None:
    """Widens a box to the shape of the axes, so that a metre is as long both ways."""
    bounds = axes.get_window_extent()
    metre = min(bounds.width / (box[2] - box[0]), bounds.height / (box[3] - box[1]))
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    across, up = bounds.width / metre / 2, bounds.height / metre / 2
    axes.set(xlim=(x - across, x + across), ylim=(y - up, y + up))


def _draw_ways(axes: Axes, place: np.ndarray, colors: list[str], style: dict[str, Any]) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(list(place), colors=colors, zorder=3, **style), autolim=False)


def _draw_discs(axes: Axes, place: np.ndarray, look: tuple[np.ndarray, list[str]], instants: tuple[float, ...]) -> None:
    """Rings at the starts, full discs at the goals, faint ones at instants between, stronger with time."""
    radius, colors = look
    last = place.shape[1] - 1
    for share in (0.0, *instants, 1.0):
        fill = "none" if share == 0.0 else colors
        discs = discs_at(
            axes,
            place[:, round(share * last)],
            radius,
            facecolors=fill,
            edgecolors=colors,
            linewidths=0.7,
            alpha=None if share in (0.0, 1.0) else 0.1 + 0.4 * share,
            zorder=4 + share,
        )
        axes.add_collection(discs, autolim=False)
