"""A typed client of the planning server.

    from api.client import PlannerClient, Request, Robot

    with PlannerClient("http://127.0.0.1:8000") as planner:
        plan = planner.plan(Request("depot", [Robot("amr-1", start=(2, 3), goal=(9, 4), radius=0.3, v_max=1.5, a_max=1.0)]))

`AsyncPlannerClient` is the same with `await`; `api.local.LocalPlanner` plans in this process, without a server.
Nothing of the planner is imported by this file.
"""

from __future__ import annotations

from api.client.asynchronous import AsyncPlannerClient
from api.client.errors import (
    Conflict,
    InvalidRequest,
    JobCancelled,
    JobEnded,
    JobFailed,
    NotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    PlannerError,
    RequestFault,
    ServerFault,
    TimedOut,
    Unreachable,
)
from api.client.events import Event
from api.client.fleets import AgentInfo, FleetActions, FleetState, RobotAction, RobotState, Stranger
from api.client.requests import Circle, Grid, Map, MapFile, MovingObstacle, Options, Polygon, Request, Robot
from api.client.results import Certificate, Job, MapInfo, Metrics, PlanResult, Reason, RobotResult, Validation, Verdict, Violation
from api.client.retries import RetryConfig
from api.client.synchronous import PlannerClient
from api.planning_service import PlanningService

__all__ = [
    "AgentInfo",
    "AsyncPlannerClient",
    "Certificate",
    "Circle",
    "Conflict",
    "Event",
    "FleetActions",
    "FleetState",
    "Grid",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobEnded",
    "JobFailed",
    "Map",
    "MapFile",
    "MapInfo",
    "Metrics",
    "MovingObstacle",
    "NotAllowed",
    "NotFound",
    "NotReady",
    "Options",
    "Overloaded",
    "PlanResult",
    "PlannerClient",
    "PlannerError",
    "PlanningService",
    "Polygon",
    "Reason",
    "Request",
    "RequestFault",
    "RetryConfig",
    "Robot",
    "RobotAction",
    "RobotResult",
    "RobotState",
    "ServerFault",
    "Stranger",
    "TimedOut",
    "Unreachable",
    "Validation",
    "Verdict",
    "Violation",
]
