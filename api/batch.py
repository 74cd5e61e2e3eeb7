"""Files of requests, one a line, planned in batches; files of plans, judged line by line."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from api.engine import Answer
from api.intake import Intake, Order
from api.judge import judge, read_plan
from api.maps_store import MapsStore
from api.onward import plan_orders
from api.plan_answer import answer_document
from api.plan_wire import to_json
from api.problems import Problem, of_invalid_input
from api.recent_plans import RecentPlans
from api.settings import Settings
from maps.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from planner.pipeline import Planner
    from planner.plan import Plan

log = logging.getLogger("flowfleet.batch")


@dataclass(frozen=True)
class Line:
    """What came of one line."""

    text: bytes  # to be written, without a line end
    good: bool  # planned, or found safe


class BatchPlanner:
    """The batch command's door: the same intake and planner as behind HTTP."""

    def __init__(self, planner: Planner, settings: Settings | None = None) -> None:
        """`planner` is used by the caller's thread."""
        self.settings = settings or Settings()
        self.plans = RecentPlans(self.settings.recent_plans_bytes)
        self.intake = Intake(self.settings, MapsStore(self.settings), self.plans)
        self._planner = planner

    def plan(self, lines: Iterable[bytes], batch_size: int) -> Iterator[Line]:
        """Answers in the order of the lines; a request's deadline starts with its batch.

        Args:
            lines: one request each.
            batch_size: how many are planned together.
        """
        source = iter(lines)
        while batch := list(islice(source, batch_size)):
            yield from self._batch(batch)

    def _batch(self, lines: list[bytes]) -> list[Line]:
        began = time.monotonic()
        orders = [self._order(line, began) for line in lines]
        good = [order for order in orders if isinstance(order, Order)]
        plans = iter(plan_orders(self._planner, good))
        return [_refused(order) if isinstance(order, Problem) else self._answered(order, next(plans), began) for order in orders]

    def _order(self, line: bytes, received: float) -> Order | Problem:
        if len(line) > self.settings.max_body_bytes:
            return Problem(413, "BODY_TOO_LARGE", f"a request may have {self.settings.max_body_bytes} bytes")
        try:
            return self.intake.order(line, received)
        except Problem as problem:
            return problem

    def _answered(self, order: Order, plan: Plan | Exception, began: float) -> Line:
        if isinstance(plan, Problem):
            return _refused(plan)
        if isinstance(plan, Exception):
            log.error("the planner failed", exc_info=plan)
            return _refused(Problem(500, "INTERNAL_ERROR", "the planner failed"))
        document = answer_document(order, Answer(plan, 0.0), began)
        text = to_json(document)
        self.plans.keep(document["plan_id"], text)
        return Line(text, plan.status.value == "succeeded")


def _refused(problem: Problem) -> Line:
    return Line(to_json({"status": "failed", "problem": problem.document()}), good=False)


def judge_lines(requests: list[bytes], plans: list[bytes]) -> Iterator[Line]:
    """One row for each request: what the certificate says of its plan."""
    settings = Settings()
    intake = Intake(settings, MapsStore(settings))
    for number, request in enumerate(requests, 1):
        plan = plans[number - 1] if number <= len(plans) else b""
        verdict, good = _judged(request, plan, intake)
        yield Line(f"{number}\t{verdict}".encode(), good)


def _judged(request: bytes, text: bytes, intake: Intake) -> tuple[str, bool]:
    if not text.strip():
        return "no plan", False
    try:
        document = orjson.loads(text)
        refused = _outcome(document)
        if refused:
            return refused, False
        order = intake.order(request, time.monotonic())
        verdict = judge(order, read_plan(document, intake.settings))
    except Problem as problem:
        return f"refused\t{problem.code}\t{problem.detail}", False
    except orjson.JSONDecodeError:
        return "refused\tMALFORMED_JSON\tthe plan is no JSON", False
    except InvalidInput as error:
        return f"refused\t{of_invalid_input(error).code}\t{error.message}", False
    return _row(verdict.document()), verdict.certificate.safe


def _outcome(document: Any) -> str | None:
    """Why there is nothing to judge in a plan that did not succeed."""
    if not isinstance(document, dict) or document.get("status", "succeeded") != "failed":
        return None
    problem = document.get("problem")
    if isinstance(problem, dict):
        return f"failed\t{problem.get('code')}"
    robots = document.get("robots")
    reasons = [r.get("reason") for r in robots if isinstance(r, dict)] if isinstance(robots, list) else []
    codes = sorted({str(reason.get("code")) for reason in reasons if isinstance(reason, dict)})
    return f"failed\t{','.join(codes)}"


def _row(document: dict[str, Any]) -> str:
    certificate, violations = document["certificate"], document["violations"]
    if certificate["safe"]:
        names = ("min_robot_gap", "min_obstacle_gap", "max_speed_ratio", "max_acceleration_ratio")
        return "safe\t" + "\t".join(f"{name}={certificate[name]:.4g}" for name in names if certificate[name] is not None)
    shown = [f"{v['code']} {','.join(v['robots'])} at {v['t_s'] or 0.0:.4g} s: {v['value']} against {v['limit']}" for v in violations[:3]]
    return "unsafe\t" + "\t".join(shown)
