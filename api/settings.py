"""What whoever runs the server may set: environment variables FLOWFLEET_<NAME>, or arguments."""

from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from maps.errors import InvalidInput


class Settings(BaseSettings):
    """Address, queue and caps of the server; every cap is answered before memory is spent on what it limits."""

    model_config = SettingsConfigDict(env_prefix="FLOWFLEET_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)  # 0: any free port
    log_level: str = "INFO"

    queue_size: PositiveInt = 64  # requests waiting for the planner; more are answered 503
    batch_size: PositiveInt = 32  # requests planned together at most
    batch_robots: PositiveInt = 1024  # robots planned together at most, unless one request alone has more
    default_deadline_ms: PositiveFloat = 10_000.0
    drain_s: PositiveFloat = 20.0  # s, how long a stopping server goes on answering what it has accepted

    max_body_bytes: PositiveInt = 8 * 1024 * 1024
    max_robots: PositiveInt = 256
    max_obstacles: PositiveInt = 5_000
    max_polygon_vertices: PositiveInt = 5_000  # holes counted
    max_map_vertices: PositiveInt = 20_000
    max_grid_cells: PositiveInt = 4_194_304
    max_horizon_s: PositiveFloat = 600.0
    max_candidates: PositiveInt = 128
    max_alternatives: PositiveInt = 8
    max_moving_obstacles: PositiveInt = 128
    max_moving_points: PositiveInt = 1_000  # of one moving obstacle
    max_deadline_ms: PositiveFloat = 600_000.0
    max_samples: PositiveInt = 10_000  # of one curve, returned or judged
    max_maps: PositiveInt = 256  # registered by callers
    max_maps_bytes: PositiveInt = 256 * 1024 * 1024  # memory of the registered maps
    recent_plans_bytes: PositiveInt = 64 * 1024 * 1024  # memory of the plans that requests may go on from by their id
    scene_cache_bytes: PositiveInt = 64 * 1024 * 1024  # memory of the inline maps that are remembered


def load_settings(**chosen: Any) -> Settings:
    """Settings from the environment, and in place of them those that are given.

    Raises:
        InvalidInput: one of them cannot be used; the message names it.
    """
    try:
        return Settings(**chosen)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(map(str, first["loc"]))
        raise InvalidInput(f"the setting {name.upper()} cannot be {str(first['input'])[:40]!r}", code="INVALID_SETTING") from None
