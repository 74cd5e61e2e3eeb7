"""Bezier pieces of timed curves, compiled: extraction, refinement, degree, derivatives.

Pieces lie piece by piece, then robot by robot: arrays (P, N, order, 2), `order` control points to a piece, with P + 1
breaks in time that all robots share. A control point of a piece is a value of its polar form ("blossom"): the form
that is symmetric, affine in each argument and equals the curve where all arguments are equal.
Source: L. Ramshaw, Blossoms are polar forms, Computer Aided Geometric Design 6 (1989).
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def uniform_pieces(control, extraction):
    """Pieces of curves in one uniform basis.

    Args:
        control: (N, n, 2) control points, m.
        extraction: (P, order, order), from the control points p..p + order - 1 to the Bezier points of piece p.

    Returns:
        (P, N, order, 2) Bezier control points, m.
    """
    count, order = extraction.shape[0], extraction.shape[1]
    out = np.zeros((count, control.shape[0], order, 2))
    for p in range(count):
        for i in range(control.shape[0]):
            for k in range(order):
                x, y = 0.0, 0.0
                for c in range(order):
                    weight = extraction[p, k, c]
                    x += weight * control[i, p + c, 0]
                    y += weight * control[i, p + c, 1]
                out[p, i, k, 0], out[p, i, k, 1] = x, y
    return out


@njit(cache=True, nogil=True)
def spline_pieces(control, knots, degree, breaks):
    """Pieces of one B-spline between its own knots.

    Args:
        control: (n, 2) control points, m.
        knots: (n + degree + 1,) not decreasing, s.
        degree: of the polynomials.
        breaks: (P + 1,) the distinct knots of the curve's domain, s.

    Returns:
        (P, 1, degree + 1, 2) Bezier control points, m.
    """
    order = degree + 1
    out = np.empty((breaks.size - 1, 1, order, 2))
    work = np.empty((order, 2))
    for p in range(breaks.size - 1):
        span = min(max(np.searchsorted(knots, breaks[p], side="right") - 1, degree), control.shape[0] - 1)
        for j in range(order):
            for k in range(order):
                work[k, 0], work[k, 1] = control[span - degree + k, 0], control[span - degree + k, 1]
            for r in range(1, order):
                at = breaks[p + 1] if r <= j else breaks[p]
                for k in range(degree, r - 1, -1):
                    left = knots[span - degree + k]
                    share = (at - left) / (knots[span + 1 + k - r] - left)
                    work[k, 0] += (1.0 - share) * (work[k - 1, 0] - work[k, 0])
                    work[k, 1] += (1.0 - share) * (work[k - 1, 1] - work[k, 1])
            out[p, 0, j, 0], out[p, 0, j, 1] = work[degree, 0], work[degree, 1]
    return out


@njit(cache=True, nogil=True)
def _restrict(piece, low, high, work, out):
    """Control points `out` of the part [low, high] of a piece over [0, 1]; `work` is scratch of the same shape."""
    order = piece.shape[0]
    for j in range(order):
        for k in range(order):
            work[k, 0], work[k, 1] = piece[k, 0], piece[k, 1]
        for r in range(1, order):
            share = high if r <= j else low
            for k in range(order - r):
                work[k, 0] += share * (work[k + 1, 0] - work[k, 0])
                work[k, 1] += share * (work[k + 1, 1] - work[k, 1])
        out[j, 0], out[j, 1] = work[0, 0], work[0, 1]


@njit(cache=True, nogil=True)
def refine(pieces, breaks, finer):
    """The same curves on finer breaks; before the first and after the last break they stand still.

    Args:
        pieces: (P, N, order, 2) control points, m.
        breaks: (P + 1,) increasing, s.
        finer: (F + 1,) increasing, s; holds every one of `breaks`.

    Returns:
        (F, N, order, 2) control points, m.
    """
    robots, order = pieces.shape[1], pieces.shape[2]
    out = np.empty((finer.size - 1, robots, order, 2))
    work = np.empty((order, 2))
    p = 0
    for f in range(finer.size - 1):
        while p < breaks.size - 2 and finer[f] >= breaks[p + 1]:
            p += 1
        width = breaks[p + 1] - breaks[p]
        low, high = (finer[f] - breaks[p]) / width, (finer[f + 1] - breaks[p]) / width
        low, high = min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)
        for i in range(robots):
            if low == 0.0 and high == 1.0:
                out[f, i] = pieces[p, i]
            else:
                _restrict(pieces[p, i], low, high, work, out[f, i])
    return out


@njit(cache=True, nogil=True)
def elevate(pieces, order):
    """The same pieces with `order` control points each, at least as many as they have.

    Source: G. Farin, Curves and Surfaces for CAGD (2002), section 6.1.
    """
    current = pieces
    while current.shape[2] < order:
        had = current.shape[2]
        higher = np.empty((current.shape[0], current.shape[1], had + 1, 2))
        higher[:, :, 0], higher[:, :, had] = current[:, :, 0], current[:, :, had - 1]
        for k in range(1, had):
            share = k / had
            higher[:, :, k] = share * current[:, :, k - 1] + (1.0 - share) * current[:, :, k]
        current = higher
    return current


@njit(cache=True, nogil=True)
def derivative(pieces, breaks, scale):
    """Pieces of the time derivatives, each robot's times its own factor.

    Args:
        pieces: (P, N, order, 2) control points, order at least 2.
        breaks: (P + 1,) s.
        scale: (N,) factors.

    Returns:
        (P, N, order - 1, 2) control points.
    """
    count, robots, order = pieces.shape[0], pieces.shape[1], pieces.shape[2]
    out = np.empty((count, robots, order - 1, 2))
    for p in range(count):
        rate = (order - 1) / (breaks[p + 1] - breaks[p])
        for i in range(robots):
            factor = rate * scale[i]
            for k in range(order - 1):
                out[p, i, k, 0] = factor * (pieces[p, i, k + 1, 0] - pieces[p, i, k, 0])
                out[p, i, k, 1] = factor * (pieces[p, i, k + 1, 1] - pieces[p, i, k, 1])
    return out
