"""What pictures of maps and robots are made of: colours, discs, walls, a scale bar.

Figures are made with matplotlib's objects, never through pyplot, so nothing is shared between threads; matplotlib is
imported where it is used, since it is slow to import and few commands draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    from maps.scene import Grid, Polygon, Scene

INK = "#1f2630"
FAINT = "#6b7482"
WALL = "#39424f"
FLOOR = "#ffffff"
OUTSIDE = "#e9ecf0"
# Colours that stay apart for the common colour-blindnesses: Okabe and Ito, Color Universal Design (2008), without its
# yellow, which is lost on white, and dark ones of P. Tol, Colour Schemes (SRON/EPS/TN/09-002) after them.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#332288",
    "#882255",
    "#117733",
    "#999933",
    "#44aa99",
    "#aa4499",
)

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax, m


def robot_colors(count: int) -> list[str]:
    """One colour for each robot; they repeat after `len(PALETTE)`."""
    return [PALETTE[k % len(PALETTE)] for k in range(count)]


def view_box(scene: Scene, places: np.ndarray, room: float) -> Box:
    """The part of the plane to be shown.

    Args:
        scene: the map.
        places: (P, 2) further places to be seen, m.
        room: m, kept around them.

    Returns:
        A box of positive size around the map and all places, with a rim of 2 %.
    """
    extent = np.array(scene.extent)
    shown = np.concatenate([places - room, places + room]) if len(places) else np.zeros((0, 2))
    if extent[2] > extent[0] and extent[3] > extent[1]:
        shown = np.concatenate([shown, extent.reshape(2, 2)])
    if not len(shown):
        shown = np.array([[-1.0, -1.0], [1.0, 1.0]])
    low, high = shown.min(0), shown.max(0)
    rim = 0.02 * max(float((high - low).max()), 1e-3)
    return (float(low[0] - rim), float(low[1] - rim), float(high[0] + rim), float(high[1] + rim))


def map_figure(box: Box, width: int, dpi: int, bands: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure as wide as asked and as high as the box needs, at most twice as high as wide.

    Args:
        box: the part of the plane to be shown.
        width: of the picture, pixels.
        dpi: pixels an inch; sets the size of texts.
        bands: height of the empty bands above and below the map, inches.

    Returns:
        The figure and the axes of the map, both an even number of pixels high and wide, as films want it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = width // 2 * 2 / dpi
    ratio = min(max((box[3] - box[1]) / (box[2] - box[0]), 0.1), 2.0)
    down = round((across * ratio + sum(bands)) * dpi / 2) * 2 / dpi
    figure = Figure(figsize=(across, down), dpi=dpi, facecolor=FLOOR)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, bands[1] / down, 1.0, 1.0 - sum(bands) / down), facecolor=OUTSIDE)
    axes.set(xlim=(box[0], box[2]), ylim=(box[1], box[3]), xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.apply_aspect()
    return figure, axes


def draw_scene(axes: Axes, scene: Scene) -> None:
    """Floor, grid, polygons and discs of a map."""
    from matplotlib.patches import Rectangle

    if scene.bounds is not None:
        x0, y0, x1, y1 = scene.bounds
        floor = Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=FLOOR, edgecolor=WALL, linewidth=1.5, zorder=0)
        axes.add_patch(floor)
    else:
        axes.set_facecolor(FLOOR)
    if scene.grid is not None:
        _draw_grid(axes, scene.grid)
    for polygon in scene.polygons:
        _draw_polygon(axes, polygon)
    discs = scene.discs.detach().cpu().numpy()
    if len(discs):
        axes.add_collection(discs_at(axes, discs[:, :2], discs[:, 2], facecolors=WALL, edgecolors="none", zorder=1))


def _draw_grid(axes: Axes, grid: Grid) -> None:
    from matplotlib.colors import to_rgb

    image = np.empty((*grid.occupied.shape, 4))
    image[..., :3] = to_rgb(WALL)
    image[..., 3] = grid.occupied
    x0, y0, x1, y1 = grid.extent
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(image, extent=(x0, x1, y0, y1), origin="lower", zorder=1, aspect="auto")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlim=limits[0], ylim=limits[1])


def _draw_polygon(axes: Axes, polygon: Polygon) -> None:
    """One path with the holes turned against the outer ring, so that they stay empty."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    rings = [_turned(polygon.outer, 1.0), *(_turned(hole, -1.0) for hole in polygon.holes)]
    parts = [Path(np.concatenate([ring, ring[:1]]), closed=True) for ring in rings]
    axes.add_patch(PathPatch(Path.make_compound_path(*parts), facecolor=WALL, edgecolor="none", zorder=1))


def _turned(ring: np.ndarray, direction: float) -> np.ndarray:
    following = np.roll(ring, -1, axis=0)
    area = float((ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]).sum())
    return ring if area * direction >= 0 else ring[::-1]


def discs_at(axes: Axes, centers: np.ndarray, radius: np.ndarray, **style: object) -> EllipseCollection:
    """Discs of true size, not yet added to the axes; `set_offsets` moves them.

    Args:
        axes: the map's axes.
        centers: (P, 2), m.
        radius: (P,), m.
        style: colours, line widths, transparency and order as matplotlib's collections take them.
    """
    from matplotlib.collections import EllipseCollection

    size = 2.0 * radius
    return EllipseCollection(size, size, np.zeros(len(size)), units="xy", offsets=centers, offset_transform=axes.transData, **style)


def draw_names(axes: Axes, names: Sequence[str], centers: np.ndarray, radius: np.ndarray) -> list:
    """Names on the discs where they fit, right above them where not; the texts, in order."""
    from matplotlib.patheffects import withStroke

    points = _points_per_metre(axes)
    texts = []
    for name, center, r in zip(names, centers, radius, strict=True):
        fitting = 2.0 * r * points / max(0.75 * len(name), 1.3)
        inside = fitting >= 5.0
        size = min(fitting, 11.0) if inside else 6.5
        text = axes.text(
            center[0],
            center[1],
            name if inside else f"{name}\n",
            fontsize=size,
            color=FLOOR if inside else INK,
            ha="center",
            va="center" if inside else "bottom",
            linespacing=0.6 if inside else 0.9,
            fontweight="bold",
            zorder=9,
            clip_on=True,
        )
        text.set_path_effects([withStroke(linewidth=1.6, foreground=INK if inside else FLOOR, alpha=0.55 if inside else 0.9)])
        texts.append(text)
    return texts


def draw_scale_bar(axes: Axes, figure: Figure, baseline: float) -> None:
    """A bar of a round number of metres in the band below the map, `baseline` inches above the lower edge."""
    from matplotlib.lines import Line2D

    across, down = figure.get_size_inches()
    metre = _points_per_metre(axes) / 72.0 / across
    length = round_step(0.12 / metre)
    x, y = 0.15 / across, baseline / down
    figure.add_artist(Line2D([x, x + length * metre], [y, y], color=INK, linewidth=2.2, solid_capstyle="butt"))
    figure.text(x + length * metre + 0.08 / across, y, f"{length:g} m", fontsize=8, color=INK, va="center")


def _points_per_metre(axes: Axes) -> float:
    (x0, _), (x1, _) = axes.transData.transform([[0.0, 0.0], [1.0, 0.0]])
    return float(x1 - x0) * 72.0 / axes.figure.dpi


def round_step(size: float) -> float:
    """The largest of ..., 0.5, 1, 2, 5, 10, ... that is not above `size`."""
    power = 10.0 ** np.floor(np.log10(size) + 1e-9)
    return float(max(k * power for k in (1.0, 2.0, 5.0) if k * power <= size * (1 + 1e-9)))
