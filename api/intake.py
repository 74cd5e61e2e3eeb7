"""From the bytes of a request to a scenario and options: the same way for HTTP and for the batch command."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from api.caps import check_request
from api.map_wire import InlineMap, MapReference, outside_bounds, scene_bytes, to_scene
from api.parsing import parse_json
from api.plan_wire import AnswerConfig
from api.previous import continuation, left_behind, read_previous
from api.problems import of_invalid_input, of_unknown_map, of_validation
from api.shelf import Shelf
from api.wire import PlanRequest, to_options, to_scenario
from maps.errors import InvalidInput, UnknownMap

if TYPE_CHECKING:
    from api.map_wire import AnyMap
    from api.maps_store import MapsStore
    from api.previous import PlanLookup
    from api.settings import Settings
    from maps.scenario import Scenario
    from maps.scene import Scene
    from planner.continuation import Continuation
    from planner.plan import PlanOptions


@dataclass(frozen=True)
class Order:
    """A request that may be planned."""

    scenario: Scenario
    options: PlanOptions
    priority: int
    config: AnswerConfig
    continuation: Continuation | None = None  # what is kept of an earlier plan, where there is one; `scenario` is the whole


class SceneCache:
    """Scenes of inline maps by what they were made of."""

    def __init__(self, size: int) -> None:
        """An empty cache for scenes of `size` bytes together."""
        self._scenes: Shelf[tuple[Scene, tuple[str, ...]]] = Shelf(size)

    def scene(self, wire: InlineMap, document: Any) -> tuple[Scene, tuple[str, ...]]:
        """The scene of an inline map and warnings about it.

        Args:
            wire: the map.
            document: the same as it came, for the key.
        """
        key = blake2b(orjson.dumps(document), digest_size=16).digest()
        entry = self._scenes.find(key)
        if entry is None:
            scene = to_scene(wire)
            entry = (scene, tuple(outside_bounds(scene)))
            self._scenes.keep(key, entry, scene_bytes(scene))
        return entry


class Intake:
    """Reads requests; knows the maps, the caps and the plans that may be gone on from."""

    def __init__(self, settings: Settings, maps: MapsStore, plans: PlanLookup | None = None) -> None:
        """Nothing is read yet. Without `plans` no plan is known by its id."""
        self.settings = settings
        self.maps = maps
        self.plans = plans
        self._cache = SceneCache(settings.scene_cache_bytes)

    def order(self, body: bytes, received: float) -> Order:
        """The order in the bytes of a request.

        Args:
            body: JSON.
            received: when it came, s on the clock of time.monotonic().

        Raises:
            Problem: 400 or 422, with pointers into the body.
        """
        return self.order_of(parse_json(body), received)

    def order_of(self, document: Any, received: float) -> Order:
        """The order in a parsed request; see `order`."""
        try:
            check_request(document, self.settings)
            request = PlanRequest.model_validate(document)
            scene, warnings = self.scene(request.map, document)
            previous = read_previous(request, self.settings, self.plans)
            scenario = to_scenario(request, scene, previous.starts if previous else None)
            going_on = continuation(request, previous, scenario) if previous else None
        except ValidationError as error:
            raise of_validation(error) from None
        except InvalidInput as error:
            raise of_invalid_input(error) from None
        except UnknownMap as error:
            raise of_unknown_map(error, "/map/id") from None
        options = to_options(request.options, received, self.settings.default_deadline_ms)
        warnings += left_behind(request, previous) if previous else ()
        config = AnswerConfig(request.options.samples_dt, self.settings.max_samples, warnings)
        return Order(scenario, options, request.options.priority, config, going_on)

    def scene(self, wire: AnyMap, document: dict[str, Any]) -> tuple[Scene, tuple[str, ...]]:
        """The scene of a request's map and warnings about it.

        Args:
            wire: the map.
            document: the request as it came, with the map under "map".

        Raises:
            InvalidInput: with a pointer into the request.
            UnknownMap: no map has this id.
        """
        if isinstance(wire, MapReference):
            stored = self.maps.find(wire.id)
            return stored.scene, stored.warnings
        try:
            return self._cache.scene(wire, document["map"])
        except InvalidInput as error:
            raise error.under("/map") from None
