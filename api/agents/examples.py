"""What the API's description shows of agents; the tests send it."""

from __future__ import annotations

from typing import Any

_CURVE = {
    "degree": 5,
    "knots_s": [0, 0, 0, 0, 0, 0, 12, 12, 12, 12, 12, 12],
    "control_points": [[1, 2], [1, 2], [1, 2], [9, 2], [9, 2], [9, 2]],
}

ACT_REQUEST: dict[str, Any] = {
    "agent": "fql",
    "map": {"bounds": [0, 0, 10, 6], "obstacles": [{"type": "circle", "x": 5, "y": 4, "radius": 0.8}]},
    "robots": [
        {
            "id": "amr-1",
            "state": {"x": 3.4, "y": 2.05, "vx": 0.9, "vy": 0.0, "ax": 0.2, "ay": 0.0},
            "radius": 0.3,
            "limits": {"v_max": 1.5, "a_max": 1.0},
            "curve": _CURVE,
            "t_s": 4.6,
            "late_s": 0.2,
        }
    ],
    "others": [{"x": 6.4, "y": 1.8, "vx": -0.5, "vy": 0.0, "radius": 0.3}],
}

STREAM_STATE: dict[str, Any] = {key: value for key, value in ACT_REQUEST.items() if key != "agent"}

_MODEL = {"name": "fleet-fql", "version": "1", "sha256": "5d41402abc4b2a76b9719d911017c592ae3b0c44298fc1c149afbf4c8996fb92"}

AGENTS_ANSWER: dict[str, Any] = {
    "agents": [
        {
            "id": "fql",
            "model": _MODEL,
            "observation": 86,
            "chunk": 1,
            "streams": False,
            "trained": {"updates": 20000},
            "card": "# fleet-fql 1\n\nFollows a plan among strangers.",
        }
    ]
}

_ACTION = {"id": "amr-1", "acceleration": [-0.61, 0.79], "wanted": [0.12, 0.35], "changed": True, "safe": True}

ACT_ANSWER: dict[str, Any] = {"agent": "fql", "model": _MODEL, "tick_s": 0.1, "robots": [_ACTION]}

STREAM_MESSAGE: dict[str, Any] = {"look": 0, "tick": 0, "last": False, "robots": [_ACTION]}
