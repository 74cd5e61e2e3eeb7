"""The planning server's calls without a server: the same intake, planner and answers, in this process."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import orjson

from api.batch import BatchPlanner
from api.client.calls import check_body, document_of, to_json
from api.client.errors import PlannerError, error_of
from api.client.requests import Map, MapFile
from api.client.results import MapInfo, PlanResult, Validation, Verdict
from api.plan_wire import to_json as answer_json
from api.problems import Problem, of_invalid_input
from api.settings import Settings
from api.uploads import Upload, scene_of
from api.verdicts import validation_document, verdict_body
from maps.errors import InvalidInput, UnknownMap
from planner.assembly import load_planner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from api.client.requests import AnyMap, AnyRequest
    from api.maps_store import MapsStore
    from api.planning_service import OnError
    from planner.pipeline import Planner


class LocalPlanner:
    """Plans in this process. Threads may share it; one plans at a time. Every call raises PlannerError."""

    def __init__(self, settings: Settings | None = None, planner: Planner | None = None) -> None:
        """Loads the planner and compiles it, which takes seconds, and a minute or two the first time.

        Args:
            settings: the caps; from the environment by default.
            planner: one that is loaded already.
        """
        loaded = planner or load_planner()
        loaded.warm_up()  # deadlines are not for loading
        self.settings = settings or Settings()
        self._batches = BatchPlanner(loaded, self.settings)
        self._turn = threading.Lock()

    def plan(self, request: AnyRequest) -> PlanResult:
        """Plans a fleet; a plan that was not found is a result too."""
        return self.plan_many([request], 1, errors="raise")[0]

    def validate(self, request: AnyRequest) -> Validation:
        """Says what is proven impossible before any planning."""
        with _typed_errors():
            order = self._batches.intake.order(self._sent(to_json(document_of(request))), time.monotonic())
            return Validation.of(orjson.loads(answer_json(validation_document(order))))

    def check(self, request: AnyRequest, plan: Any) -> Verdict:
        """Judges a plan at every instant, whoever made it: a PlanResult, or the wire form of one."""
        with _typed_errors():
            body = self._sent(check_body(request, plan))
            return Verdict.of(orjson.loads(verdict_body(body, self._batches.intake, time.monotonic())))

    @overload
    def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["raise"]) -> list[PlanResult]: ...
    @overload
    def plan_many(
        self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["return"] = "return"
    ) -> list[PlanResult | PlannerError]: ...
    def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: OnError = "return") -> list[Any]:
        """Plans many requests, `concurrency` of them in one batch; a request's deadline starts with its batch.

        Returns:
            For each request, in order, its plan, or the error that it met; the others are planned all the same.

        Raises:
            PlannerError: the first that is met, where `errors` is "raise"; the batches after it are not planned then.
            ValueError: `concurrency` is less than 1.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; it must be at least 1")
        asked = list(requests)
        found: list[PlanResult | PlannerError] = []
        for first in range(0, len(asked), concurrency):
            found += self._batch(asked[first : first + concurrency])
            error = next((f for f in found if isinstance(f, PlannerError)), None)
            if error is not None and errors == "raise":
                raise error
        return found

    def _batch(self, requests: list[AnyRequest]) -> list[PlanResult | PlannerError]:
        bodies = [_body(request) for request in requests]
        good = [body for body in bodies if isinstance(body, bytes)]
        with self._turn:
            lines = iter([line.text for line in self._batches.plan(good, max(len(good), 1))])
        return [_read(next(lines)) if isinstance(body, bytes) else body for body in bodies]

    def maps(self) -> list[MapInfo]:
        """All maps, built in and registered."""
        return [MapInfo.of(self._maps.find(map_id).summary()) for map_id in self._maps.ids()]

    def read_map(self, map_id: str) -> dict[str, Any]:
        """A map in its inline form."""
        with _typed_errors():
            return orjson.loads(self._maps.find(map_id).body())

    def put_map(self, map_id: str, map: AnyMap) -> MapInfo:
        """Registers a map, in place of an earlier one of this id."""
        with _typed_errors():
            self._maps.refuse_id(map_id)
            if isinstance(map, MapFile):
                self._sent(b"".join(map.parts.values()))
                upload = Upload(parts=dict(map.parts))
            else:
                upload = Upload(json=self._sent(to_json(map.to_dict() if isinstance(map, Map) else map)))
            stored, _ = self._maps.put(map_id, scene_of(upload, self.settings))
            return MapInfo.of(stored.summary())

    def delete_map(self, map_id: str) -> None:
        """Forgets a registered map."""
        with _typed_errors():
            self._maps.delete(map_id)

    def ready(self) -> bool:
        """Whether requests can be planned now: always, once this is made."""
        return True

    def close(self) -> None:
        """Does nothing: there is no connection. Here so that a server's client can take this one's place."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _maps(self) -> MapsStore:
        return self._batches.intake.maps

    def _sent(self, body: bytes) -> bytes:
        """A body, unless a server would refuse it for its size."""
        limit = self.settings.max_body_bytes
        if len(body) > limit:
            raise Problem(413, "BODY_TOO_LARGE", f"the body may have {limit} bytes")
        return body


def _body(request: AnyRequest) -> bytes | PlannerError:
    try:
        return to_json(document_of(request))
    except PlannerError as error:
        return error


def _read(text: bytes) -> PlanResult | PlannerError:
    document = orjson.loads(text)
    return error_of(document["problem"]) if "problem" in document else PlanResult.of(document)


@contextmanager
def _typed_errors() -> Iterator[None]:
    """What the server would answer with, raised."""
    try:
        yield
    except Problem as problem:
        raise error_of(problem.document()) from None
    except InvalidInput as error:
        raise error_of(of_invalid_input(error).document()) from None
    except UnknownMap as error:
        raise error_of(Problem(404, "UNKNOWN_MAP", f"no map has the id {error.map_id[:80]!r}").document()) from None
