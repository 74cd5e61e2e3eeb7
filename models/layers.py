"""Transformer blocks over sets of robots: attention that sees each pair, modulation by the flow's time and the scene."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def time_features(t: Float[Tensor, "*batch"], width: int) -> Float[Tensor, "*batch d"]:
    """Cosines and sines of a time in [0, 1] at geometric frequencies; source: Vaswani et al., 2017."""
    frequency = torch.exp(torch.linspace(0.0, math.log(200.0), width // 2, device=t.device, dtype=t.dtype))
    angle = t[..., None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class PairAttention(nn.Module):
    """Attention over robots whose weights and values see the features of each pair."""

    def __init__(self, width: int, heads: int, pair: int) -> None:
        """`width` of tokens, number of `heads`, width of `pair` features."""
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width, bias=False)
        self.bias = nn.Linear(pair, heads)
        self.outward = nn.Linear(width + heads * pair, width)

    def forward(
        self, token: Float[Tensor, "B N d"], pair: Float[Tensor, "B N N p"], seen: Bool[Tensor, "B #N N"]
    ) -> Float[Tensor, "B N d"]:
        """New tokens; `seen` tells who (last axis) is seen by whom."""
        batch, robots, width = token.shape
        query, key, value = self.inward(token).view(batch, robots, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        score = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads) + self.bias(pair).permute(0, 3, 1, 2)
        share = score.masked_fill(~seen[:, None], -1e9).softmax(-1)
        values = (share @ value).transpose(1, 2).reshape(batch, robots, width)
        pairs = (share.transpose(1, 2) @ pair).reshape(batch, robots, -1)
        return self.outward(torch.cat([values, pairs], dim=-1))


class Block(nn.Module):
    """Attention and a perceptron, each scaled, shifted and gated by the condition; the gates start at zero.

    Source: Peebles and Xie, Scalable Diffusion Models with Transformers (2023), adaLN-zero.
    """

    def __init__(self, width: int, heads: int, pair: int) -> None:
        """Sizes as in `PairAttention`."""
        super().__init__()
        self.before_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = PairAttention(width, heads, pair)
        self.before_perceptron = nn.LayerNorm(width, elementwise_affine=False)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.modulation = zeroed(nn.Linear(width, 6 * width))

    def forward(
        self,
        token: Float[Tensor, "B N d"],
        pair: Float[Tensor, "B N N p"],
        seen: Bool[Tensor, "B #N N"],
        condition: Float[Tensor, "B d"],
    ) -> Float[Tensor, "B N d"]:
        """New tokens."""
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, dim=-1)
        token = token + gate * self.attention(self.before_attention(token) * (1.0 + scale) + shift, pair, seen)
        return token + gate2 * self.perceptron(self.before_perceptron(token) * (1.0 + scale2) + shift2)


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with weights and bias zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
