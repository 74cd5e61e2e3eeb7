"""Films of plans: the discs moving over the map, with their recent way and a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maps.errors import PlanningError
from planner.drawing import FLOOR, INK, OUTSIDE, WALL, discs_at, draw_names
from planner.staging import BANDS, add_obstacles, draw_moving, draw_ways, obstacle_places, stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from PIL import Image

    from planner.staging import Motion, PictureConfig


def write_gif(motion: Motion, path: Path, config: PictureConfig) -> None:
    """Writes a film that repeats for ever; all frames share the colours of its middle."""
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in film_frames(motion, config)]
    colors = _film_colors(frames[len(frames) // 2])
    first, *rest = [frame.quantize(palette=colors, dither=Image.Dither.NONE) for frame in frames]
    durations = [1000 // config.frames_per_second] * len(rest) + [int(1000 * config.hold)]
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _film_colors(frame: Image.Image) -> Image.Image:
    """256 colours that suit a frame; the even ones of the map among them, so that floors and walls are not tinted."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    colors = frame.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    table = np.array(colors.getpalette()).reshape(-1, 3)
    for name in (FLOOR, OUTSIDE, WALL, INK):
        exact = np.rint(255.0 * np.array(to_rgb(name))).astype(int)
        apart = np.abs(table - exact).max(1)
        table[apart <= max(8, apart.min())] = exact  # all that are near: the look-up is coarse and may take any of them
    colors.putpalette(table.ravel().tolist())
    return colors


def write_mp4(motion: Motion, path: Path, config: PictureConfig) -> None:
    """Writes a film in H.264 that plays once.

    Raises:
        PlanningError: the package imageio-ffmpeg, which holds the encoder, is missing.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError:
        raise PlanningError("films in MP4 need the package imageio-ffmpeg: install it, or write a .gif") from None
    frames = film_frames(motion, config)
    frame = next(frames)
    size = (frame.shape[1], frame.shape[0])
    writer = write_frames(str(path), size, fps=config.frames_per_second, quality=8, macro_block_size=2, ffmpeg_log_level="error")
    writer.send(None)
    writer.send(np.ascontiguousarray(frame))
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    for _ in range(round(config.hold * config.frames_per_second)):
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def film_frames(motion: Motion, config: PictureConfig) -> Iterator[np.ndarray]:
    """The pictures of a film, (H, W, 3) bytes, from start to horizon; what stands still is drawn once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    actors = _Actors(motion, config)
    canvas = FigureCanvasAgg(actors.figure)
    canvas.draw()
    background = canvas.copy_from_bbox(actors.figure.bbox)
    for time in film_times(motion.horizon, config):
        actors.move(float(time))
        canvas.restore_region(background)
        for artist in actors.moving:
            actors.figure.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def film_times(horizon: float, config: PictureConfig) -> np.ndarray:
    """Equal instants from 0 to the horizon, s, no further apart than asked unless there would be too many."""
    if not horizon:
        return np.zeros(1)
    count = min(int(np.ceil(horizon / config.seconds_per_frame - 1e-9)), config.most_frames - 1)
    return np.linspace(0.0, horizon, max(count, 1) + 1)


class _Actors:
    """A figure and what moves in it."""

    def __init__(self, motion: Motion, config: PictureConfig) -> None:
        self.motion = motion
        self.trail = config.trail
        self.figure, axes = stage(motion, config.film_width, config.film_dpi)
        _draw_still_part(axes, motion)
        self.trails, self.discs = _moving_part(axes, motion)
        self.obstacles = add_obstacles(axes, motion, 0.0)
        robots = motion.plan.robots
        named = robots if len(robots) <= config.most_names else ()
        self.names = draw_names(axes, [r.id for r in named], motion.start[: len(named)], motion.radius[: len(named)])
        self.clock, self.bar = self._draw_clock()
        parts = (self.trails, self.obstacles, self.discs, *self.names, self.bar, self.clock)
        self.moving = [part for part in parts if part is not None]
        for artist in self.moving:
            artist.set_animated(True)

    def move(self, time: float) -> None:
        """Puts everything where it is at `time`, s."""
        way = self.motion.position(np.linspace(max(time - self.trail, 0.0), time, 16))
        self.discs.set_offsets(way[:, -1])
        self.trails.set_segments(list(way))
        for text, center in zip(self.names, way[:, -1], strict=False):
            text.set_position(center)
        if self.obstacles is not None:
            self.obstacles.set_offsets(obstacle_places(self.motion, time))
        self.clock.set_text(f"{time:.1f} s")
        left, right = self.bar_ends
        share = time / self.motion.horizon if self.motion.horizon else 0.0
        self.bar.set_xdata([left, left + share * (right - left)])

    def _draw_clock(self) -> tuple:
        """The time as a number and as a bar in the band below the map."""
        from matplotlib.lines import Line2D

        across, down = self.figure.get_size_inches()
        level = BANDS[1] / 2 / down
        clock = self.figure.text(
            1.0 - 0.15 / across, level, "", fontsize=11, fontweight="bold", color=INK, va="center_baseline", ha="right"
        )
        self.bar_ends = (1.0 - 2.85 / across, 1.0 - 0.85 / across)
        full = Line2D(self.bar_ends, [level, level], color=OUTSIDE, linewidth=5, solid_capstyle="butt")
        done = Line2D([self.bar_ends[0]] * 2, [level, level], color=INK, linewidth=5, solid_capstyle="butt")
        self.figure.add_artist(full)
        self.figure.add_artist(done)
        return clock, done


def _draw_still_part(axes: Axes, motion: Motion) -> None:
    """Faint paths and rings at the goals."""
    draw_ways(axes, motion, (0.2, 0.2), 2.0)
    draw_moving(axes, motion)
    rings = discs_at(axes, motion.goal, motion.radius, facecolors="none", edgecolors=motion.colors, linewidths=1.4, zorder=3)
    axes.add_collection(rings, autolim=False)


def _moving_part(axes: Axes, motion: Motion) -> tuple:
    """Trails and discs."""
    from matplotlib.collections import LineCollection

    trails = LineCollection([], colors=motion.colors, linewidths=2.6, alpha=0.7, zorder=5)
    discs = discs_at(axes, motion.start, motion.radius, facecolors=motion.colors, edgecolors=FLOOR, linewidths=0.8, zorder=7)
    axes.add_collection(trails, autolim=False)
    axes.add_collection(discs, autolim=False)
    return trails, discs
