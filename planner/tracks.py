"""Curves that are not to be changed, as moving obstacles for those that are planned around them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from maps.errors import LimitExceeded
from maps.scenario import MovingObstacle
from safety_filter.timed_curve import TimedCurve

CHORD = 5e-4  # of the smallest radius: how far straight lines may leave a curve where there is no reason to be coarser
POINTS = 1_000  # of a track, above which its lines are coarser than that
MOST_POINTS = 8_000  # of a track; the curves' own knots are among them


@dataclass(frozen=True)
class Track:
    """A robot on a known curve; after its end it stands there."""

    id: str
    radius: float  # m
    curve: TimedCurve  # degree 5, from time 0


def moving_obstacles(tracks: Sequence[Track], begin: float, smallest: float) -> tuple[MovingObstacle, ...]:
    """Tracks as discs on piecewise linear paths, whose time 0 is `begin`.

    A straight line leaves a curve with accelerations up to a by no more than a dt^2 / 8; every radius is made larger by
    that, so whoever keeps out of the disc on the lines keeps out of the robot on its curve, at every instant.

    Args:
        tracks: the robots on their curves.
        begin: s, on the clock of the curves.
        smallest: m, the smallest radius of all robots.

    Raises:
        LimitExceeded: the curves have too many distinct knots.
    """
    if not tracks:
        return ()
    breaks = np.unique(np.concatenate([[begin], *(t.curve.breaks[t.curve.breaks > begin] for t in tracks)]))
    if len(breaks) > MOST_POINTS:
        raise LimitExceeded("too many distinct times in all frozen curves", code="TOO_MANY_TIMES", value=len(breaks), limit=MOST_POINTS)
    bends = np.stack([_acceleration_bounds(track.curve, breaks) for track in tracks])
    width = np.diff(breaks)
    parts = _parts(width, bends.max(0, initial=0.0), CHORD * smallest)
    times = np.append(
        np.repeat(breaks[:-1], parts) + np.concatenate([[], *(np.arange(n) * w / n for n, w in zip(parts, width, strict=True))]), breaks[-1]
    )
    wide = (bends * (width / parts) ** 2 / 8.0).max(1, initial=0.0)
    return tuple(
        MovingObstacle(track.id, track.radius + float(extra), torch.from_numpy(times - begin), torch.from_numpy(places(track.curve, times)))
        for track, extra in zip(tracks, wide, strict=True)
    )


def _parts(width: np.ndarray, bend: np.ndarray, chord: float) -> np.ndarray:
    """Into how many lines each interval is divided."""
    fine = width * np.sqrt(bend / (8.0 * chord))
    coarser = max(fine.sum() / POINTS, 1.0)
    return np.maximum(np.ceil(fine / coarser), 1.0).astype(np.int64)


def _acceleration_bounds(curve: TimedCurve, breaks: np.ndarray) -> np.ndarray:
    """Upper bounds of the acceleration between the breaks, by the control points of the second derivative, m/s^2."""
    degree, width = curve.degree, np.diff(curve.breaks)
    bends = degree * (degree - 1) * np.diff(curve.pieces[:, 0], n=2, axis=1) / (width**2)[:, None, None]
    bound = np.append(np.linalg.norm(bends, axis=2).max(1), 0.0)  # behind the end it stands
    middle = 0.5 * (breaks[:-1] + breaks[1:])
    return bound[np.searchsorted(curve.breaks, middle) - 1]


def places(curve: TimedCurve, times: np.ndarray) -> np.ndarray:
    """(T, 2) places at given times, m; before its start and after its end the robot stands."""
    from scipy.interpolate import BSpline

    begin, end = curve.span
    out = BSpline(curve.knots, curve.control_points, curve.degree)(np.clip(times, begin, end))
    out[times >= end] = curve.control_points[-1]
    return out
