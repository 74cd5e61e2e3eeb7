"""The only place that wires the parts of a planner together."""

from planner.pipeline import Planner, PlannerConfig


def load_planner(threads: int = 2) -> Planner:
    """A planner with the released settings.

    Args:
        threads: problems worked on at once; one a core is best.
    """
    return Planner(PlannerConfig(threads=threads))
