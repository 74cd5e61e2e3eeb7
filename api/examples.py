"""Requests and answers that the API's description shows; the tests send them."""

from __future__ import annotations

from typing import Any

PLAN_REQUEST: dict[str, Any] = {
    "map": {"bounds": [0, 0, 10, 6], "obstacles": [{"type": "circle", "x": 5, "y": 3, "radius": 0.8}]},
    "horizon_s": 12,
    "robots": [
        {"id": "amr-1", "start": {"x": 1, "y": 2.5}, "goal": {"x": 9, "y": 3.5}, "radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}},
        {"id": "amr-2", "start": {"x": 9, "y": 2.5}, "goal": {"x": 1, "y": 3.5}, "radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}},
    ],
}

_CERTIFICATE = {
    "safe": True,
    "continuous": True,
    "min_robot_gap": 0.021,
    "closest_pair": ["amr-1", "amr-2"],
    "closest_at_s": 6.02,
    "min_obstacle_gap": 0.013,
    "max_speed_ratio": 0.84,
    "max_acceleration_ratio": 0.42,
}

PLAN_ANSWER: dict[str, Any] = {
    "plan_id": "0f2d7c7f3c8f4f2a9b1d5e6f7a8b9c0d",
    "status": "succeeded",
    "horizon_s": 12.0,
    "seed": 0,
    "model": None,
    "robots": [
        {
            "id": "amr-1",
            "status": "planned",
            "source": "straight",
            "reason": None,
            "curve": {
                "degree": 5,
                "knots_s": [0, 0, 0, 0, 0, 0, 12, 12, 12, 12, 12, 12],
                "control_points": [[1, 2.5], [1, 2.5], [1, 2.5], [9, 3.5], [9, 3.5], [9, 3.5]],
            },
            "samples": None,
        }
    ],
    "certificate": _CERTIFICATE,
    "metrics": {"path_length": 16.4, "length_ratio": 1.02, "mean_sq_acc": 0.05, "mean_sq_jerk": 0.03, "cost": 1.12},
    "alternatives": [],
    "diagnostics": {"candidates": 8, "certified": 6, "filter_rounds": 12},
    "timings_ms": {"queue": 0.1, "generate": 0.4, "search": 0.0, "filter": 2.1, "verify": 0.3, "total": 3.6},
    "warnings": [],
}

VALIDATION_ANSWER: dict[str, Any] = {
    "valid": False,
    "robots": [
        {
            "id": "amr-1",
            "reason": {
                "code": "GOAL_OCCUPIED",
                "message": "the goal of robot 'amr-1' is 0.12 m from an obstacle, needed 0.3 m",
                "other": None,
                "value": 0.12,
                "limit": 0.3,
            },
        },
        {"id": "amr-2", "reason": None},
    ],
    "warnings": [],
}

CHECK_REQUEST: dict[str, Any] = {
    "request": PLAN_REQUEST,
    "plan": {
        "robots": [
            {"id": "amr-1", "samples": {"t": [0, 6, 12], "x": [1, 5, 9], "y": [2.5, 1, 3.5]}},
            {"id": "amr-2", "curve": PLAN_ANSWER["robots"][0]["curve"]},
        ]
    },
}

CHECK_ANSWER: dict[str, Any] = {
    "certificate": _CERTIFICATE | {"safe": False, "min_robot_gap": -0.2},
    "violations": [{"code": "ROBOT_COLLISION", "robots": ["amr-1", "amr-2"], "t_s": 6.0, "value": -0.2, "limit": 0.0}],
}

INLINE_MAP: dict[str, Any] = {
    "bounds": [0, 0, 2, 1],
    "obstacles": [
        {"type": "circle", "x": 0.4, "y": 0.5, "radius": 0.1},
        {"type": "polygon", "vertices": [[1, 0.2], [1.4, 0.2], [1.2, 0.6]]},
    ],
    "grid": {"resolution": 0.5, "origin": [0, 0], "shape": [2, 4], "encoding": "packbits+zlib+base64", "data": "eJwTBAAAEgAS"},
}

MAP_SUMMARY: dict[str, Any] = {
    "id": "yard",
    "built_in": False,
    "bounds": [0, 0, 2, 1],
    "obstacles": 2,
    "grid": {"shape": [2, 4], "resolution": 0.5},
    "warnings": [],
}

MAPS_ANSWER: dict[str, Any] = {"maps": [MAP_SUMMARY]}
HEALTH_ANSWER: dict[str, Any] = {"status": "ready", "waiting": 0}
VERSION_ANSWER: dict[str, Any] = {"name": "flowfleet", "version": "0.1.0", "python": "3.11.9", "torch": "2.13.0"}

CAPABILITIES_ANSWER: dict[str, Any] = {
    "caps": {"max_robots": 256, "max_horizon_s": 600.0},
    "sources": ["flow", "search", "straight"],
    "models": [{"name": "generator", "version": "2", "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}],
    "agents": ["flowrl", "fql", "gfp", "sfp"],
    "device": "cpu",
    "formats": {
        "requests": ["application/json", "application/msgpack"],
        "plans": ["application/json", "application/msgpack", "application/vnd.apache.arrow.stream"],
        "maps": ["inline", "nav2", "movingai", "geojson", "wkt"],
    },
    "options": {"seed": 0, "candidates": 8, "alternatives": 1, "deadline_ms": 10000.0},
    "versions": VERSION_ANSWER,
}

METRICS_TEXT = """\
# HELP planner_requests_total answers by call and outcome
# TYPE planner_requests_total counter
planner_requests_total{endpoint="/v1/plans",outcome="succeeded"} 128.0
"""

PROBLEM: dict[str, Any] = {
    "type": "urn:flowfleet:problem:invalid-request",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "/robots/0/radius must be at least 1e-06",
    "instance": "/v1/plans",
    "code": "INVALID_REQUEST",
    "request_id": "4c1d5f0a9a7c4e0f8f9d3d3f3b0e6a55",
    "errors": [{"pointer": "/robots/0/radius", "code": "OUT_OF_RANGE", "message": "must be at least 1e-06", "value": 0, "limit": 1e-6}],
}

JOB_REQUEST: dict[str, Any] = {"requests": [PLAN_REQUEST, PLAN_REQUEST | {"options": {"seed": 1}}]}
JOB_ACCEPTED: dict[str, Any] = {"job_id": "5b0c3a52c1e94f0f8a4c1d2e3f405162", "status": "queued"}
JOB_ANSWER: dict[str, Any] = {
    "job_id": JOB_ACCEPTED["job_id"],
    "status": "running",
    "done": 1,
    "total": 2,
    "created_at": "2026-05-04T08:15:00.000Z",
    "finished_at": None,
}
JOB_CANCELLED: dict[str, Any] = JOB_ANSWER | {"status": "cancelled", "finished_at": "2026-05-04T08:15:02.250Z"}
JOBS_ANSWER: dict[str, Any] = {"jobs": [JOB_ANSWER], "next_cursor": None}
JOB_RESULT: dict[str, Any] = {"plans": [PLAN_ANSWER, {"status": "failed", "problem": PROBLEM}]}
JOB_EVENTS = (
    'event: status\ndata: {"job_id":"5b0c3a52c1e94f0f8a4c1d2e3f405162","status":"running","done":0,"total":2}\nid: 2\n\n'
    'event: plan\ndata: {"index":0,"plan_id":"0f2d7c7f3c8f4f2a9b1d5e6f7a8b9c0d","status":"succeeded","done":1,"total":2}\nid: 3\n\n'
)
