"""The network: where each robot's offset from its route will end, from where it is at flow time t."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from models.condition import PAIR_FEATURES, Condition, RobotEncoder, pair_features, room_aside
from models.layers import Block, time_features, zeroed
from models.normalizer import Normalizer
from models.path_frame import rotate_out_of

KNOT_COUNT = 17
TIME_WIDTH = 64


@dataclass(frozen=True)
class DiTConfig:
    """Size of the network."""

    modes: int = 12  # K, of an offset, on each axis
    width: int = 128  # of a robot's token
    layers: int = 4
    heads: int = 4
    pair: int = 48  # width of a pair's features
    map_encoder: bool = True  # False: blind to walls, for ablation
    attention: bool = True  # False: robots do not see each other, for ablation


@dataclass(frozen=True)
class Encoded:
    """What does not depend on the flow's time or state."""

    token: Float[Tensor, "S 1 N d"]
    pair: Float[Tensor, "S 1 N N h"]
    pooled: Float[Tensor, "S 1 d"]


class DiT(nn.Module):
    """A diffusion transformer over the robots of a fleet; no robot has an index."""

    def __init__(self, config: DiTConfig, normalizer: Normalizer) -> None:
        """Untrained weights; the first prediction is the route itself."""
        super().__init__()
        self.config = config
        self.normalizer = normalizer
        width, hidden = config.width, config.width // 2
        self.robot = RobotEncoder(width, sees_walls=config.map_encoder)
        self.state = nn.Linear(2 * config.modes, width)
        self.walls = nn.Linear(KNOT_COUNT, width)
        self.pair_static = nn.Linear(PAIR_FEATURES, hidden)
        self.pair_moving = nn.Linear(PAIR_FEATURES, hidden, bias=False)
        self.pair_out = nn.Linear(hidden, config.pair)
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.scene = nn.Sequential(nn.Linear(width + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads, config.pair) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.last_modulation = zeroed(nn.Linear(width, 2 * width))
        self.last = zeroed(nn.Linear(width, 2 * config.modes))

    def encode(self, condition: Condition) -> Encoded:
        """The part that is the same for all candidates and all steps of a scene."""
        token = self.robot(condition)
        weight = condition.mask.to(token.dtype)[..., None]
        pooled = (token * weight).sum(1) / weight.sum(1)
        if not self.config.attention:
            pooled = torch.zeros_like(pooled)  # it would tell robots of each other
        scene = self.scene(torch.cat([pooled, condition.fleet], dim=-1))
        return Encoded(token[:, None], self.pair_static(condition.pair)[:, None], scene[:, None])

    def forward(
        self, state: Float[Tensor, "S M N K 2"], t: Float[Tensor, "S M"], condition: Condition, encoded: Encoded
    ) -> Float[Tensor, "S M N K 2"]:
        """The expected end of the flow, coefficients in radii.

        Args:
            state: coefficients at flow time t, radii.
            t: flow times in [0, 1].
            condition: the scenes.
            encoded: what `encode` made of them.
        """
        scenes, many, robots = state.shape[:3]
        scale = self.normalizer.scale
        offset = self.normalizer.decode_at_knots(state)
        token = encoded.token + self.state((state / scale).flatten(-2))
        if self.config.map_encoder:
            token = token + self.walls(room_aside(condition.room, offset[..., 1]) / 3.0)
        pair = self._pairs(offset, condition, encoded).flatten(0, 1)
        token = token.flatten(0, 1)
        modulation = (self.time(time_features(t, TIME_WIDTH)) + encoded.pooled).flatten(0, 1)
        seen = self._seen(condition)[:, None].expand(scenes, many, -1, robots).flatten(0, 1)
        for block in self.blocks:
            token = block(token, pair, seen, modulation)
        shift, stretch = self.last_modulation(modulation)[:, None].chunk(2, dim=-1)
        out = self.last(self.last_norm(token) * (1.0 + stretch) + shift)
        return out.view(scenes, many, robots, -1, 2) * scale

    def _seen(self, condition: Condition) -> Bool[Tensor, "S #N N"]:
        if self.config.attention:
            return condition.mask[:, None]
        robots = condition.mask.shape[1]
        return torch.eye(robots, dtype=torch.bool, device=condition.mask.device).expand(len(condition.mask), robots, robots)

    def _pairs(self, offset: Float[Tensor, "S M N Q 2"], condition: Condition, encoded: Encoded) -> Float[Tensor, "S M N N p"]:
        heading = condition.heading[:, None]
        place = condition.place[:, None] + condition.radius[:, None, :, None, None] * rotate_out_of(offset, heading)
        moving = self.pair_moving(pair_features(place, condition.heading, condition.radius))
        return self.pair_out(nn.functional.silu(encoded.pair + moving))
