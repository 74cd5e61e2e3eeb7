"""What a server can do: its caps, sources, weights, formats and the defaults of a request's options."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, Field

from api.desk import DEVICE
from api.encodings import Encoding
from api.plan_wire import model_document
from api.uploads import FORMATS
from api.wire import Options
from planner.plan import Source

if TYPE_CHECKING:
    from api.desk import Desk

CAPS = (
    "max_body_bytes",
    "max_robots",
    "max_obstacles",
    "max_polygon_vertices",
    "max_map_vertices",
    "max_grid_cells",
    "max_horizon_s",
    "max_candidates",
    "max_alternatives",
    "max_moving_obstacles",
    "max_moving_points",
    "max_deadline_ms",
    "max_samples",
    "max_maps",
)


class Formats(BaseModel):
    """Media types, and kinds of map files."""

    model_config = ConfigDict(extra="forbid")

    requests: list[str]
    plans: list[str]
    maps: list[str]


class CapabilitiesAnswer(BaseModel):
    """What the server can do."""

    model_config = ConfigDict(extra="forbid")

    caps: dict[str, float] = Field(description="more than this is refused")
    sources: list[str]
    models: list[dict[str, str]] = Field(description="weights in use; none until they are loaded")
    agents: list[str] = Field(description="released policies, which `POST /v1/agents/act` takes; none until they are loaded")
    device: str
    formats: Formats
    options: dict[str, Any] = Field(description="of a request, where it says nothing")
    versions: dict[str, str]


def capabilities(desk: Desk, versions: dict[str, str]) -> dict[str, Any]:
    """The answer as a document."""
    plans = [encoding.value for encoding in Encoding if encoding is not Encoding.ARROW or find_spec("pyarrow") is not None]
    options = Options().model_dump()
    return {
        "caps": {name: getattr(desk.settings, name) for name in CAPS},
        "sources": list(get_args(Source)),
        "models": [model_document(identity) for identity in desk.models],
        "agents": desk.agents.names,
        "device": DEVICE,
        "formats": {"requests": [Encoding.JSON.value, Encoding.MSGPACK.value], "plans": plans, "maps": ["inline", "nav2", *FORMATS]},
        "options": options | {"deadline_ms": desk.settings.default_deadline_ms},
        "versions": versions,
    }
