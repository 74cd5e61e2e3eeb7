"""The policies of a server, before it serves."""

import asyncio
import logging

import pytest

from api.agents.service import AgentService
from api.intake import Intake
from api.maps_store import MapsStore
from api.problems import Problem
from api.settings import Settings
from planner.fleet_policy import released_agents


@pytest.fixture
def service() -> AgentService:
    settings = Settings()
    return AgentService(Intake(settings, MapsStore(settings)), None, 2)


def test_what_is_loaded_is_told_in_the_log(service: AgentService, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flowfleet.agents"):
        service.load()
    assert [record.model for record in caplog.records] == [f"fleet-{agent}" for agent in released_agents()]


def test_calls_before_that_are_asked_to_come_again(service: AgentService) -> None:
    with pytest.raises(Problem) as refused:
        asyncio.run(service.aside(service.listed))
    assert (refused.value.status, refused.value.code) == (503, "NOT_READY")
    assert refused.value.headers["Retry-After"] == "2"
