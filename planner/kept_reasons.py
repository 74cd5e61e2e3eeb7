"""Why a continuation of an earlier plan fails: broken rules of curves that stay, as reasons of their robots."""

from collections.abc import Iterable, Mapping

from maps.reason import Reason, ReasonCode
from maps.scenario import Scenario
from safety_filter.verify import Violation

# What is kept cannot be changed, so a rule that it breaks is a proof, as those of an impossible start are.
OF_WHAT_IS_KEPT = {
    "ROBOT_COLLISION": ReasonCode.START_OVERLAP,
    "OBSTACLE_COLLISION": ReasonCode.START_OCCUPIED,
    "MOVING_OBSTACLE_COLLISION": ReasonCode.START_OCCUPIED,
    "OUT_OF_BOUNDS": ReasonCode.START_OUTSIDE_MAP,
    "SPEED_LIMIT": ReasonCode.START_SPEED_EXCEEDS_LIMIT,
    "ACCELERATION_LIMIT": ReasonCode.NO_PLAN_FOUND,
}
OF_THE_JOINED_PLAN = {"ROBOT_COLLISION": ReasonCode.CONFLICT_UNRESOLVED}

_WORDS = {
    "ROBOT_COLLISION": "leaves a gap of {value:.6g} m to robot {other!r}, needed {limit:.6g} m",
    "OBSTACLE_COLLISION": "leaves a gap of {value:.6g} m to an obstacle, needed {limit:.6g} m",
    "MOVING_OBSTACLE_COLLISION": "leaves a gap of {value:.6g} m to a moving obstacle, needed {limit:.6g} m",
    "OUT_OF_BOUNDS": "leaves a gap of {value:.6g} m to the bounds, needed {limit:.6g} m",
    "SPEED_LIMIT": "reaches {value:.6g} m/s and may reach {limit:.6g} m/s",
    "ACCELERATION_LIMIT": "reaches {value:.6g} m/s^2 and may reach {limit:.6g} m/s^2",
}


def reasons_of(violations: Iterable[Violation], scenario: Scenario, codes: Mapping[str, ReasonCode], what: str) -> dict[int, Reason]:
    """The first reason of every robot that breaks a rule.

    Args:
        violations: what the certificate found.
        scenario: whose robots they are.
        codes: reasons by the violations' codes; NO_PLAN_FOUND for those that it does not name.
        what: what is said to break the rule, such as "the joined curve".
    """
    out: dict[int, Reason] = {}
    for violation in violations:
        for name in violation.robots:
            other = next((other for other in violation.robots if other != name), None)
            words = _WORDS.get(violation.code, violation.code + ": {value:.6g} against {limit:.6g}")
            found = words.format(value=violation.value, limit=violation.limit, other=other)
            when = "" if violation.time is None else f" at {violation.time:.4g} s"
            code = codes.get(violation.code, ReasonCode.NO_PLAN_FOUND)
            reason = Reason(code, f"{what} of robot {name!r} {found}{when}", other, violation.value, violation.limit)
            out.setdefault(scenario.fleet.ids.index(name), reason)
    return out
