"""Configs by name, and what is set in all their networks."""

from dataclasses import fields, is_dataclass

import pytest
import torch

from models.policies.encoder import SetConfig
from models.policies.networks import NetworkConfig, Sizes
from models.policies.registry import AGENTS, policy_class, policy_config, with_members
from models.policies.transitions import Transitions

MEMBERS = SetConfig(3, 4, 5, hidden=8, width=8)
SIZES = Sizes(25, 16)


def _networks(config: object) -> list[NetworkConfig]:
    if isinstance(config, NetworkConfig):
        return [config]
    parts = [getattr(config, field.name) for field in fields(config)] if is_dataclass(config) else []  # type: ignore[arg-type]
    return [network for part in parts for network in _networks(part)]


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_every_agent_sees_a_set_as_a_set(agent: str) -> None:
    """With the set told to all its networks, an agent acts alike however the members are ordered, before and after it learned."""
    config = with_members(policy_config(agent, "cpu", {}), MEMBERS)
    assert _networks(config)
    assert all(network.members == MEMBERS for network in _networks(config))
    policy = policy_class(agent)(SIZES, config, 0)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(1)
    seen = torch.randn(6, 25, generator=generator)
    seen[:, 7::5] = 1.0  # all members are there
    turned = seen.clone()
    turned[:, 3:23] = seen[:, 3:23].unflatten(1, (4, 5)).flip(1).flatten(1)
    action = torch.rand(6, 16, generator=generator) * 2 - 1
    batch = Transitions.single(seen, action, torch.zeros(6), torch.ones(6), turned)
    for _ in range(2):
        one, other = (policy.act(view, torch.Generator().manual_seed(2)) for view in (seen, turned))
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        policy.update(batch)
