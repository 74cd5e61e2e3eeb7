"""What a task's answer tells of the weights that were used."""

import numpy as np
import pytest
import torch

from maps.fleet import Fleet
from maps.scenario import Scenario, ScenarioBatch
from maps.scene import Scene
from models.checkpoint import ModelIdentity
from planner.choose import Candidate, measure
from planner.outcome import answer
from planner.plan import PlanOptions, PlanStatus
from planner.task import Task
from safety_filter.verify import certify

WEIGHTS = ModelIdentity("generator", "1.2", "ab" * 32)


def task_of(found: bool) -> Task:
    """One robot on an open floor, with its straight line or with nothing found."""
    one, rest = torch.ones(1, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    scenario = Scenario(Scene(), Fleet(("r0",), 0.2 * one, one, one), rest, rest + 3.0, rest, rest, 10.0)
    task = Task.begin(scenario, PlanOptions())
    if found:
        points = np.ascontiguousarray(ScenarioBatch.stack([scenario]).minimum_jerk(16)[0].numpy())
        metrics = measure(points, scenario, 10.0)
        task.found.append(Candidate(points, "flow", certify(points, 10.0, scenario), metrics, 3))
    return task


@pytest.mark.parametrize("model", [None, WEIGHTS])
@pytest.mark.parametrize("found", [True, False])
def test_the_plan_names_the_weights_whatever_came_of_them(found, model):
    task = task_of(found)
    task.model = model
    plan = answer(task)
    assert plan.status is (PlanStatus.SUCCEEDED if found else PlanStatus.FAILED)
    assert plan.model == model


def test_a_new_task_has_used_no_weights():
    assert answer(task_of(True)).model is None
