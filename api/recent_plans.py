"""The latest answers by their plan ids, so that requests may go on from them."""

from __future__ import annotations

from api.shelf import Shelf


class RecentPlans:
    """Answers of some bytes together; those longest unused are forgotten first. Any thread may call."""

    def __init__(self, size: int) -> None:
        """Nothing is kept yet; `size` in bytes."""
        self._plans: Shelf[bytes] = Shelf(size)

    def keep(self, plan_id: str, answer: bytes) -> None:
        """Remembers an answer."""
        self._plans.keep(plan_id, answer, len(answer))

    def find_plan(self, plan_id: str) -> bytes | None:
        """The answer with this id, if it is still known."""
        return self._plans.find(plan_id)
