"""What is drawn: the routes' own ends, seeds that belong to a scene, and no trace of frame, unit, padding or companions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from maps.curve import fit_control_points
from maps.trajectory import TrajectoryBatch
from models.condition import Surveyed
from models.dit import DiT
from models.generator import Generator, SamplingConfig
from models.path_frame import headings, rotate_into, sample_times

COUNT = 30  # control points
ENDS = np.array([0.0, 1.0])
CONFIG = SamplingConfig(steps=2, temperature=0.7)


def routed(surveyed: Surveyed) -> tuple[Surveyed, Tensor]:
    """Control points of the routes, and the fleet on exactly those."""
    ends = torch.zeros(*surveyed.route.shape[:2], COUNT, 2, dtype=torch.float64)
    ends[..., :2, :] = surveyed.route[..., :1, :]
    ends[..., 2, :] = surveyed.route[..., 2, :]  # an acceleration at the start
    ends[..., -3:, :] = surveyed.route[..., -1:, :]
    control = fit_control_points(surveyed.route, ends)
    return replace(surveyed, route=placed(control)), control


def placed(control: Tensor) -> Tensor:
    return TrajectoryBatch(control, torch.ones(control.shape[:-3], dtype=torch.float64)).position(sample_times())


def test_the_ends_are_those_of_the_routes(fleet, network):
    surveyed, control = routed(fleet(1, 5))
    drawn = Generator(network(), CONFIG).sample(surveyed, control, 3, [7])
    assert drawn.shape == (1, 3, 5, COUNT, 2)
    assert drawn.dtype == torch.float64
    known, found = (TrajectoryBatch(points, surveyed.horizon.expand(points.shape[:-3])) for points in (control, drawn))
    for derivative in (0, 1, 2):
        ends = known.sample(ENDS, derivative)[:, None].expand(1, 3, 5, 2, 2)
        assert torch.equal(found.sample(ENDS, derivative), ends)
    assert float((drawn - control[:, None]).norm(dim=-1).amax(-1).min()) > 0.05  # yet all go their own ways


def test_a_seed_draws_the_same_alone_and_in_a_batch(fleet, stacked, network):
    generator = Generator(network(), CONFIG)
    scenes = [routed(fleet(seed, robots)) for seed, robots in ((2, 4), (3, 6), (4, 1))]
    batch = stacked([surveyed for surveyed, _ in scenes], robots=8)
    control = torch.zeros(3, 8, COUNT, 2, dtype=torch.float64)
    for s, (_, points) in enumerate(scenes):
        control[s, : points.shape[1]] = points[0]
    together = generator.sample(batch, control, 4, [5, 6, 2**63 - 1])
    assert bool(together.isfinite().all())
    for s, ((surveyed, points), seed) in enumerate(zip(scenes, [5, 6, 2**63 - 1], strict=True)):
        alone = generator.sample(surveyed, points, 4, [seed])
        assert torch.equal(alone, generator.sample(surveyed, points, 4, [seed]))
        assert torch.allclose(together[s, :, : points.shape[1]], alone[0], atol=1e-5)


def test_seeds_and_candidates_differ(fleet, network):
    generator, (surveyed, control) = Generator(network(), CONFIG), routed(fleet(5, 4))
    first, other = (generator.sample(surveyed, control, 3, [seed])[0] for seed in (1, 2))
    drawn = placed(torch.cat([first, other]))
    apart = (drawn[:, None] - drawn).norm(dim=-1).amax((-1, -2)) + torch.eye(6)
    assert float(apart.min()) > 0.05
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert torch.equal(generator.sample(surveyed, control, 3, [1])[0], first)


def test_without_temperature_all_candidates_are_one(fleet, network):
    surveyed, control = routed(fleet(6, 4))
    drawn = Generator(network(), replace(CONFIG, temperature=0.0)).sample(surveyed, control, 3, [1])[0]
    assert torch.allclose(drawn, drawn[:1].expand(3, 4, COUNT, 2), atol=1e-6)
    assert float((drawn[0] - control[0]).abs().max()) > 0.05


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_untrained_the_routes_are_drawn(fleet, network, steps: int):
    # the first prediction is the route, whatever the noise
    surveyed, control = routed(fleet(7, 4))
    fitted = network()
    untrained = DiT(fitted.config, fitted.normalizer)
    drawn = Generator(untrained, SamplingConfig(steps, 1.0)).sample(surveyed, control, 2, [3])
    assert torch.allclose(drawn, control[:, None].expand(1, 2, 4, COUNT, 2), atol=1e-5)


def test_offsets_are_forward_and_left_of_the_route_in_radii(fleet, network):
    # a network that is certain of one answer: 1.5 spreads of the first mode forward, -0.5 of the second to the left
    surveyed, control = routed(fleet(8, 3))
    net = network()
    coefficients = torch.zeros_like(net.normalizer.scale)
    coefficients[0, 0], coefficients[1, 1] = 1.5, -0.5
    with torch.no_grad():
        net.last.weight.zero_()
        net.last.bias.copy_(coefficients.flatten())
    drawn = Generator(net, CONFIG).sample(surveyed, control, 1, [3])[:, 0]
    found = rotate_into(placed(drawn) - surveyed.route, headings(surveyed.route)) / surveyed.radius[..., None, None]
    known = net.normalizer.decode(coefficients * net.normalizer.scale).double().expand(1, 3, -1, 2)
    assert torch.allclose(found, known, atol=0.05 * float(known.abs().max()))  # but for the fit of splines
    assert torch.allclose(found.mean(-2), known.mean(-2), atol=0.005)


def test_noise_and_answers_are_in_spreads_of_the_training_data(fleet, network):
    # of a network that looks at nothing else, data twice as wide make offsets twice as wide
    surveyed, control = routed(fleet(10, 3))
    net = network()
    with torch.no_grad():
        for layer in (net.walls, net.pair_moving):
            layer.weight.zero_()
        narrow = Generator(net, CONFIG).sample(surveyed, control, 3, [6]) - control[:, None]
        net.normalizer.scale *= 2.0
        wide = Generator(net, CONFIG).sample(surveyed, control, 3, [6]) - control[:, None]
    assert torch.allclose(wide, 2.0 * narrow, atol=1e-4)
    assert float(narrow.abs().max()) > 0.05


@pytest.mark.parametrize(("angle", "scale", "pace"), [(0.9, 1.0, 1.0), (-2.3, 25.0, 1.0), (math.pi, 0.02, 4.0)])
def test_what_is_drawn_turns_moves_and_grows_with_the_world(fleet, network, angle: float, scale: float, pace: float):
    s, control = routed(fleet(9, 5))
    c, d = scale * math.cos(angle), scale * math.sin(angle)
    matrix, shift = torch.tensor([[c, d], [-d, c]], dtype=torch.float64), scale * torch.tensor([40.0, -7.0], dtype=torch.float64)
    moved = replace(
        s, route=s.route @ matrix + shift, start_velocity=s.start_velocity @ matrix / pace, radius=scale * s.radius,
        v_max=scale * s.v_max / pace, a_max=scale * s.a_max / pace**2, margin=scale * s.margin, horizon=pace * s.horizon,
    )  # fmt: skip
    generator = Generator(network(), CONFIG)
    known = generator.sample(s, control, 2, [4]) @ matrix + shift
    found = generator.sample(moved, control @ matrix + shift, 2, [4])
    assert torch.allclose(found, known, atol=2e-4 * scale)
