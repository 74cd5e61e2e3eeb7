"""What the server counts, for Prometheus: a registry of its own for each application, so that several may live in one process."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.checkpoint import ModelIdentity
    from planner.plan import Plan

ORDER = ("straight", "flow", "search")  # sources as the planner tries them
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METRES = (0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms of one server; safe to use from several threads."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = own = CollectorRegistry()
        self._requests = Counter("planner_requests", "answers by call and outcome", ["endpoint", "outcome"], registry=own)
        self._seconds = Histogram(
            "planner_request_seconds", "wall clock from receipt to the answer's end", ["endpoint"], buckets=_SECONDS, registry=own
        )
        self._queue = Histogram("planner_queue_seconds", "how long requests waited for the planner", buckets=_SECONDS, registry=own)
        self._batch_size = Histogram("planner_batch_size", "requests planned together", buckets=_SIZES, registry=own)
        self._batches = Counter("planner_batches", "batches planned", registry=own)
        self._stage = Histogram("planner_stage_seconds", "wall clock of a plan's stages", ["stage"], buckets=_SECONDS, registry=own)
        self._depth = Gauge("planner_queue_depth", "requests that wait for the planner", registry=own)
        self._inflight = Gauge("planner_inflight", "requests being answered", registry=own)
        self._rejected = Counter("planner_rejected", "requests turned away before planning", ["reason"], registry=own)
        self._robots = Counter("planner_robots", "robots of answered requests", ["outcome"], registry=own)
        self._clearance = Histogram("planner_min_clearance_m", "smallest certified gap of each plan", buckets=_METRES, registry=own)
        self._verified = Counter("planner_verified", "filtered proposals by what the certificate says", ["result"], registry=own)
        self._fallback = Counter(
            "planner_fallback", "plans from another source than the first choice, and filter runs begun again", ["kind"], registry=own
        )
        self._model = Gauge("planner_model_info", "weights in use; always 1", ["name", "version", "hash", "device"], registry=own)
        ProcessCollector(registry=own)

    def watch(self, depth: Callable[[], float], inflight: Callable[[], float]) -> None:
        """Says where the numbers of waiting requests, and of those being answered, are found whenever somebody looks."""
        self._depth.set_function(depth)
        self._inflight.set_function(inflight)

    def model(self, identity: ModelIdentity, device: str) -> None:
        """Weights that are in use."""
        self._model.labels(identity.name, identity.version, identity.sha256, device).set(1)

    def answered(self, endpoint: str, outcome: str, seconds: float) -> None:
        """An answer has gone out.

        Args:
            endpoint: the call's path, with names in place of its parts.
            outcome: a plan's status, else the HTTP status.
            seconds: from receipt.
        """
        self._requests.labels(endpoint, outcome).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def planned(self, plan: Plan, queued: float, sources: Sequence[str] = ORDER) -> None:
        """A plan was made, or not found.

        Args:
            plan: the answer.
            queued: how long it waited, s.
            sources: those that the request allowed.
        """
        self._queue.observe(queued)
        for stage in ("generate", "search", "filter", "verify"):
            self._stage.labels(stage).observe(getattr(plan.timings, stage))
        for robot in plan.robots:
            self._robots.labels("failed" if robot.control_points is None else "planned").inc()
        found = plan.diagnostics
        self._verified.labels("certified").inc(found.certified)
        self._verified.labels("refused").inc(max(0, found.candidates - found.certified))
        self._fallback.labels("cold_rerun").inc(found.cold_runs)
        if plan.certificate is not None:
            gaps = (plan.certificate.min_robot_gap, plan.certificate.min_obstacle_gap)
            self._clearance.observe(min((gap for gap in gaps if gap is not None), default=inf))
            self._grown_from({robot.source for robot in plan.robots if robot.source}, sources)

    def _grown_from(self, used: set[str], sources: Sequence[str]) -> None:
        first = next((source for source in ORDER if source in sources), None)
        for source in used - {first}:
            self._fallback.labels(source).inc()

    def stage(self, name: str, seconds: float) -> None:
        """A stage outside the planner took some time."""
        self._stage.labels(name).observe(seconds)

    def batch(self, size: int) -> None:
        """Requests are planned together."""
        self._batches.inc()
        self._batch_size.observe(size)

    def rejected(self, reason: str) -> None:
        """A request was turned away.

        Args:
            reason: one of few words, such as a problem's code.
        """
        self._rejected.labels(reason.lower()).inc()

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All of it in an exposition format that the caller accepts, and its media type."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind
