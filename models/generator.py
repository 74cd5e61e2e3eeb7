"""The generator: scenes and seeds in, joint trajectories out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from maps.curve import fit_control_points
from models.condition import Surveyed, condition_on
from models.dit import DiT
from models.flow import integrate
from models.openvino_network import OpenVINONetwork
from models.path_frame import headings, rotate_out_of


@dataclass(frozen=True)
class SamplingConfig:
    """How the flow is followed."""

    steps: int = 1  # midpoint steps, two calls of the network each; 0: one call, to the expected end
    temperature: float = 0.7  # of the noise that the flow starts from


class Generator:
    """Draws joint trajectories from a trained network; float32, no gradients."""

    def __init__(self, network: DiT | OpenVINONetwork, config: SamplingConfig | None = None) -> None:
        """`network` is used as it is; put it on the device and into evaluation mode first."""
        self.network = network
        self.config = config or SamplingConfig()

    @torch.inference_mode()
    def sample(
        self, surveyed: Surveyed, routes: Float[Tensor, "S N n 2"], candidates: int, seeds: Sequence[int]
    ) -> Float[Tensor, "S M N n 2"]:
        """Control points of joint trajectories, with the ends that the routes have.

        Args:
            surveyed: the scenes.
            routes: control points of the routes that were surveyed, m.
            candidates: M, how many for each scene.
            seeds: one for each scene; a scene's trajectories depend on its own seed alone.

        Returns:
            Control points, m, of the routes' type.
        """
        condition = condition_on(surveyed)
        encoded = self.network.encode(condition)
        end = integrate(
            lambda state, t: self.network(state, t, condition, encoded), self._noise(surveyed, candidates, seeds), self.config.steps
        )
        offset = self.network.normalizer.decode(end).to(routes)
        metres = surveyed.radius[:, None, :, None, None] * rotate_out_of(offset, headings(surveyed.route)[:, None])
        still = torch.zeros(*metres.shape[:3], *routes.shape[2:], dtype=routes.dtype, device=routes.device)
        return routes[:, None] + fit_control_points(metres.to(routes), still)

    def _noise(self, surveyed: Surveyed, candidates: int, seeds: Sequence[int]) -> Float[Tensor, "S M N K 2"]:
        """The flow's start; drawn on the CPU, so that every device starts alike, robot by robot of the real ones."""
        scale = self.network.normalizer.scale
        noise = torch.zeros(len(seeds), candidates, surveyed.mask.shape[1], *scale.shape)
        for s, seed in enumerate(seeds):
            robots = int(surveyed.mask[s].sum())
            generator = torch.Generator().manual_seed(seed)
            noise[s, :, :robots] = torch.randn(candidates, robots, *scale.shape, generator=generator)
        return self.config.temperature * noise.to(scale) * scale
