"""Plans requests together; one that makes the planner fail does no harm to its companions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maps.scenario import Scenario
    from planner.pipeline import Planner
    from planner.plan import Plan, PlanOptions

log = logging.getLogger("flowfleet.engine")


def plan_together(planner: Planner, scenarios: Sequence[Scenario], options: Sequence[PlanOptions]) -> list[Plan | Exception]:
    """A plan for each scenario, in one batch; if that raises, one by one, and an exception for each that raises alone."""
    if not scenarios:
        return []
    try:
        return list(planner.plan_batch(scenarios, options))
    except Exception as error:
        if len(scenarios) == 1:
            log.exception("the planner failed")
            return [error]
        log.warning("a batch of %d requests failed and is planned one by one", len(scenarios), exc_info=True)
    return [plan_together(planner, [s], [o])[0] for s, o in zip(scenarios, options, strict=True)]
