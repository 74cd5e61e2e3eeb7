"""What whoever runs the server may set: arguments, environment variables FLOWFLEET_<NAME>, or a TOML file.

An argument goes before the environment, the environment before the file, and the file before the defaults below.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from api.settings_file import read_settings_file
from maps.errors import InvalidInput


def _parts(value: Any) -> Any:
    """A list as a variable of the environment holds it: parts between commas."""
    return [part for part in map(str.strip, value.split(",")) if part] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_parts)]


_ASYMMETRIC = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
_SECRET = frozenset({"api_keys", "jwt_secret"})


class Settings(BaseSettings):
    """Address, queue and caps of the server; every cap is answered before memory is spent on what it limits."""

    model_config = SettingsConfigDict(env_prefix="FLOWFLEET_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)  # 0: any free port
    log_level: str = "INFO"

    queue_size: PositiveInt = 64  # requests waiting for the planner; more are answered 503
    batch_size: PositiveInt = 32  # requests planned together at most
    batch_robots: PositiveInt = 1024  # robots planned together at most, unless one request alone has more
    ageing_ms: NonNegativeFloat = 500.0  # of waiting that a step of priority is worth
    default_deadline_ms: PositiveFloat = 10_000.0
    drain_s: PositiveFloat = 20.0  # s, how long a stopping server goes on answering what it has accepted

    store_url: str = "sqlite:///flowfleet.db"  # or postgresql+psycopg://USER@HOST/NAME; "sqlite://": in memory, gone with the server
    keep_plans: bool = True  # the plans of single calls are stored too, to be read and gone on from by id
    max_kept_plans: PositiveInt = 100_000  # of single calls; the oldest go first
    keep_hours: PositiveFloat = 24.0  # ended jobs with their plans, other plans, and answers to idempotency keys
    jobs_in_flight: PositiveInt = 32  # requests of jobs that are with the planner at once; half of queue_size at most
    jobs_priority: int = Field(default=6, ge=0, le=9)  # of requests of jobs that name none
    jobs_lease_s: PositiveFloat = 15.0  # after which another server on the same store takes over what a dead one had
    max_job_attempts: PositiveInt = 10  # ends of the server during which a request may have been planned, before it is given up
    max_job_requests: PositiveInt = 1_000  # of one job
    max_job_bytes: PositiveInt = 32 * 1024 * 1024  # body of POST /v1/jobs
    max_jobs: PositiveInt = 1_000  # waiting or running; more are answered 503

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

    log_format: Literal["auto", "json", "console"] = "auto"  # auto: console on a terminal, else JSON
    telemetry: bool = False  # spans, metrics and logs by OpenTelemetry, to where the OTEL_* variables say

    weights: Path | None = None  # folder of generator.* and warm-start.*; None: those of the package
    planner_threads: PositiveInt | None = None  # problems worked on at once; None: the cores at hand, at most 2

    api_keys: Secrets = ()  # whoever calls has one of them; none, and no JWT: open to all
    api_keys_file: Path | None = None  # more keys, one a line; empty lines and those after # do not count
    jwt_secret: SecretStr | None = None  # of HMAC tokens, 32 bytes or more
    jwt_public_key: str | None = None  # PEM, of RSA or EC tokens
    jwt_algorithms: Texts = ()  # none: HS256 with a secret; with a public key one must be named
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    metrics_open: bool = True  # false: /metrics needs a key too
    rate_per_s: NonNegativeFloat = 0.0  # requests of one caller, on average; 0: any number
    rate_burst: PositiveInt = 20  # requests that a caller who was quiet may send at once
    max_inflight_per_key: NonNegativeInt = 0  # requests of one caller at a time; 0: any number
    max_callers: PositiveInt = 10_000  # callers whose rate is remembered
    cors_origins: Texts = ()  # origins whose pages may call; "*": all

    drain_delay_s: NonNegativeFloat = 0.0  # s, how long a stopping server still takes requests while it says that it is not ready
    body_timeout_s: PositiveFloat = 30.0  # s, for a request's body to come, and for a caller to take what is sent
    max_bodies_bytes: PositiveInt = 256 * 1024 * 1024  # of all bodies that are being read or answered
    header_timeout_s: PositiveFloat = 10.0  # s, for a request's head to come
    keep_alive_s: PositiveInt = 75  # s, how long an idle connection stays open
    max_streams: PositiveInt = 64  # WS /v1/agents/stream connections at a time
    max_connections: PositiveInt = 1_000  # at most; beyond, the one that has waited longest without a request is closed

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        """Settings that only make sense together."""
        if self.jwt_secret is not None and self.jwt_public_key is not None:
            raise ValueError("JWT_SECRET and JWT_PUBLIC_KEY exclude each other")
        allowed = {"HS256", "HS384", "HS512"} if self.jwt_public_key is None else _ASYMMETRIC
        if not set(self.jwt_algorithms) <= allowed:
            raise ValueError(f"JWT_ALGORITHMS may be {', '.join(sorted(allowed))}")
        if self.jwt_public_key is not None and not self.jwt_algorithms:
            raise ValueError("JWT_PUBLIC_KEY needs JWT_ALGORITHMS")
        if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value().encode()) < 32:
            raise ValueError("JWT_SECRET needs 32 bytes or more")
        return self


def load_settings(file: Path | None = None, **chosen: Any) -> Settings:
    """Settings from a file and the environment, and in place of them those that are given.

    Args:
        file: TOML, `name = value`.
        chosen: by name; None is as if not given.

    Raises:
        InvalidInput: one of them is unknown or cannot be used; the message names it.
    """
    given = {key: value for key, value in chosen.items() if value is not None}
    written = read_settings_file(file) if file is not None else {}
    for name in written.keys() - Settings.model_fields.keys():
        near = get_close_matches(name, Settings.model_fields, 1)
        hint = f"; {near[0]} is one" if near else ""
        raise InvalidInput(f"{file}: no setting has the name {name[:40]!r}{hint}", code="INVALID_SETTING")
    from_environment = EnvSettingsSource(Settings)()
    try:
        return Settings(**{key: value for key, value in written.items() if key not in from_environment} | given)
    except ValidationError as error:
        raise InvalidInput(_complaint(error), code="INVALID_SETTING") from None


def _complaint(error: ValidationError) -> str:
    """What is wrong with the first setting that is, without the values of those that are secret."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return f"the settings do not agree: {first['msg'].removeprefix('Value error, ')}"
    name = "_".join(map(str, first["loc"]))
    if first["loc"][0] in _SECRET:
        return f"the setting {name.upper()} cannot be used"
    return f"the setting {name.upper()} cannot be {str(first['input'])[:40]!r}"
