"""The latest answers by their plan ids, so that requests may go on from them."""

from __future__ import annotations

import threading
from collections import OrderedDict


class RecentPlans:
    """Answers of some bytes together; those longest unused are forgotten first. Any thread may call."""

    def __init__(self, size: int) -> None:
        """Nothing is kept yet; `size` in bytes."""
        self._size = size
        self._used = 0
        self._plans: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, plan_id: str, answer: bytes) -> None:
        """Remembers an answer."""
        with self._lock:
            self._used += len(answer) - len(self._plans.pop(plan_id, b""))
            self._plans[plan_id] = answer
            while self._used > self._size:
                self._used -= len(self._plans.popitem(last=False)[1])

    def find_plan(self, plan_id: str) -> bytes | None:
        """The answer with this id, if it is still known."""
        with self._lock:
            if plan_id in self._plans:
                self._plans.move_to_end(plan_id)
            return self._plans.get(plan_id)
