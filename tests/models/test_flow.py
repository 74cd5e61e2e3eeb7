"""Straight paths and their integration against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from models.flow import LATEST, integrate, interpolate, spread, velocity

FIELD = torch.tensor([[-0.5, 2.0], [-2.0, 0.3]], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_paths_begin_in_the_noise_and_end_at_the_target():
    noise, target = normal(2, 3, 4, 5, 2), normal(2, 3, 4, 5, 2, seed=1)
    assert torch.equal(interpolate(noise, target, torch.zeros(2, 3)), noise)
    assert torch.equal(interpolate(noise, target, torch.ones(2, 3)), target)
    t = torch.tensor([[0.0, 0.25, 0.5], [0.75, 1.0, 0.1]])
    state = interpolate(noise, target, t)
    assert torch.allclose(state[1, 0], 0.25 * noise[1, 0] + 0.75 * target[1, 0])
    assert torch.allclose(state[0, 1], 0.75 * noise[0, 1] + 0.25 * target[0, 1])


def test_on_a_path_the_velocity_is_target_less_noise():
    noise, target = normal(3, 4, 2, 2), normal(3, 4, 2, 2, seed=1)
    t = LATEST * torch.rand(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.allclose(velocity(target, interpolate(noise, target, t), t), target - noise, atol=1e-12)
    t[0, 0] = LATEST
    assert torch.allclose(velocity(target, interpolate(noise, target, t), t), target - noise, atol=1e-12)


def test_near_the_end_the_velocity_stays_bounded():
    end, state = torch.ones(1, 1, 2), torch.zeros(1, 1, 2)
    for t in (LATEST, 0.95, 1.0):
        assert torch.allclose(velocity(end, state, torch.tensor([[t]])), torch.full((1, 1, 2), 1.0 / (1.0 - LATEST)))


def test_times_spread_over_the_axes_of_the_states():
    t = torch.tensor([[0.1, 0.2]])
    assert spread(t, torch.zeros(1, 2, 3, 4, 5)).shape == (1, 2, 1, 1, 1)
    assert torch.equal(spread(t, t), t)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_certain_end_is_reached_exactly(steps: int):
    start, target = normal(2, 3, 4, 2), normal(2, 3, 4, 2, seed=1)
    assert torch.allclose(integrate(lambda state, t: target, start, steps), target, atol=1e-12)


def linear_field(state: Tensor, t: Tensor) -> Tensor:
    """The end that makes the velocity FIELD @ state."""
    return state + (1.0 - spread(t, state)) * (state @ FIELD.T)


def test_midpoint_steps_converge_to_the_second_order():
    start = normal(2, 3, 4, 2)
    exact = start @ torch.linalg.matrix_exp(FIELD).T
    error = {steps: float((integrate(linear_field, start, steps) - exact).norm()) for steps in (1, 2, 4)}
    step = FIELD / 2
    twice = torch.linalg.matrix_power(torch.eye(2).double() + step + step @ step / 2, 2)
    assert torch.allclose(integrate(linear_field, start, 2), start @ twice.T, atol=1e-12)
    assert math.log2(error[2] / error[4]) == pytest.approx(2.0, abs=0.35)
    assert error[4] < 0.1 * float(exact.norm())


def test_each_state_has_its_own_time_from_0_to_1():
    seen: list[float] = []

    def end(state: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t[0, 0]))
        assert t.shape == (2, 3)
        return state

    integrate(end, normal(2, 3, 1, 2), 2)
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_the_true_flow_of_a_gaussian_spreads_noise_as_the_target():
    # noise N(0, 1), targets N(3, 0.5^2): the exact expectation of the target given the state carries x to 3 + 0.5 x
    def end(state: Tensor, t: Tensor) -> Tensor:
        s = spread(t, state)
        gain = s * 0.25 / ((1.0 - s) ** 2 + s**2 * 0.25)
        return 3.0 + gain * (state - 3.0 * s)

    start = normal(1, 2000, 1, 1)
    error = {steps: float((integrate(end, start, steps) - (3.0 + 0.5 * start)).norm() / start.norm()) for steps in (1, 2, 5)}
    assert error[5] < error[2] < error[1]
    assert error[5] < 0.02
