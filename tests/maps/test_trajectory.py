import numpy as np
import pytest
import torch

from maps.trajectory import TrajectoryBatch

U = np.linspace(0.0, 1.0, 33)


def random_batch(shape: tuple[int, ...], seed: int = 0) -> TrajectoryBatch:
    rng = np.random.default_rng(seed)
    control = torch.from_numpy(rng.normal(size=(*shape, 5, 12, 2)))
    return TrajectoryBatch(control, torch.from_numpy(np.asarray(rng.uniform(2.0, 9.0, shape))))


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_a_batch_is_its_trajectories_one_by_one(shape):
    batch = random_batch(shape)
    for index in np.ndindex(shape):
        one = TrajectoryBatch(batch.control_points[index], batch.horizon[index])
        for derivative in range(4):
            np.testing.assert_allclose(batch.sample(U, derivative)[index], one.sample(U, derivative), rtol=1e-12, atol=1e-12)
        assert torch.equal(batch.knots[index], one.knots)


@pytest.mark.parametrize("derivative", [1, 2, 3])
def test_derivatives_are_by_time_in_seconds(derivative):
    batch, step = random_batch((2,)), 1e-5
    u = np.linspace(0.02, 0.98, 30)
    before, after = (batch.sample(u + shift, derivative - 1) for shift in (-step, step))
    slope = (after - before) / (2 * step * batch.horizon[:, None, None, None])
    found = batch.sample(u, derivative)
    assert (slope - found).abs().max() < 1e-5 * found.abs().max()


def test_names_are_orders_of_derivatives():
    batch = random_batch(())
    for order, named in enumerate((batch.position, batch.velocity, batch.acceleration, batch.jerk)):
        assert torch.equal(named(U), batch.sample(U, order))


def test_knots_span_the_horizon():
    batch = random_batch((3,))
    assert torch.equal(batch.knots[:, 0], torch.zeros(3, dtype=torch.float64))
    assert torch.equal(batch.knots[:, -1], batch.horizon)
    assert batch.knots.shape == (3, 12 + 6)


def test_gradients_flow_to_control_points_and_horizon():
    batch = random_batch(())
    control, horizon = batch.control_points.requires_grad_(), batch.horizon.requires_grad_()
    batch.velocity(U).square().sum().backward()
    assert control.grad.abs().sum() > 0
    # velocity goes with 1 / horizon: d/dT sum v^2 = -2 / T sum v^2
    total = batch.velocity(U).square().sum()
    torch.testing.assert_close(horizon.grad, -2 * total.detach() / horizon.detach())
