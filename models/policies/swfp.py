"""Stepwise flow policy: a cloned flow, cut into blocks, is improved by steps that each stay near the flow before.

After the idea of Sun et al. (2025), Stepwise Flow Policy: the Euler sampler of a flow as a cascade of small blocks, fine-tuned by steps
of Jordan, Kinderlehrer and Otto (1998): lower a free energy, minus the value less alpha times the entropy, and pay for W2^2. The losses
are ours, written without the paper's equations, and no figure of the paper is claimed.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.policies.block_roll import block_roll, block_step
from models.policies.critics import aggregate, held, polyak, running_copy, td_loss, td_target, value_scale
from models.policies.draws import Draws
from models.policies.flow_steps import Field, flow_matching_loss, times_of
from models.policies.networks import EnsembleCritic, NetworkConfig, Sizes, VelocityField
from models.policies.policy import LearningConfig, Losses, Policy
from models.policies.transitions import Transitions

FOLDED = math.log(1e-6)  # of determinants: what is added to them, so that a block that folds space has a finite loss


@dataclass(frozen=True)
class SWFPConfig:
    """How a flow is improved step by step."""

    blocks: int = 5  # of the flow
    stepwise: bool = False  # True: a loss for each block alone, the blocks after it held; False: one for the whole flow
    eta: float = 0.3  # length of a step, squares of actions a value; W2^2 / (2 eta) is what a step pays
    alpha: float = 0.05  # weight of the entropy, values a nat
    box_penalty: float = 10.0  # values a square of the way out of [-1, 1]
    normalize_q_loss: bool = True  # divides values by their mean absolute value, so that eta and alpha do not depend on their scale
    step_updates: int = 50  # updates of a step, after which the flow before is the flow now
    pretrain: int = 10_000  # updates that clone the recorded actions before the flow is cut; 0 for `begin_from`
    critics: int = 2  # members of the ensemble
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256, 256), layer_norm=True))  # each critic
    flow: NetworkConfig = field(default_factory=lambda: NetworkConfig((256, 256, 256)))  # cloned field, and each block
    learning: LearningConfig = field(default_factory=lambda: LearningConfig(clip=1.0))  # rates

    @classmethod
    def paper(cls) -> "SWFPConfig":
        """Nearest to what is published: a loss for each block; all numbers are ours."""
        return cls(stepwise=True)

    @classmethod
    def cpu(cls) -> "SWFPConfig":
        """Three blocks."""
        return cls(blocks=3)


class SWFP(Policy):
    """Stepwise flow policy, after the idea of the paper; the losses are ours.

    The flow before and the flow now carry the same noise, so that the mean square between their ends bounds W2^2 from above. The
    entropy is exact, one reverse pass a number of the action and block; it is that before actions are clipped, and a penalty keeps
    them in the box. One loss for the whole flow (the default) is a step of the scheme itself; `SWFPConfig.paper` has one for each
    block, with eta / K, which reaches the same end more slowly and keeps no graph of the weights of the whole flow.
    Actions move along the gradient of the value: a worse mode is left only where that, or the entropy, leads out of it.
    Draws: `next` of the target; `flow` and `time` while it clones; `actor` after that; `act` of acting.
    """

    config_type = SWFPConfig
    config: SWFPConfig

    def __init__(self, sizes: Sizes, config: SWFPConfig, seed: int = 0) -> None:
        """A new policy."""
        super().__init__(sizes, config, seed)
        self.critic = EnsembleCritic(sizes, config.critic, config.critics, self.generator)
        self.field = VelocityField(sizes, config.flow, self.generator)
        self.blocks = nn.ModuleList([VelocityField(sizes, config.flow, self.generator) for _ in range(config.blocks)])
        self.before = running_copy(self.blocks)
        self.target_critic = running_copy(self.critic)
        self.begin_from(self.field)

    def begin_from(self, cloned: VelocityField) -> None:
        """Makes each block a copy of a field, and the flow before as well: that of `BC`, of the same form."""
        for network in (self.field, *self.blocks, *self.before):
            polyak(network, cloned, 1.0)

    def losses(self, transitions: Transitions, draws: Draws) -> Losses:
        """`critic`; then `flow` while it clones, `climb`, `box`, `entropy` and `move` after that."""
        action, observation = transitions.flat_action, transitions.observation
        target = self.target(transitions, draws.normal("next", *action.shape))
        terms = {"critic": td_loss(self.critic(observation, action), target, transitions.valid)}
        metrics = {"target": target.mean()}
        if self.updates < self.config.pretrain:
            noise, t = draws.normal("flow", *action.shape), draws.uniform("time", len(action), 1)
            terms["flow"] = flow_matching_loss(self.field.at(observation), action, noise, t, transitions.valid)
            return Losses(terms, metrics)
        step = self.stepwise_losses if self.config.stepwise else self.whole_losses
        improved, changes = step(observation, draws.normal("actor", *action.shape))
        metrics["least_log_determinant"] = changes.detach().amin()
        return Losses(terms | improved, metrics)

    @torch.no_grad()
    def target(self, transitions: Transitions, noise: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The target of the critics: the least value of what the flow does next; its entropy is not counted."""
        following = transitions.next_observation
        values = self.target_critic(following, self.roll(following, noise))
        return td_target(transitions, aggregate(values, "min"), self.config.learning.discount)

    def whole_losses(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> tuple[dict[str, Tensor], Tensor]:
        """The free energy of the flow and the price of its way, through all blocks at once; and the log-determinants."""
        with torch.no_grad():
            end_before = path(fields(self.before, observation), noise)[-1]
        roll = block_roll(fields(self.blocks, observation), noise)
        energy = self.energy(observation, roll.end, roll.log_determinant)
        return energy | {"move": moved(roll.end, end_before, self.config.eta)}, roll.log_determinant

    def stepwise_losses(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> tuple[dict[str, Tensor], Tensor]:
        """The same for each block alone, from where those before it lead, and through those after it without their weights; summed."""
        count, total, changes = len(self.blocks), {}, []
        blocks, blocks_before = fields(self.blocks, observation), fields(self.before, observation)
        with torch.no_grad():
            points = path(blocks, noise)
        with held(self.blocks):
            rest = fields(self.blocks, observation)
        for k, x in enumerate(points[:-1]):
            after, change = block_step(blocks[k], x, k / count, 1.0 / count)
            with held(self.blocks):
                end = path(rest, after, k + 1)[-1]
                after_before = x + blocks_before[k](x, times_of(x, k / count)) / count
            parts = self.energy(observation, end, change[None]) | {"move": moved(after, after_before, self.config.eta / count)}
            total = {name: total[name] + part if name in total else part for name, part in parts.items()}
            changes.append(change)
        return total, torch.stack(changes)

    def energy(self, observation: Float[Tensor, "B O"], end: Float[Tensor, "B A"], changes: Float[Tensor, "K B"]) -> dict[str, Tensor]:
        """Minus the value of clipped actions, the penalty of those out of the box, and minus the entropy that blocks add."""
        inside = end.clamp(-1.0, 1.0)
        with held(self.critic):
            values = aggregate(self.critic(observation, inside), "min")
        entropy = torch.logaddexp(changes, changes.new_tensor(FOLDED)).sum(0).mean()
        climb = -values.mean() * (value_scale(values) if self.config.normalize_q_loss else 1.0)
        box = self.config.box_penalty * (end - inside).square().sum(-1).mean()
        return {"climb": climb, "box": box, "entropy": -self.config.alpha * entropy}

    def roll(self, observation: Float[Tensor, "B O"], noise: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """Clipped end points of what acts: the blocks, or as many times the field that they will be cut from."""
        if self.updates < self.config.pretrain:
            return path([self.field.at(observation)] * len(self.blocks), noise)[-1].clamp(-1.0, 1.0)
        return path(fields(self.blocks, observation), noise)[-1].clamp(-1.0, 1.0)

    def after_update(self) -> None:
        """The running copy of the critics; the cut, when cloning is done; and after each step, the flow before becomes the flow now."""
        polyak(self.target_critic, self.critic, self.config.learning.polyak)
        since = self.updates - self.config.pretrain
        if since == 0:
            self.begin_from(self.field)
        elif since > 0 and since % self.config.step_updates == 0:
            polyak(self.before, self.blocks, 1.0)

    def choose(self, observation: Float[Tensor, "B O"], draws: Draws) -> Float[Tensor, "B A"]:
        """End points of the flow from fresh noise, clipped."""
        return self.roll(observation, draws.normal("act", len(observation), self.sizes.action))


def fields(blocks: Iterable[nn.Module], observation: Float[Tensor, "B O"]) -> list[Field]:
    """The velocity of each block, its observations encoded once."""
    return [cast(VelocityField, block).at(observation) for block in blocks]


def path(blocks: list[Field], x: Float[Tensor, "B A"], first: int = 0) -> list[Float[Tensor, "B A"]]:
    """Points before the block `first` and after each block from there on, not clipped; without determinants."""
    points = [x]
    for k in range(first, len(blocks)):
        points.append(points[-1] + blocks[k](points[-1], times_of(x, k / len(blocks))) / len(blocks))
    return points


def moved(end: Float[Tensor, "B A"], end_before: Float[Tensor, "B A"], eta: float) -> Float[Tensor, ""]:
    """Mean square of the way between ends of the same noise, over 2 eta: bounds W2^2 / (2 eta) from above."""
    return (end - end_before).square().sum(-1).mean() / (2.0 * eta)
