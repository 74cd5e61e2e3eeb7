"""What the generator knows of a scene: its robots, their routes and what stands beside them, free of frame, scale and order."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from maps.scenario import Scenario, ScenarioBatch
from maps.trajectory import TrajectoryBatch
from models.path_frame import KNOTS, SAMPLES, headings, rotate_into, sample_times
from models.surroundings import ASIDE, free_room

CHORD_FEATURES = 34
SPEED_FEATURES = 16
SCALARS = 8
ROBOT_FEATURES = CHORD_FEATURES + SPEED_FEATURES + SCALARS
PAIR_FEATURES = 51


@dataclass(frozen=True)
class Surveyed:
    """Fleets and their routes in the caller's units; what `condition_on` needs to know."""

    route: Float[Tensor, "S N T 2"]  # m, at the sample times
    room: Float[Tensor, "S N Q A"]  # radii, free room beside the routes
    radius: Float[Tensor, "S N"]  # m
    v_max: Float[Tensor, "S N"]  # m/s
    a_max: Float[Tensor, "S N"]  # m/s^2
    start_velocity: Float[Tensor, "S N 2"]  # m/s
    horizon: Float[Tensor, " S"]  # s
    margin: Float[Tensor, " S"]  # m
    mask: Bool[Tensor, "S N"]  # False: padding

    def to(self, device: str | torch.device) -> "Surveyed":
        """The same on a device."""
        return Surveyed(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def mirrored(self) -> "Surveyed":
        """The same world seen in a mirror."""
        flip = torch.tensor([1.0, -1.0], dtype=self.route.dtype, device=self.route.device)
        return Surveyed(
            self.route * flip, self.room.flip(-1), self.radius, self.v_max, self.a_max,
            self.start_velocity * flip, self.horizon, self.margin, self.mask,
        )  # fmt: skip


def survey_along(scenarios: Sequence[Scenario], control_points: Float[Tensor, "S N n 2"]) -> Surveyed:
    """What stands beside given trajectories.

    Args:
        scenarios: the scenes and fleets, with their horizons.
        control_points: of each robot's route, m; rows beyond a scenario's robots are padding.
    """
    batch = ScenarioBatch.stack(list(scenarios))
    points = control_points.detach()
    place = TrajectoryBatch(points, batch.horizon.to(points)).position(sample_times())
    room = place.new_zeros(*place.shape[:2], len(range(SAMPLES)[KNOTS]), len(ASIDE), device="cpu")
    for k, scenario in enumerate(scenarios):
        room[k, : len(scenario)] = free_room(scenario, place[k, : len(scenario)].cpu())
    return Surveyed(
        route=place,
        room=room,
        radius=batch.radius,
        v_max=batch.v_max,
        a_max=batch.a_max,
        start_velocity=batch.start_velocity,
        horizon=batch.horizon,
        margin=batch.margin,
        mask=batch.mask,
    ).to(points.device)


@dataclass(frozen=True)
class Condition:
    """The network's view; lengths in mean radii of the fleet, from its mean start."""

    place: Float[Tensor, "S N Q 2"]  # of the route at its knots
    heading: Float[Tensor, "S N Q 2"]
    radius: Float[Tensor, "S N"]
    room: Float[Tensor, "S N Q A"]  # radii
    robot: Float[Tensor, "S N F"]  # features of each robot on its own
    pair: Float[Tensor, "S N N P"]  # features of each pair on their routes
    fleet: Float[Tensor, "S 1"]  # horizon in time scales, logarithm
    mask: Bool[Tensor, "S N"]


def condition_on(surveyed: Surveyed) -> Condition:
    """Brings fleets into the network's view; exact under rotation, shift and scaling of the world."""
    mask = surveyed.mask.to(surveyed.route.dtype)
    robots = mask.sum(1)
    unit = (surveyed.radius * mask).sum(1) / robots
    origin = (surveyed.route[:, :, 0] * mask[..., None]).sum(1) / robots[:, None]
    scale = unit[:, None, None, None]
    heading = headings(surveyed.route)[:, :, KNOTS]
    place = (surveyed.route[:, :, KNOTS] - origin[:, None, None]) / scale
    radius = torch.where(surveyed.mask, surveyed.radius / unit[:, None], 1.0)
    pace = (surveyed.a_max * mask).sum(1) / robots
    tau = (unit / pace).sqrt()
    robot = _robot_features(surveyed, unit)
    place, heading, radius = place.float(), heading.float(), radius.float()
    return Condition(
        place,
        heading,
        radius,
        surveyed.room.float(),
        robot.float(),
        pair_features(place[:, None], heading, radius)[:, 0],
        (surveyed.horizon / tau).log()[:, None].float() - 4.0,
        surveyed.mask,
    )


def _robot_features(surveyed: Surveyed, unit: Float[Tensor, " S"]) -> Float[Tensor, "S N F"]:
    knots = surveyed.route[:, :, KNOTS]
    step = knots[..., 1:, :] - knots[..., :-1, :]
    paced = step.norm(dim=-1)
    radius = torch.where(surveyed.mask, surveyed.radius, 1.0)
    length = paced.sum(-1) + 0.1 * radius
    whole = knots[..., -1, :] - knots[..., 0, :]
    far = whole.norm(dim=-1, keepdim=True)
    ahead = headings(surveyed.route)[..., 0, :]
    chord = torch.where(far > 1e-9, whole / far.clamp_min(1e-9), ahead)
    shape = rotate_into(knots - knots[..., :1, :], chord[..., None, :]) / length[..., None, None]
    horizon = surveyed.horizon[:, None]
    speed = paced * (paced.shape[-1] / (surveyed.v_max * horizon))[..., None]
    start = rotate_into(surveyed.start_velocity, chord) / surveyed.v_max[..., None]
    scalars = torch.stack(
        [
            (length / radius).log() / 2.0 - 1.5,
            length / (surveyed.v_max * horizon),
            (surveyed.a_max * horizon**2 / length).log() / 2.0 - 1.5,
            (far[..., 0] / length),
            surveyed.margin[:, None] / radius,
            (radius / unit[:, None]).log(),
        ],
        dim=-1,
    )
    return torch.cat([shape.flatten(-2), speed, scalars, start], dim=-1)


def pair_features(
    place: Float[Tensor, "S M N Q 2"], heading: Float[Tensor, "S N Q 2"], radius: Float[Tensor, "S N"]
) -> Float[Tensor, "S M N N P"]:
    """How each robot sees each other over time: where it is, forward and left, and how near, in sums of their radii.

    Far robots fade: offsets saturate, nearness falls with the square of the distance.
    """
    x, y = place.unbind(-1)
    reach = (radius[:, :, None] + radius[:, None, :])[:, None, :, :, None]
    dx = (x[:, :, None] - x[:, :, :, None]) / reach
    dy = (y[:, :, None] - y[:, :, :, None]) / reach
    c, s = (component[:, None, :, None] for component in heading.unbind(-1))
    square = dx * dx + dy * dy
    fade = 1.0 / (1.0 + (square + 1e-12).sqrt())
    forward, left = (c * dx + s * dy) * fade, (c * dy - s * dx) * fade
    return torch.cat([forward, left, 1.0 / (1.0 + square)], dim=-1)


def room_aside(room: Float[Tensor, "S N Q A"], left: Float[Tensor, "S M N Q"]) -> Float[Tensor, "S M N Q"]:
    """Free room at offsets to the left of the routes (radii), between the offsets at which it is known."""
    offsets = torch.as_tensor(ASIDE, dtype=room.dtype, device=room.device)
    spacing = float(ASIDE[1] - ASIDE[0])
    share = (left.clamp(float(ASIDE[0]), float(ASIDE[-1]))[..., None] - offsets).abs() / spacing
    return ((1.0 - share).clamp_min(0.0) * room[:, None]).sum(-1)


class RobotEncoder(nn.Module):
    """Each robot on its own, and the free room along its route, as a token."""

    def __init__(self, width: int, knots: int = 17, sees_walls: bool = True) -> None:
        """`width` of the token; without `sees_walls` the free room is left out."""
        super().__init__()
        self.own = nn.Linear(ROBOT_FEATURES, width)
        self.map = nn.Linear(knots * len(ASIDE), width) if sees_walls else None
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, condition: Condition) -> Float[Tensor, "S N d"]:
        """Tokens, the same whatever the order of robots and obstacles."""
        return self.tokens(condition.robot, condition.room)

    def tokens(self, robot: Float[Tensor, "S N F"], room: Float[Tensor, "S N Q A"]) -> Float[Tensor, "S N d"]:
        """The same from what a condition holds of the robots and of the room beside their routes."""
        token = self.own(robot)
        if self.map is not None:
            token = token + self.map(room.flatten(-2) / 3.0)
        return self.mix(token)
