"""The released policies of a server, and the thread that they think in."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from api.agents.examples import ACT_REQUEST
from api.agents.intake import AgentIntake, unknown_agent
from api.agents.wire import actions_document, agent_document, model_document
from api.problems import Problem
from models.policies.sfp import SFP
from planner.acting import act, stream
from planner.fleet_policy import FleetPolicy, load_fleet_policy, released_agents
from planner.shield import ShieldConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from api.agents.intake import FleetOrder
    from api.agents.wire import ActOptions
    from api.intake import Intake
    from planner.acting import Acted

log = logging.getLogger("flowfleet.agents")
T = TypeVar("T")
STREAMS = "sfp"  # the algorithm that streams


class AgentService:
    """Policies that act; once they are loaded, all but `aside` runs in its own thread."""

    def __init__(self, intake: Intake, folder: Path | None, most: int) -> None:
        """Nothing is loaded before `load`.

        Args:
            intake: of planning requests.
            folder: of the released weights; None: the package's own.
            most: calls that may wait for the thread.
        """
        self.intake = AgentIntake(intake)
        self._folder = folder
        self._most = most
        self._waiting = 0
        self._policies: dict[str, FleetPolicy] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agents")
        self._ready = False

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def aside(self, work: Callable[[], T]) -> T:
        """Runs something in the policies' thread; Problem 503 where they are not loaded, or too much waits for the thread."""
        if not self._ready:
            raise Problem(503, "NOT_READY", "the policies are not loaded yet", headers={"Retry-After": "2"})
        if self._waiting >= self._most:
            raise Problem(503, "QUEUE_FULL", f"{self._waiting} calls are waiting for the policies", headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1

    def load(self) -> None:
        """Loads the policies and has each act once, in the caller's thread; no other one may compile kernels meanwhile.

        Raises:
            InvalidCheckpoint: a file is damaged.
        """
        for agent in released_agents(self._folder):
            self._policies[agent] = load_fleet_policy(agent, self._folder)
        for agent, policy in self._policies.items():
            self.act(ACT_REQUEST | {"agent": agent})
            log.info(
                "policy", extra={"model": policy.identity.name, "model_version": policy.identity.version, "sha256": policy.identity.sha256}
            )
        self._ready = True

    @property
    def names(self) -> list[str]:
        """Of the policies that can be asked for; none before they are loaded."""
        return list(self._policies) if self._ready else []

    def listed(self) -> dict[str, Any]:
        """The answer of `GET /v1/agents`."""
        return {"agents": [agent_document(policy, isinstance(policy.policy, SFP)) for policy in self._policies.values()]}

    def act(self, document: Any) -> dict[str, Any]:
        """The answer of `POST /v1/agents/act`; Problem where the request cannot be read."""
        request, order = self.intake.act(document)
        policy = self._policy(request.agent)
        acted = act(policy, order.instant, _generator(request.options), _filter(request.options))
        robots = actions_document(order.ids, acted)
        return {"agent": policy.agent, "model": model_document(policy), "tick_s": request.options.tick_s, "robots": robots}

    @property
    def streamed(self) -> int:
        """Actions that a stream sends for one state."""
        return self._policies[STREAMS].chunk if STREAMS in self._policies else 0

    def stream(self, order: FleetOrder) -> Iterator[Acted]:
        """The actions of a stream, for one state."""
        options = order.request.options
        return stream(self._policy(STREAMS), order.instant, _generator(options), options.tick_s, _filter(options))

    def _policy(self, agent: str) -> FleetPolicy:
        if agent not in self._policies:
            raise unknown_agent(agent, tuple(self._policies))
        return self._policies[agent]


def _generator(options: ActOptions) -> torch.Generator:
    return torch.Generator().manual_seed(options.seed)


def _filter(options: ActOptions) -> ShieldConfig | None:
    return ShieldConfig(tick=options.tick_s) if options.filter else None
