"""Symmetric banded systems of many robots at once, compiled.

A quintic B-spline's sample touches six neighbouring control points, so every normal matrix of the filter has five
bands below its diagonal. All robots' matrices lie side by side, the robot innermost, so that each step of the
factorisation runs over the fleet in vector instructions.
"""

import numpy as np
from numba import njit

BANDS = 6  # diagonal and five below it


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def add_gram(rows, first, weight, touched, scale, matrix):
    """Adds scale * sum_t weight[t, i] rows[t] rows[t]^T to robot i's matrix.

    Args:
        rows: (T, 6) values of the six basis functions that are not zero at each sample.
        first: (T,) index of the first of them.
        weight: (T, L) weight of each sample for each lane.
        touched: (T,) samples with any weight; the others are passed over.
        scale: factor.
        matrix: (n, 6, L) lower bands, entry [k, d] in row k and column k - d; changed.
    """
    lanes = matrix.shape[2]
    for t in range(rows.shape[0]):
        if not touched[t]:
            continue
        start = first[t]
        for a in range(BANDS):
            for b in range(a + 1):
                q = rows[t, a] * rows[t, b] * scale
                for i in range(lanes):
                    matrix[start + a, a - b, i] += q * weight[t, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def factorise(matrix, low, high):
    """Cholesky factors, in place, of rows and columns low to high; the diagonal holds reciprocals."""
    lanes = matrix.shape[2]
    for k in range(low, high):
        for d in range(min(BANDS - 1, k - low), -1, -1):
            column = k - d
            for e in range(1, BANDS - d):
                if column - e < low:
                    break
                for i in range(lanes):
                    matrix[k, d, i] -= matrix[k, d + e, i] * matrix[column, e, i]
            if d == 0:
                for i in range(lanes):
                    matrix[k, 0, i] = 1.0 / np.sqrt(max(matrix[k, 0, i], 1e-30))
            else:
                for i in range(lanes):
                    matrix[k, d, i] *= matrix[column, 0, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def solve_lanes(factor, right, low, high):
    """Solves every lane's system for two right-hand sides, in place.

    Args:
        factor: (n, 6, L) from `factorise`.
        right: (n, 2 L), x of all lanes, then y; holds the solution afterwards.
        low, high: rows of the system.
    """
    lanes = factor.shape[2]
    for k in range(low, high):
        for d in range(1, min(BANDS - 1, k - low) + 1):
            for i in range(lanes):
                right[k, i] -= factor[k, d, i] * right[k - d, i]
                right[k, lanes + i] -= factor[k, d, i] * right[k - d, lanes + i]
        for i in range(lanes):
            right[k, i] *= factor[k, 0, i]
            right[k, lanes + i] *= factor[k, 0, i]
    for k in range(high - 1, low - 1, -1):
        for i in range(lanes):
            right[k, i] *= factor[k, 0, i]
            right[k, lanes + i] *= factor[k, 0, i]
        for d in range(1, min(BANDS - 1, k - low) + 1):
            for i in range(lanes):
                right[k - d, i] -= factor[k, d, i] * right[k, i]
                right[k - d, lanes + i] -= factor[k, d, i] * right[k, lanes + i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def solve_modes(factor, right, low, high):
    """Solves the two-mode system: the fleet's mean with lane 0, each robot's deviation from it with lane 1.

    Args:
        factor: (n, 6, 2) from `factorise`.
        right: (n, 2 N); holds the solution afterwards.
        low, high: rows of the system.
    """
    robots = right.shape[1] // 2
    mean = np.zeros((right.shape[0], 4))
    for k in range(low, high):
        for axis in range(2):
            total = 0.0
            for i in range(robots):
                total += right[k, axis * robots + i]
            mean[k, 2 * axis] = total / robots
            for i in range(robots):
                right[k, axis * robots + i] -= total / robots
    _solve_shared(factor, 0, mean, low, high)
    _solve_shared(factor, 1, right, low, high)
    for k in range(low, high):
        for axis in range(2):
            for i in range(robots):
                right[k, axis * robots + i] += mean[k, 2 * axis]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _solve_shared(factor, lane, right, low, high):
    columns = right.shape[1]
    for k in range(low, high):
        for d in range(1, min(BANDS - 1, k - low) + 1):
            for c in range(columns):
                right[k, c] -= factor[k, d, lane] * right[k - d, c]
        for c in range(columns):
            right[k, c] *= factor[k, 0, lane]
    for k in range(high - 1, low - 1, -1):
        for c in range(columns):
            right[k, c] *= factor[k, 0, lane]
        for d in range(1, min(BANDS - 1, k - low) + 1):
            for c in range(columns):
                right[k - d, c] -= factor[k, d, lane] * right[k, c]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def apply_rows(rows, first, control, out):
    """Samples out (T, A) of curves with control points (n, A), A values side by side."""
    for t in range(rows.shape[0]):
        s = first[t]
        for a in range(control.shape[1]):
            out[t, a] = (
                rows[t, 0] * control[s, a]
                + rows[t, 1] * control[s + 1, a]
                + rows[t, 2] * control[s + 2, a]
                + rows[t, 3] * control[s + 3, a]
                + rows[t, 4] * control[s + 4, a]
                + rows[t, 5] * control[s + 5, a]
            )


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def add_transpose(rows, first, force, touched, scale, out):
    """Adds scale * rows^T force to out (n, A); samples not `touched` hold no force and are passed over."""
    for t in range(rows.shape[0]):
        if not touched[t]:
            continue
        for k in range(BANDS):
            q = rows[t, k] * scale
            for a in range(force.shape[1]):
                out[first[t] + k, a] += q * force[t, a]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def add_bands(matrix, vector, scale, out):
    """Adds scale * matrix @ vector to out (n, A) for a symmetric banded matrix (n, 11), entry [k, 5 + d] in column k + d."""
    count = vector.shape[0]
    for k in range(count):
        for d in range(-(BANDS - 1), BANDS):
            if 0 <= k + d < count:
                q = matrix[k, BANDS - 1 + d] * scale
                for a in range(vector.shape[1]):
                    out[k, a] += q * vector[k + d, a]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def add_lanes(matrix, vector, scale, out):
    """Adds scale * matrix @ vector to out (n, 2 L), each lane's matrix to its x and its y.

    Args:
        matrix: (n, 6, L) lower bands of symmetric matrices, as in `add_gram`.
        vector: (n, 2 L), x of all lanes, then y.
        scale: factor.
        out: (n, 2 L); changed.
    """
    lanes = matrix.shape[2]
    for k in range(vector.shape[0]):
        for i in range(lanes):
            q = matrix[k, 0, i] * scale
            out[k, i] += q * vector[k, i]
            out[k, lanes + i] += q * vector[k, lanes + i]
        for d in range(1, min(BANDS - 1, k) + 1):
            for i in range(lanes):
                q = matrix[k, d, i] * scale
                out[k, i] += q * vector[k - d, i]
                out[k, lanes + i] += q * vector[k - d, lanes + i]
            for i in range(lanes):
                q = matrix[k, d, i] * scale
                out[k - d, i] += q * vector[k, i]
                out[k - d, lanes + i] += q * vector[k, lanes + i]
