"""Why a robot has no plan: typed reasons, proven or merely not found."""

from dataclasses import dataclass
from enum import StrEnum


class ReasonCode(StrEnum):
    """Machine-readable reasons; those up to CANNOT_STOP_IN_TIME are proven before any solving."""

    START_OUTSIDE_MAP = "START_OUTSIDE_MAP"
    GOAL_OUTSIDE_MAP = "GOAL_OUTSIDE_MAP"
    START_OCCUPIED = "START_OCCUPIED"
    GOAL_OCCUPIED = "GOAL_OCCUPIED"
    START_OVERLAP = "START_OVERLAP"
    GOAL_OVERLAP = "GOAL_OVERLAP"
    GOAL_DISCONNECTED = "GOAL_DISCONNECTED"
    HORIZON_TOO_SHORT = "HORIZON_TOO_SHORT"
    START_SPEED_EXCEEDS_LIMIT = "START_SPEED_EXCEEDS_LIMIT"
    CANNOT_STOP_IN_TIME = "CANNOT_STOP_IN_TIME"
    NO_PLAN_FOUND = "NO_PLAN_FOUND"
    CONFLICT_UNRESOLVED = "CONFLICT_UNRESOLVED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class Reason:
    """Why one robot has no plan."""

    code: ReasonCode
    message: str
    other: str | None = None  # id of the other robot or moving obstacle, where there is one
    value: float | None = None  # what was found, in the unit that `message` names
    limit: float | None = None  # what would be needed, same unit
