"""The only place that wires the parts of a planner together."""

from pathlib import Path

from maps.kernel_cache import COMPILED, drop_stale_kernels
from planner.generation import load_generator
from planner.pipeline import Planner, PlannerConfig
from safety_filter.warm_start import load_warm_start


def load_planner(threads: int = 2) -> Planner:
    """A planner with the released settings and weights.

    Args:
        threads: problems worked on at once; one a core is best.

    Raises:
        InvalidCheckpoint: the released weights are missing or damaged.
    """
    root = Path(__file__).resolve().parents[1]
    drop_stale_kernels(root / name for name in COMPILED)
    return Planner(PlannerConfig(threads=threads), load_generator(), load_warm_start())
