"""The only place that wires the parts of a planner together."""

from pathlib import Path

from maps.kernel_cache import COMPILED, drop_stale_kernels
from planner.generation import load_generator
from planner.pipeline import Planner, PlannerConfig
from safety_filter.warm_start import load_warm_start


def load_planner(threads: int = 2, weights: Path | None = None) -> Planner:
    """A planner with the released settings.

    Args:
        threads: problems worked on at once; one a core is best.
        weights: folder of those of the generator and the warm start; None: those released with the package.

    Raises:
        InvalidCheckpoint: the weights are missing, damaged or foreign.
    """
    root = Path(__file__).resolve().parents[1]
    drop_stale_kernels(root / name for name in COMPILED)
    return Planner(PlannerConfig(threads=threads), load_generator(weights, streams=threads), load_warm_start(weights, streams=threads))
