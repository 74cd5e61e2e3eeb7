"""What is said of a request or a plan without planning: the same for every door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.judge import judge, read_check
from api.parsing import parse_json
from api.plan_wire import reason_document, to_json
from api.problems import of_invalid_input, under
from maps.errors import InvalidInput

if TYPE_CHECKING:
    from api.intake import Intake, Order


def validation_document(order: Order) -> dict[str, Any]:
    """What is proven impossible of an order, in its wire form."""
    reasons = (order.continuation or order.scenario).check()
    robots = [{"id": name, "reason": reason_document(reason)} for name, reason in zip(order.scenario.fleet.ids, reasons, strict=True)]
    return {"valid": not any(reasons), "robots": robots, "warnings": list(order.config.warnings)}


def verdict_body(body: bytes, intake: Intake, received: float) -> bytes:
    """The verdict on a plan as JSON.

    Args:
        body: the request and the plan, JSON.
        intake: reads the request.
        received: when it came, s on the clock of time.monotonic().

    Raises:
        Problem: 400 or 422, with pointers into the body.
    """
    order, plan = read_check(parse_json(body), intake, received)
    try:
        return to_json(judge(order, plan).document())
    except InvalidInput as error:
        raise under(of_invalid_input(error), "/plan") from None
