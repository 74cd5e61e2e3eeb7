"""Orders that may go on from a previous plan: what the planner is given of them, and its plans made whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.problems import Problem, of_invalid_input
from maps.errors import InvalidInput
from maps.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.intake import Order
    from planner.pipeline import Planner
    from planner.plan import Plan


def left_to_plan(order: Order) -> Plan | Scenario:
    """What the planner is given for an order; where there is nothing left to plan, the failed plan that says why.

    Raises:
        Problem: 422, the previous plan's curves have too many distinct times.
    """
    if order.continuation is None:
        return order.scenario
    try:
        return order.continuation.refusal(order.options) or order.continuation.subproblem
    except InvalidInput as error:
        raise of_invalid_input(error.under("/previous_plan")) from None


def as_a_whole(order: Order, plan: Plan) -> Plan:
    """The plan of an order from the plan of what was left to plan."""
    return plan if order.continuation is None else order.continuation.join(plan)


def plan_orders(planner: Planner, orders: Sequence[Order]) -> list[Plan | Exception]:
    """A plan for each order, in one batch; an exception where the planner failed, or the order cannot be planned."""
    out: dict[int, Plan | Exception] = {}
    left: dict[int, Scenario] = {}
    for k, order in enumerate(orders):
        try:
            what = left_to_plan(order)
        except Problem as problem:
            out[k] = problem
            continue
        if isinstance(what, Scenario):
            left[k] = what
        else:
            out[k] = what
    made = planner.plan_each(list(left.values()), [orders[k].options for k in left])
    for k, plan in zip(left, made, strict=True):
        out[k] = plan if isinstance(plan, Exception) else as_a_whole(orders[k], plan)
    return [out[k] for k in range(len(orders))]
