"""Plans two robots, sends one of them elsewhere while both are on their way, then lets one keep its curve.

Needs a running server (flowfleet serve) and nothing but Python:

    python examples/replan.py [http://127.0.0.1:8000]
"""

import json
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

Post = Callable[[str, dict[str, Any]], dict[str, Any]]

WORLD = {"bounds": [0, 0, 10, 6], "obstacles": [{"type": "circle", "x": 5, "y": 3, "radius": 0.8}]}
SIZE = {"radius": 0.3, "limits": {"v_max": 1.5, "a_max": 1.0}}


def replan(post: Post) -> list[dict[str, Any]]:
    """The three plans, each going on from the one before."""
    first = post(
        "/v1/plans",
        {
            "map": WORLD,
            "horizon_s": 12,
            "robots": [
                {"id": "a", "start": {"x": 1, "y": 2.5}, "goal": {"x": 9, "y": 3.5}, **SIZE},
                {"id": "b", "start": {"x": 9, "y": 2.5}, "goal": {"x": 1, "y": 3.5}, **SIZE},
            ],
        },
    )

    # It is 2.6 s later, and "a" has a new goal. Planning takes well below 0.4 s, so both stay on their curves up to 3 s.
    second = post(
        "/v1/plans",
        {
            "map": WORLD,
            "horizon_s": 15,
            "robots": [{"id": "a", "goal": {"x": 8.5, "y": 1}, **SIZE}, {"id": "b", "goal": {"x": 1, "y": 3.5}, **SIZE}],
            "previous_plan_id": first["plan_id"],
            "commit_s": 3.0,
        },
    )

    # Now "b" must not be disturbed: it keeps its whole curve, and "a" goes around it. A third robot joins where it stands.
    third = post(
        "/v1/plans",
        {
            "map": WORLD,
            "horizon_s": 18,
            "robots": [
                {"id": "a", "goal": {"x": 9, "y": 5}, **SIZE},
                {"id": "b", "goal": {"x": 1, "y": 3.5}, "frozen": True, **SIZE},
                {"id": "c", "start": {"x": 1, "y": 1}, "goal": {"x": 5, "y": 1}, **SIZE},
            ],
            "previous_plan_id": second["plan_id"],
            "commit_s": 6.0,
        },
    )
    return [first, second, third]


def _post_to(address: str) -> Post:
    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    return post


if __name__ == "__main__":
    for plan in replan(_post_to(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")):
        print(plan["status"], plan["plan_id"], "smallest gap", plan["certificate"]["min_robot_gap"], "m")
