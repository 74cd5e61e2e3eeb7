"""Pictures and films of plans, previews of maps.

A still (PNG, SVG) shows every robot at its start as a ring, at its goal as a full disc and at equal instants between
as discs that grow stronger with time, so that two discs of one strength are at one instant. A film (GIF, MP4) shows the
discs moving, with their recent way and a clock.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from maps.errors import InvalidInput
from planner.drawing import FAINT, FLOOR, INK, draw_names, draw_scene, map_figure, round_step, view_box
from planner.film import write_gif, write_mp4
from planner.staging import BANDS, LOST, Motion, PictureConfig, add_discs, add_obstacles, draw_moving, draw_ways, stage

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maps.scenario import Scenario
    from maps.scene import Scene
    from planner.plan import Plan

STILLS = (".png", ".svg")
FILMS = (".gif", ".mp4")


def render_scene_png(scene: Scene, width: int = 800) -> bytes:
    """A preview of a map: bounds, grid, polygons and discs.

    Args:
        scene: the map.
        width: of the picture, pixels.

    Returns:
        A PNG file.
    """
    figure, axes = map_figure(view_box(scene, np.zeros((0, 2)), 0.0), width, 100, (0.0, 0.0))
    draw_scene(axes, scene)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def render_file(scenario: Scenario, plan: Plan, path: Path, config: PictureConfig | None = None) -> None:
    """Draws a plan into a file whose ending names the format.

    Args:
        scenario: what was asked.
        plan: the answer; robots without a curve are drawn grey at their starts.
        path: ends in .png, .svg, .gif or .mp4.
        config: sizes and speeds.

    Raises:
        InvalidInput: another ending, or a plan that is not of this scenario.
        PlanningError: a film in MP4 without the package imageio-ffmpeg.
    """
    config = config or PictureConfig()
    suffix = path.suffix.lower()
    if suffix not in STILLS + FILMS:
        raise InvalidInput(
            f"a picture's name ends in one of {', '.join(STILLS + FILMS)}, got {path.name!r}", code="UNKNOWN_FORMAT", value=suffix
        )
    if tuple(robot.id for robot in plan.robots) != scenario.fleet.ids:
        raise InvalidInput("the plan is not of this scenario: its robots are others, or in another order", code="PLAN_MISMATCH")
    if suffix in STILLS:
        _write_still(Motion(scenario, plan), path, config)
    elif suffix == ".gif":
        write_gif(Motion(scenario, plan), path, config)
    else:
        write_mp4(Motion(scenario, plan), path, config)


def _write_still(motion: Motion, path: Path, config: PictureConfig) -> None:
    figure, axes = stage(motion, config.still_width, config.still_dpi)
    draw_ways(axes, motion, (0.35, 1.0), 3.0)
    draw_moving(axes, motion)
    step = round_step(motion.horizon / 4.0) if motion.horizon else 0.0
    _draw_instants(axes, motion, step)
    _draw_ends(axes, motion)
    add_obstacles(axes, motion, 0.0)
    _draw_key(figure, step)
    names = [robot.id for robot in motion.plan.robots]
    if len(names) <= config.most_names:
        draw_names(axes, names, np.where(motion.planned[:, None], motion.goal, motion.start), motion.radius)
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else {"Software": None})


def _draw_instants(axes: Axes, motion: Motion, step: float) -> None:
    """Discs every `step` seconds on the way, stronger with time."""
    from matplotlib.colors import to_rgba

    chosen = np.flatnonzero(motion.planned)
    instants = np.arange(step, motion.horizon - 0.25 * step, step) if step and len(chosen) else np.zeros(0)
    place = motion.position(instants)
    for t, time in enumerate(instants):
        share = time / motion.horizon
        fill = [to_rgba(motion.colors[k], 0.12 + 0.5 * share) for k in chosen]
        add_discs(axes, motion, chosen, place[chosen, t], facecolors=fill, linewidths=0.7, zorder=4 + share)


def _draw_ends(axes: Axes, motion: Motion) -> None:
    """Rings at the starts and full discs at the goals; robots without a curve grey, with a cross at the goal."""
    full, lost = np.flatnonzero(motion.planned), np.flatnonzero(~motion.planned)
    add_discs(axes, motion, full, motion.start[full], facecolors=(1.0, 1.0, 1.0, 0.75), linewidths=1.3, zorder=5)
    add_discs(
        axes, motion, full, motion.goal[full], facecolors=[motion.colors[k] for k in full], edgecolors=FLOOR, linewidths=0.8, zorder=6
    )
    add_discs(axes, motion, lost, motion.start[lost], facecolors=LOST, edgecolors=FAINT, linewidths=1.0, zorder=6)
    axes.plot(*motion.goal[lost].T, linestyle="none", marker="x", color=FAINT, markersize=6, zorder=6)


def _draw_key(figure: Figure, step: float) -> None:
    """Start, instants and goal, explained in the band below the map."""
    across, down = figure.get_size_inches()
    level = BANDS[1] / 2 / down
    x = 1.0 - (2.97 if step else 1.3) / across
    entries = [("start", FLOOR, 1.0, 0.62), (f"every {step:g} s, stronger later", INK, 0.3, 1.74), ("goal", INK, 1.0, 0.0)]
    for label, fill, alpha, room in entries:
        if not step and fill == INK and alpha < 1.0:
            continue
        _key_disc(figure, x, level, fill, alpha)
        figure.text(x + 0.1 / across, level, label, fontsize=8, color=INK, va="center")
        x += room / across


def _key_disc(figure: Figure, x: float, y: float, fill: str, alpha: float) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D

    figure.add_artist(
        Line2D([x], [y], marker="o", markersize=7.5, markerfacecolor=to_rgba(fill, alpha), markeredgecolor=INK, markeredgewidth=1.0)
    )
