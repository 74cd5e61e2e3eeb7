"""The plan as something to be looked at: where everything is when, and the map with its title under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maps.curve import DEGREE, curve_basis
from planner.drawing import FAINT, INK, discs_at, draw_scale_bar, draw_scene, map_figure, robot_colors, view_box
from planner.tracks import places
from safety_filter.timed_curve import TimedCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    from maps.scenario import Scenario
    from planner.plan import Plan

BANDS = (0.42, 0.36)  # inches above and below the map
LOST = "#a3aab5"  # robots without a curve


@dataclass(frozen=True)
class PictureConfig:
    """How stills and films of plans are drawn."""

    still_width: int = 1600  # pixels
    still_dpi: int = 200  # pixels an inch; larger makes texts larger
    film_width: int = 800  # pixels
    film_dpi: int = 100  # pixels an inch
    seconds_per_frame: float = 0.1  # s of the plan from frame to frame
    frames_per_second: int = 20  # of the film
    most_frames: int = 300  # longer plans take larger steps
    trail: float = 1.5  # s, how much of its way a moving disc draws behind it
    hold: float = 1.2  # s of the film that the last frame stands
    most_names: int = 40  # larger fleets are drawn without names


class Motion:
    """Where everything of a plan is at any time, and how it is to look."""

    def __init__(self, scenario: Scenario, plan: Plan) -> None:
        self.scenario = scenario
        self.plan = plan
        self.horizon = plan.horizon or 0.0
        self.radius = scenario.fleet.radius.detach().cpu().numpy()
        self.start = scenario.start.detach().cpu().numpy()
        self.goal = scenario.goal.detach().cpu().numpy()
        self.planned = np.array([robot.control_points is not None and self.horizon > 0 for robot in plan.robots])
        palette = robot_colors(len(scenario))
        self.colors = [color if moves else LOST for color, moves in zip(palette, self.planned, strict=True)]

    def position(self, time: np.ndarray) -> np.ndarray:
        """(N, T, 2) centres, m, at times (T,) in s; robots without a curve stand at their starts."""
        out = np.repeat(self.start[:, None], len(time), axis=1)
        for k, robot in enumerate(self.plan.robots):
            if not self.planned[k] or robot.control_points is None:
                continue
            if robot.knots is not None:
                out[k] = places(TimedCurve(DEGREE, robot.knots, robot.control_points), time)
            else:
                out[k] = curve_basis(len(robot.control_points)).matrix(time / self.horizon) @ robot.control_points
        return out

    def box(self) -> tuple[float, float, float, float]:
        """The part of the plane that holds the map and all that moves, m."""
        way = self.position(np.linspace(0.0, self.horizon, 50)).reshape(-1, 2)
        moving = [m.position.detach().cpu().numpy() for m in self.scenario.moving]
        room = max([float(self.radius.max()), *(m.radius for m in self.scenario.moving)])
        return view_box(self.scenario.scene, np.concatenate([way, self.goal, *moving]), room)


def stage(motion: Motion, width: int, dpi: int) -> tuple[Figure, Axes]:
    """The figure with the map, title and scale bar, still without robots."""
    figure, axes = map_figure(motion.box(), width, dpi, BANDS)
    draw_scene(axes, motion.scenario.scene)
    draw_scale_bar(axes, figure, BANDS[1] / 2)
    across, down = figure.get_size_inches()
    count = len(motion.scenario)
    title = f"{count} robot{'s' if count != 1 else ''}" + (f", {motion.horizon:.1f} s" if motion.horizon else "")
    level = 1.0 - BANDS[0] / 2 / down
    figure.text(0.15 / across, level, title, fontsize=11, fontweight="bold", color=INK, va="center")
    figure.text(1.0 - 0.15 / across, level, _verdict(motion), fontsize=8.5, color=FAINT, va="center", ha="right")
    return figure, axes


def _verdict(motion: Motion) -> str:
    certificate = motion.plan.certificate
    if certificate is None:
        return "" if motion.planned.all() else f"{int(motion.planned.sum())} of {len(motion.planned)} planned"
    gaps = [(certificate.min_robot_gap, "robot to robot"), (certificate.min_obstacle_gap, "robot to wall")]
    parts = [f"{name} at least {gap:.3f} m" for gap, name in gaps if gap is not None and np.isfinite(gap)]
    return ", ".join([*parts, "certified at every instant" if certificate.safe else "not safe"])


def draw_ways(axes: Axes, motion: Motion, strength: tuple[float, float], order: float) -> None:
    """The paths as lines whose opacity goes from the first to the second strength."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    steps = 160
    way = motion.position(np.linspace(0.0, motion.horizon, steps + 1))
    for k in np.flatnonzero(motion.planned):
        color = np.empty((steps, 4))
        color[:, :3] = to_rgb(motion.colors[k])
        color[:, 3] = np.linspace(*strength, steps)
        pieces = np.stack([way[k, :-1], way[k, 1:]], axis=1)
        axes.add_collection(LineCollection(list(pieces), colors=color, linewidths=1.6, zorder=order), autolim=False)


def draw_moving(axes: Axes, motion: Motion) -> None:
    """The ways of moving obstacles, dashed."""
    for obstacle in motion.scenario.moving:
        way = obstacle.position.detach().cpu().numpy()
        axes.plot(way[:, 0], way[:, 1], color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)


def add_discs(axes: Axes, motion: Motion, chosen: np.ndarray, place: np.ndarray, **style: object) -> None:
    """Discs of the chosen robots (indices), each at its place (P, 2), m, with edges in their colours unless told otherwise."""
    look = {"edgecolors": [motion.colors[k] for k in chosen], **style}
    axes.add_collection(discs_at(axes, place, motion.radius[chosen], **look), autolim=False)


def add_obstacles(axes: Axes, motion: Motion, time: float) -> EllipseCollection | None:
    """Moving obstacles at one instant; None where there are none."""
    if not motion.scenario.moving:
        return None
    discs = discs_at(
        axes,
        obstacle_places(motion, time),
        np.array([m.radius for m in motion.scenario.moving]),
        facecolors=FAINT,
        edgecolors=INK,
        linewidths=1.2,
        hatch="////",
        zorder=6,
    )
    axes.add_collection(discs, autolim=False)
    return discs


def obstacle_places(motion: Motion, time: float) -> np.ndarray:
    """(K, 2) centres of the moving obstacles at `time`, m."""
    import torch

    instant = torch.tensor([time], dtype=torch.float64)
    return np.stack([m.at(instant)[0].detach().cpu().numpy() for m in motion.scenario.moving])
