"""The wire form of a plan, from Plan; ready for orjson, arrays included."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import orjson

from maps.curve import DEGREE, curve_basis

if TYPE_CHECKING:
    from maps.reason import Reason
    from models.checkpoint import ModelIdentity
    from planner.plan import JointPlan, Plan, RobotPlan, Timings
    from safety_filter.verify import Certificate, Violation


@dataclass(frozen=True)
class AnswerConfig:
    """What goes with a plan into its answer."""

    samples_dt: float | None = None  # s; None: no samples
    max_samples: int = 10_000  # of one curve
    warnings: tuple[str, ...] = ()  # about the request


def to_json(document: dict[str, Any]) -> bytes:
    """A document as JSON; floats in full, what is not finite as null."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def plan_document(plan: Plan, config: AnswerConfig) -> dict[str, Any]:
    """The wire form of a plan, less the times that only the caller's door knows."""
    writer = _CurveWriter(plan.horizon, config)
    robots = [writer.robot(r) for r in plan.robots]
    alternatives = [_joint_document(j, writer) for j in plan.alternatives]
    return {
        "plan_id": uuid4().hex,
        "status": plan.status.value,
        "horizon_s": plan.horizon,
        "seed": plan.seed,
        "model": None if plan.model is None else model_document(plan.model),
        "robots": robots,
        "certificate": certificate_document(plan.certificate),
        "metrics": None if plan.metrics is None else asdict(plan.metrics),
        "alternatives": alternatives,
        "diagnostics": {name: getattr(plan.diagnostics, name) for name in ("candidates", "certified", "filter_rounds")},
        "timings_ms": timings_document(plan.timings),
        "warnings": [*config.warnings, *plan.warnings, *writer.warnings],
    }


def timings_document(timings: Timings, queue: float = 0.0) -> dict[str, float]:
    """Stage times, ms.

    Args:
        timings: of the planner, s.
        queue: how long the request waited for the planner, s.
    """
    stages = {"queue": queue} | asdict(timings)
    return {name: round(1e3 * seconds, 4) for name, seconds in stages.items()}


def _joint_document(joint: JointPlan, writer: _CurveWriter) -> dict[str, Any]:
    return {
        "robots": [writer.robot(r) for r in joint.robots],
        "certificate": certificate_document(joint.certificate),
        "metrics": asdict(joint.metrics),
    }


def model_document(model: ModelIdentity) -> dict[str, str]:
    """The wire form of which weights were used."""
    return {"name": model.name, "version": model.version, "sha256": model.sha256}


def certificate_document(certificate: Certificate | None) -> dict[str, Any] | None:
    """The wire form of a certificate."""
    if certificate is None:
        return None
    return {
        "safe": certificate.safe,
        "continuous": certificate.continuous,
        "min_robot_gap": _finite(certificate.min_robot_gap),
        "closest_pair": None if certificate.closest_pair is None else list(certificate.closest_pair),
        "closest_at_s": _finite(certificate.closest_at),
        "min_obstacle_gap": _finite(certificate.min_obstacle_gap),
        "max_speed_ratio": _finite(certificate.max_speed_ratio),
        "max_acceleration_ratio": _finite(certificate.max_acceleration_ratio),
    }


def violation_document(violation: Violation) -> dict[str, Any]:
    """The wire form of one broken rule."""
    return {
        "code": str(violation.code),
        "robots": list(violation.robots),
        "t_s": _finite(violation.time),
        "value": _finite(violation.value),
        "limit": _finite(violation.limit),
    }


def reason_document(reason: Reason | None) -> dict[str, Any] | None:
    """The wire form of why a robot has no plan."""
    if reason is None:
        return None
    return {
        "code": reason.code.value,
        "message": reason.message,
        "other": reason.other,
        "value": _finite(reason.value),
        "limit": _finite(reason.limit),
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


class _CurveWriter:
    """Writes the curves of one plan: their knots, and samples where they are asked for, are made once."""

    def __init__(self, horizon: float | None, config: AnswerConfig) -> None:
        self.horizon = horizon
        self.warnings: list[str] = []
        self._knots: dict[int, np.ndarray] = {}
        self._sampling: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._times = self._sample_times(config)

    def _sample_times(self, config: AnswerConfig) -> np.ndarray | None:
        """Multiples of the step, and the horizon as the last."""
        if config.samples_dt is None or not self.horizon:
            return None
        if self.horizon / config.samples_dt > config.max_samples:
            self.warnings.append(f"samples left out: samples_dt asks for more than {config.max_samples} of a curve")
            return None
        times = np.arange(0.0, self.horizon * (1.0 - 1e-9), config.samples_dt)
        return np.append(times, self.horizon)

    def robot(self, robot: RobotPlan) -> dict[str, Any]:
        """The wire form of one robot's share."""
        document: dict[str, Any] = {
            "id": robot.id,
            "status": "failed" if robot.control_points is None else "planned",
            "source": robot.source,
            "reason": reason_document(robot.reason),
            "curve": None,
            "samples": None,
        }
        if robot.control_points is not None and self.horizon is not None:
            control = np.ascontiguousarray(robot.control_points)
            knots = self._knots_of(len(control)) if robot.knots is None else robot.knots
            document["curve"] = {"degree": DEGREE, "knots_s": knots, "control_points": control}
            document["samples"] = self._samples(control) if robot.knots is None else self._samples_of(robot.knots, control)
        return document

    def _knots_of(self, count: int) -> np.ndarray:
        if count not in self._knots:
            self._knots[count] = self.horizon * curve_basis(count).knots
        return self._knots[count]

    def _samples(self, control: np.ndarray) -> dict[str, np.ndarray] | None:
        if self._times is None or self.horizon is None:
            return None
        count = len(control)
        if count not in self._sampling:
            basis, u = curve_basis(count), self._times / self.horizon
            self._sampling[count] = (basis.matrix(u), basis.matrix(u, 1) / self.horizon)
        place, speed = (np.ascontiguousarray((matrix @ control).T) for matrix in self._sampling[count])
        return {"t": self._times, "x": place[0], "y": place[1], "vx": speed[0], "vy": speed[1]}

    def _samples_of(self, knots: np.ndarray, control: np.ndarray) -> dict[str, np.ndarray] | None:
        """The same for a curve with knots of its own."""
        if self._times is None:
            return None
        from scipy.interpolate import BSpline

        curve = BSpline(knots, control, DEGREE)
        place, speed = (np.ascontiguousarray(curve(self._times, nu=order).T) for order in (0, 1))
        return {"t": self._times, "x": place[0], "y": place[1], "vx": speed[0], "vy": speed[1]}
