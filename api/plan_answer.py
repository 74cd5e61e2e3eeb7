"""A plan as the answer to a request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from api.plan_wire import plan_document

if TYPE_CHECKING:
    from api.engine import Answer
    from api.intake import Order


def answer_document(order: Order, answer: Answer, received: float) -> dict[str, Any]:
    """The wire form of the answer to an order.

    Args:
        order: the request.
        answer: its plan.
        received: when the request came, s on the clock of time.monotonic().
    """
    document = plan_document(answer.plan, order.config)
    document["timings_ms"]["queue"] = round(1e3 * answer.queued, 4)
    document["timings_ms"]["total"] = round(1e3 * (time.monotonic() - received), 4)
    return document
