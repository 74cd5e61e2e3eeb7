"""From what is known about a task to the plan that the caller gets."""

from collections.abc import Iterator

import numpy as np

from maps.reason import Reason, ReasonCode
from planner.choose import Candidate
from planner.plan import Diagnostics, JointPlan, Plan, PlanStatus, RobotPlan
from planner.polish import returned
from planner.task import Task, late_reason
from safety_filter.verify import Violation, certify


def answer(task: Task) -> Plan:
    """The plan of a task: its best certified candidate, or the reasons why there is none."""
    if not task.found:
        return _failed(task)
    chosen, *others = returned(task)
    status = PlanStatus.PARTIAL if task.reasons else PlanStatus.SUCCEEDED
    return Plan(
        status,
        task.horizon,
        task.options.seed,
        _robots(task, chosen),
        chosen.certificate,
        chosen.metrics,
        tuple(JointPlan(_robots(task, other), other.certificate, other.metrics) for other in others),
        Diagnostics(task.proposed, len(task.found), chosen.rounds, task.cold_runs),
        task.timings(),
        tuple(_warnings(task, len(others) + 1)),
        task.model,
    )


def _warnings(task: Task, plans: int) -> Iterator[str]:
    if plans < task.options.alternatives:
        yield f"asked for {task.options.alternatives} different plans, found {plans}"
    if task.late:
        yield "the deadline cut the search for a better plan short"


def _robots(task: Task, candidate: Candidate) -> tuple[RobotPlan, ...]:
    place = {robot: row for row, robot in enumerate(task.kept)}
    return tuple(
        RobotPlan(name, candidate.control_points[place[k]], candidate.source)
        if k in place
        else RobotPlan(name, None, reason=task.reasons.get(k))
        for k, name in enumerate(task.asked.fleet.ids)
    )


def _failed(task: Task) -> Plan:
    reasons = dict(task.reasons)
    if task.late:
        reasons = dict.fromkeys(range(len(task.asked)), late_reason())
    elif not reasons or task.options.allow_partial:
        reasons.update(_unsolved(task))
    robots = tuple(RobotPlan(name, None, reason=reasons.get(k)) for k, name in enumerate(task.asked.fleet.ids))
    return Plan(
        PlanStatus.FAILED,
        task.asked.horizon,
        task.options.seed,
        robots,
        diagnostics=Diagnostics(task.proposed, 0, task.rounds, task.cold_runs),
        timings=task.timings(),
        model=task.model,
    )


def _violations(task: Task) -> tuple[Violation, ...]:
    if task.failure is None:
        return ()
    return certify(np.ascontiguousarray(task.failure.control_points), task.horizon, task.scenario).violations


def _unsolved(task: Task) -> dict[int, Reason]:
    """A reason for every robot still in the problem: whom it is in conflict with in the nearest miss, if with any."""
    violations = _violations(task)
    return {k: _reason(name, violations, task) for k, name in zip(task.kept, task.scenario.fleet.ids, strict=True)}


def _reason(name: str, violations: tuple[Violation, ...], task: Task) -> Reason:
    for violation in violations:
        others = [other for other in violation.robots if other != name]
        if name in violation.robots and others:
            message = (
                f"robots {name!r} and {others[0]!r} could not be kept apart: gap {violation.value:.4g} m, needed {violation.limit:.4g} m"
            )
            return Reason(ReasonCode.CONFLICT_UNRESOLVED, message, others[0], violation.value, violation.limit)
    own = next((v for v in violations if name in v.robots), None)
    detail = f": {own.code} {own.value:.4g} against {own.limit:.4g}" if own is not None else ""
    where = (
        f"no certified joint plan was found within {task.horizon:.4g} s"
        if task.scenario.horizon
        else "no horizon was found that can be certified"
    )
    return Reason(ReasonCode.NO_PLAN_FOUND, where + detail, None, own.value if own else None, own.limit if own else None)


def blame(task: Task) -> dict[int, Reason]:
    """The robot that stands most in the way in the nearest miss, with its reason."""
    violations = _violations(task)
    names = task.scenario.fleet.ids
    counts = [sum(name in violation.robots for violation in violations) for name in names]
    row = int(np.argmax(counts)) if violations else len(names) - 1
    return {task.kept[row]: _reason(names[row], violations, task)}
