"""Films and pictures of what happened when a plan was carried out: robots, strangers, and whom the filter held back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maps.errors import InvalidInput
from planner.drawing import FAINT, INK, discs_at, draw_scale_bar, draw_scene, map_figure, robot_colors, view_box

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

    from maps.scenario import Scenario
    from planner.executor import Journey

BANDS = (0.42, 0.36)  # inches above and below the map


@dataclass(frozen=True)
class RolloutPicture:
    """How rollouts are drawn."""

    width: int = 700  # pixels
    dpi: int = 100  # pixels an inch
    ticks: int = 2  # from frame to frame
    frame: int = 80  # ms that a frame stands
    most_frames: int = 300  # longer rollouts take larger steps
    stills: int = 8  # instants of a still


def write_rollout(
    path: Path, scenario: Scenario, journey: Journey, stranger_radius: float, tick: float, config: RolloutPicture | None = None
) -> None:
    """Draws a rollout of one fleet into a .gif or .png.

    Args:
        path: of the file.
        scenario: the map and the robots.
        journey: with places kept.
        stranger_radius: m.
        tick: s.
        config: how.

    Raises:
        InvalidInput: another ending.
    """
    config, robots = config or RolloutPicture(), np.stack([place[0] for place in journey.position])
    strangers, held = np.stack([place[0] for place in journey.strangers]), np.stack([row[0] for row in journey.changed])
    stage = _Stage(scenario, robots, strangers, held, stranger_radius)
    suffix = path.suffix.lower()
    if suffix == ".png":
        chosen = np.linspace(0, len(robots) - 1, config.stills).astype(int)
        stage.picture(chosen, tick, config).save(path)
    elif suffix == ".gif":
        step = max(config.ticks, -(-len(robots) // config.most_frames))
        frames = [stage.picture(np.array([k]), tick, config).quantize(64) for k in range(0, len(robots), step)]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=config.frame, loop=0)
    else:
        raise InvalidInput(f"a rollout's picture ends in .gif or .png, got {path.name!r}", code="UNKNOWN_FORMAT", value=suffix)


@dataclass(frozen=True)
class _Stage:
    scenario: Scenario
    robots: np.ndarray  # (T, N, 2)
    strangers: np.ndarray  # (T, K, 2)
    held: np.ndarray  # (T, N)
    stranger_radius: float

    def picture(self, instants: np.ndarray, tick: float, config: RolloutPicture) -> Image.Image:
        """The ways until the last of the instants, and the discs at all of them, later ones stronger."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        figure, axes = self._empty(config)
        radius, colors = self.scenario.fleet.radius.numpy(), robot_colors(len(self.scenario))
        last = int(instants[-1])
        for n, color in enumerate(colors):
            axes.plot(*self.robots[: last + 1, n].T, color=color, linewidth=1.0, alpha=0.6, zorder=3)
        axes.add_collection(
            discs_at(axes, self.scenario.goal.numpy(), 0.4 * radius, facecolors=colors, alpha=0.35, zorder=2), autolim=False
        )
        for k, strength in zip(instants, np.linspace(0.25, 1.0, len(instants)) if len(instants) > 1 else [1.0], strict=True):
            edges = [INK if stopped else color for stopped, color in zip(self.held[k], colors, strict=True)]
            look = {"facecolors": colors, "edgecolors": edges, "linewidths": 1.5, "alpha": strength, "zorder": 5}
            axes.add_collection(discs_at(axes, self.robots[k], radius, **look), autolim=False)
            people = np.full(self.strangers.shape[1], self.stranger_radius)
            look = {"facecolors": FAINT, "edgecolors": INK, "hatch": "////", "alpha": strength, "zorder": 6}
            axes.add_collection(discs_at(axes, self.strangers[k], people, **look), autolim=False)
        across, down = figure.get_size_inches()
        title = f"{len(self.scenario)} robots, {self.strangers.shape[1]} strangers, {last * tick:.1f} s; dark rim: held back by the filter"
        figure.text(0.15 / across, 1.0 - BANDS[0] / 2 / down, title, fontsize=9, color=INK, va="center")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

    def _empty(self, config: RolloutPicture) -> tuple[Figure, Axes]:
        seen = np.concatenate([self.robots.reshape(-1, 2), self.strangers.reshape(-1, 2)])
        box = view_box(self.scenario.scene, seen, float(self.scenario.fleet.radius.max()))
        figure, axes = map_figure(box, config.width, config.dpi, BANDS)
        draw_scene(axes, self.scenario.scene)
        draw_scale_bar(axes, figure, BANDS[1] / 2)
        return figure, axes
