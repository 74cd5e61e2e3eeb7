"""What plans, wherever it runs: behind HTTP (`PlannerClient`) or in this process (`LocalPlanner`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.client.errors import PlannerError
    from api.client.requests import AnyMap, AnyRequest
    from api.client.results import MapInfo, PlanResult, Validation, Verdict

OnError = Literal["return", "raise"]


class PlanningService(Protocol):
    """The calls that need no server. All of them raise PlannerError."""

    def plan(self, request: AnyRequest) -> PlanResult:
        """Plans a fleet; a plan that was not found is a result too."""
        ...

    def validate(self, request: AnyRequest) -> Validation:
        """Says what is proven impossible before any planning."""
        ...

    def check(self, request: AnyRequest, plan: Any) -> Verdict:
        """Judges a plan at every instant, whoever made it: a PlanResult, or the wire form of one."""
        ...

    @overload
    def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["raise"]) -> list[PlanResult]: ...
    @overload
    def plan_many(
        self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["return"] = "return"
    ) -> list[PlanResult | PlannerError]: ...
    def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: OnError = "return") -> list[Any]:
        """Plans many requests, `concurrency` of them at a time.

        Returns:
            For each request, in order, its plan, or the error that it met; the others are planned all the same.

        Raises:
            PlannerError: the first that is met, where `errors` is "raise".
            ValueError: `concurrency` is less than 1.
        """
        ...

    def maps(self) -> list[MapInfo]:
        """All maps."""
        ...

    def read_map(self, map_id: str) -> dict[str, Any]:
        """A map in its inline form."""
        ...

    def put_map(self, map_id: str, map: AnyMap) -> MapInfo:
        """Registers a map, in place of an earlier one of this id."""
        ...

    def delete_map(self, map_id: str) -> None:
        """Forgets a registered map."""
        ...

    def ready(self) -> bool:
        """Whether requests can be planned now."""
        ...

    def close(self) -> None:
        """Lets go of what is held."""
        ...
