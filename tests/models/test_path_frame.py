"""Headings along routes, and the frame that they make, against what a drawing shows."""

import math

import pytest
import torch
from torch import Tensor

from models.path_frame import KNOTS, SAMPLES, WINDOW, headings, rotate_into, rotate_out_of, sample_times

U = torch.from_numpy(sample_times())
EAST, NORTH, WEST = torch.eye(2).double()[0], torch.eye(2).double()[1], -torch.eye(2).double()[0]


def turned(vector: Tensor, angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return vector @ torch.tensor([[c, s], [-s, c]], dtype=vector.dtype)


def along(axis: Tensor, distance: Tensor) -> Tensor:
    """A route that is so far along an axis at each time."""
    return distance[:, None] * axis


def winding(seed: int) -> Tensor:
    steps = torch.randn(3, SAMPLES, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return steps.cumsum(-2) + 0.5 * torch.arange(SAMPLES, dtype=torch.float64)[:, None]


def test_times_and_knots_reach_from_end_to_end():
    assert (U[0], U[-1], len(U)) == (0.0, 1.0, SAMPLES)
    assert torch.equal(U[KNOTS], torch.linspace(0.0, 1.0, 17, dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0, math.pi, -1.5])
def test_straight_routes_look_where_they_go_at_any_pace(angle: float):
    direction = turned(EAST, angle)
    for pace in (U, U**3 * (10 - 15 * U + 6 * U**2), U.sqrt()):
        assert torch.allclose(headings(along(direction, 7.0 * pace)), direction.expand(SAMPLES, 2), atol=1e-12)


def test_on_a_circle_the_heading_is_the_tangent():
    angle = math.pi * U
    route = 3.0 * torch.stack([angle.cos(), angle.sin()], -1)
    tangent = torch.stack([-angle.sin(), angle.cos()], -1)
    found = headings(route)[WINDOW:-WINDOW]
    assert torch.allclose(found, tangent[WINDOW:-WINDOW], atol=2e-3)
    # at the ends, the window has one side only
    assert headings(route)[0] @ tangent[0] == pytest.approx(math.cos(WINDOW / 2 * math.pi / (SAMPLES - 1)), abs=1e-3)


def test_who_never_moves_looks_east():
    assert torch.equal(headings(torch.full((2, SAMPLES, 2), 3.7, dtype=torch.float64)), EAST.expand(2, SAMPLES, 2))
    assert torch.equal(headings(torch.zeros(SAMPLES, 2)), EAST.float().expand(SAMPLES, 2))


def test_who_waits_looks_along_the_whole_way():
    # north by 2, a long wait, then east by 2: the whole way is north-east
    leg = (U * 3.0).clamp(max=1.0), (U * 3.0 - 2.0).clamp(min=0.0)
    found = headings(2.0 * along(NORTH, leg[0]) + 2.0 * along(EAST, leg[1]))
    assert torch.allclose(found[10], NORTH, atol=2e-2)
    assert torch.allclose(found[SAMPLES // 2], (NORTH + EAST) / math.sqrt(2.0), atol=1e-12)
    assert torch.allclose(found[-10], EAST, atol=2e-2)


def test_who_turns_back_looks_back_and_at_the_turn_along_the_whole_way():
    there_and_half_back = torch.minimum(4.0 * U, 4.0 - 4.0 * U) + U  # ends 1 m to the east of its start
    found = headings(along(EAST, there_and_half_back))
    assert torch.allclose(found[: SAMPLES // 2 - WINDOW], EAST.expand(SAMPLES // 2 - WINDOW, 2), atol=1e-12)
    assert torch.allclose(found[SAMPLES // 2 + WINDOW :], WEST.expand(SAMPLES // 2 + 1 - WINDOW, 2), atol=1e-12)
    # a symmetric turn leaves the step at its tip to nothing but the whole way
    out_and_back = torch.minimum(U, 1.0 - U)
    sideways = along(NORTH, 4.0 * out_and_back) + along(WEST, 1e-6 * U)
    assert torch.allclose(headings(sideways)[SAMPLES // 2], WEST, atol=1e-2)


def test_a_closed_route_looks_east_only_where_it_turns():
    found = headings(along(NORTH, 4.0 * torch.minimum(U, 1.0 - U)))
    assert torch.allclose(found[20], NORTH, atol=2e-3)
    assert torch.allclose(found[-20], -NORTH, atol=2e-3)
    assert torch.allclose(found[SAMPLES // 2], EAST, atol=1e-9)


@pytest.mark.parametrize("angle", [0.3, 1.7, -2.9])
def test_headings_turn_with_the_world_and_ignore_shift_and_scale(angle: float):
    route = winding(1)
    found = headings(route)
    assert torch.allclose(found.norm(dim=-1), torch.ones(3, SAMPLES, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(headings(turned(route, angle)), turned(found, angle), atol=1e-12)
    assert torch.allclose(headings(40.0 * route - 900.0), found, atol=1e-10)


def test_forward_and_left_of_known_headings():
    vector = torch.tensor([[2.0, 1.0]]).double()
    for heading, expected in ((EAST, [2.0, 1.0]), (NORTH, [1.0, -2.0]), (WEST, [-2.0, -1.0])):
        assert rotate_into(vector, heading[None])[0].tolist() == expected
        assert rotate_out_of(torch.tensor([expected]).double(), heading[None])[0].tolist() == [2.0, 1.0]


def test_into_the_frame_and_back():
    heading, vector = headings(winding(2)), winding(3)
    forward = rotate_into(vector, heading)
    assert torch.allclose(rotate_out_of(forward, heading), vector, atol=1e-12)
    assert torch.allclose(forward.norm(dim=-1), vector.norm(dim=-1), atol=1e-12)
    assert torch.allclose(rotate_into(heading, heading), EAST.expand(3, SAMPLES, 2), atol=1e-12)
