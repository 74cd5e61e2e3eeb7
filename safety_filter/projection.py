"""What every sample lacks to satisfy each constraint: nearest points of the constraint sets, as tensor functions.

Each function returns corrections (target less value), how many constraints ask for each, and the worst violation of
every problem. The closed forms replace the angles of the polar formulation: the difference of two robots goes to
diff * max(1, r / |diff|), a vector with a limit to v * min(1, limit / |v|), a place near a wall to
x + max(r - d(x), 0) grad d(x) with the signed distance d.

Everything is differentiable and runs on any device. `safety_filter.corrections` is the same for one problem, compiled.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

END_SAMPLES = 8  # samples at either end at which the needed room is that of the end itself, if smaller
INTERIOR = 0.02  # share of a segment from its ends, within which a closest approach counts as the sample's own
TINY = 1e-9  # m, below which a direction is no direction

Distance = Callable[[Float[Tensor, "B P 2"]], Float[Tensor, "B P"]]  # signed distance to each problem's obstacles, m


class Correction(NamedTuple):
    """What the samples of all robots lack."""

    force: Float[Tensor, "B N T 2"]  # target less value
    weight: Float[Tensor, "B N T"]  # constraints that ask for it
    worst: Float[Tensor, " B"]  # largest violation; the unit of the values, or relative for limits


def by_phase(ends: Float[Tensor, "B 3 *rest"], samples: int) -> Float[Tensor, "B T *rest"]:
    """The need at every sample: that of the start, of the middle, or of the goal."""
    t = torch.arange(samples, device=ends.device)
    phase = torch.where(t < END_SAMPLES, 0, torch.where(t >= samples - END_SAMPLES, 2, 1))
    return ends[:, phase]


def _length(vector: Tensor) -> Tensor:
    """Norms whose gradient is 0, not NaN, at 0."""
    square = vector.square().sum(-1)
    return torch.where(square > 0, square.clamp_min(1e-300).sqrt(), torch.zeros_like(square))


def _outwards(vector: Tensor, distance: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Corrections that make vectors at least `least` long, and by how much they are too short."""
    lack = (least - distance).clamp_min(0.0)
    aside = torch.stack([torch.ones_like(distance), torch.zeros_like(distance)], dim=-1)
    direction = torch.where((distance > TINY)[..., None], vector / distance.clamp_min(TINY)[..., None], aside)
    return lack[..., None] * direction, lack


def _closest(start: Tensor, end: Tensor, bend: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Where a moving point passes the origin between samples: its share of the segment and its place there.

    The motion is the chord less the sagitta of its acceleration, right to third order of the step.
    """
    chord = end - start
    share = (-(start * chord).sum(-1) / (chord.square().sum(-1) + 1e-18)).clamp(0.0, 1.0)
    sag = 0.5 * share * (1.0 - share) * step.square()
    return share, start + share[..., None] * chord - sag[..., None] * bend


def pair_correction(
    position: Float[Tensor, "B N T 2"], acceleration: Float[Tensor, "B N T 2"], need: Float[Tensor, "B T N N"], step: Float[Tensor, " B"]
) -> Correction:
    """Robots apart from each other, at samples and at closest approaches between them.

    Args:
        position: m.
        acceleration: m/s^2.
        need: centre distances needed, m; -1 for pairs that do not count.
        step: s between samples.
    """
    between = position[:, :, None] - position[:, None]  # B N N T 2
    bend = acceleration[:, :, None] - acceleration[:, None]
    least = need.permute(0, 2, 3, 1)
    own = torch.eye(position.shape[1], dtype=torch.bool, device=position.device)[..., None]
    least = torch.where(own, -torch.ones_like(least), least)
    force, lack = _outwards(between, _length(between), least)
    weight = (lack > 0).to(position.dtype)
    share, place = _closest(between[..., :-1, :], between[..., 1:, :], bend[..., :-1, :], step[:, None, None, None])
    inside = (share > INTERIOR) & (share < 1.0 - INTERIOR)
    push, miss = _outwards(place, _length(place), torch.where(inside, least[..., :-1], -torch.ones_like(share)))
    force, weight = _spread(force, weight, push, (miss > 0).to(position.dtype), share)
    worst = torch.maximum(lack.amax(dim=(1, 2, 3)), miss.amax(dim=(1, 2, 3)))
    return Correction(force.sum(2), weight.sum(2), worst)


def _spread(force: Tensor, weight: Tensor, push: Tensor, count: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Shares corrections between samples out to the sample before and the sample after."""
    before, after = (1.0 - share) * count, share * count
    force = (
        force
        + torch.nn.functional.pad(before[..., None] * push, (0, 0, 0, 1))
        + torch.nn.functional.pad(after[..., None] * push, (0, 0, 1, 0))
    )
    weight = weight + torch.nn.functional.pad(before, (0, 1)) + torch.nn.functional.pad(after, (1, 0))
    return force, weight


def mover_correction(
    position: Float[Tensor, "B N T 2"],
    acceleration: Float[Tensor, "B N T 2"],
    place: Float[Tensor, "B Q T 2"],
    need: Float[Tensor, "B Q T N"],
    step: Float[Tensor, " B"],
) -> Correction:
    """Robots apart from moving obstacles. `need` holds the distances needed from the segment after each sample, m."""
    between = position[:, :, None] - place[:, None]  # B N Q T 2
    least = need.permute(0, 3, 1, 2)
    share, near = _closest(between[..., :-1, :], between[..., 1:, :], acceleration[:, :, None, :-1], step[:, None, None, None])
    counts = share < 1.0 - INTERIOR
    push, miss = _outwards(near, _length(near), torch.where(counts, least[..., :-1], -torch.ones_like(share)))
    last, lack = _outwards(between[..., -1:, :], _length(between[..., -1:, :]), least[..., -1:])
    force = torch.nn.functional.pad(last, (0, 0, position.shape[2] - 1, 0))
    weight = torch.nn.functional.pad((lack > 0).to(position.dtype), (position.shape[2] - 1, 0))
    force, weight = _spread(force, weight, push, (miss > 0).to(position.dtype), share)
    worst = torch.cat([lack, miss], dim=-1).flatten(1)
    return Correction(force.sum(2), weight.sum(2), torch.nn.functional.pad(worst, (0, 1)).amax(1))


def wall_correction(
    position: Float[Tensor, "B N T 2"],
    acceleration: Float[Tensor, "B N T 2"],
    need: Float[Tensor, "B T N"],
    bounds: Float[Tensor, "B 4"],
    step: Float[Tensor, " B"],
    distance: Distance,
) -> Correction:
    """Robots out of obstacles and inside the bounds, at samples and where they come nearest to obstacles in between.

    Args:
        position: m.
        acceleration: m/s^2.
        need: distances needed, m; -1 for robots that do not count.
        bounds: xmin, ymin, xmax, ymax, m.
        step: s between samples.
        distance: signed distance to the obstacles.
    """
    least = need.transpose(1, 2)
    low, high = bounds[:, None, None, :2] + least[..., None], bounds[:, None, None, 2:] - least[..., None]
    outside = torch.where(
        (least >= 0)[..., None], (low - position).clamp_min(0.0) - (position - high).clamp_min(0.0), torch.zeros_like(position)
    )
    room, slope = _distance_and_slope(position, distance)
    lack = (least - room).clamp_min(0.0)
    force = outside + lack[..., None] * slope
    weight = outside.ne(0).any(-1).to(force.dtype) + (lack > 0).to(force.dtype)
    share, miss, away = _passing(position, acceleration, room, slope, least, step, distance)
    force, weight = _spread(force, weight, miss[..., None] * away, (miss > 0).to(force.dtype), share)
    worst = [outside.abs().flatten(1).amax(1), lack.flatten(1).amax(1), miss.flatten(1).amax(1)]
    return Correction(force, weight, torch.stack(worst).amax(0))


def _distance_and_slope(place: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Signed distances and their gradients by place; both can be differentiated further where the caller does."""
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        at = place if place.requires_grad else place.detach().requires_grad_(True)
        room = distance(at.flatten(1, -2)).reshape(at.shape[:-1])
        if not room.requires_grad:
            return room, torch.zeros_like(at)
        slope = torch.autograd.grad(room.sum(), at, create_graph=further, retain_graph=True, allow_unused=True)[0]
    slope = torch.zeros_like(at) if slope is None else slope
    return (room, slope) if further else (room.detach(), slope.detach())


def _passing(
    position: Tensor, bend: Tensor, room: Tensor, slope: Tensor, least: Tensor, step: Tensor, distance: Distance
) -> tuple[Tensor, Tensor, Tensor]:
    """Where robots pass obstacles between samples: share of the segment, room lacking there, direction to gain it.

    The place is where the distance along the chord is least, by a secant of its slopes at both samples: exact where the
    squared distance is quadratic, as beside a disc or a corner.
    """
    chord = position[:, :, 1:] - position[:, :, :-1]
    before, after = (slope[:, :, :-1] * chord).sum(-1), (slope[:, :, 1:] * chord).sum(-1)
    passes = (before < 0) & (after > 0)
    share = torch.where(passes, before / torch.where(passes, before - after, -torch.ones_like(before)), torch.zeros_like(before))
    sag = 0.5 * share * (1.0 - share) * step[:, None, None].square()
    near, away = _distance_and_slope(position[:, :, :-1] + share[..., None] * chord - sag[..., None] * bend[:, :, :-1], distance)
    ends = torch.minimum(room[:, :, :-1], room[:, :, 1:])
    nearer = passes & (ends > 0) & (near < ends)
    return share, torch.where(nearer, (least[:, :, 1:] - near).clamp_min(0.0), torch.zeros_like(near)), away


def norm_correction(value: Float[Tensor, "B N T 2"], most: Float[Tensor, "B N"]) -> Correction:
    """Vectors no longer than allowed; the violation is relative."""
    excess = _length(value) / most[..., None]
    over = excess > 1.0
    force = torch.where(over[..., None], (1.0 / excess.clamp_min(1.0) - 1.0)[..., None] * value, torch.zeros_like(value))
    return Correction(force, over.to(value.dtype), excess.flatten(1).amax(1) - 1.0)
