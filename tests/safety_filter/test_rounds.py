"""The compiled rounds, the torch rounds and a general convex solver are three ways to the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maps.scenario import ScenarioBatch
from maps.scene_batch import SceneBatch
from safety_filter.batch_problem import stack_problem
from safety_filter.kernel import advance
from safety_filter.problem import (
    FilterConfig,
    make_iterate,
    make_limits,
    make_schedule,
    make_tables,
    room_aimed_at,
    time_scale,
)
from safety_filter.reference import reference_step
from safety_filter.rounds import begin, look, one_round, tighten

COUNT = 24
CONFIGS = {
    "active": FilterConfig(penalty=0.2),
    "short": FilterConfig(penalty=0.2, length_weight=1.0, length_penalty=0.4),
    "two_mode": FilterConfig(penalty=0.2, two_mode=True),
    "stiff_walls": FilterConfig(penalty=0.1, wall_penalty=0.5, stage_rounds=3),
    "proposal": FilterConfig(penalty=0.2, proposal_weight=0.05),
}


def compiled(scenario, control, config, rounds):
    tau, aim = time_scale(scenario), room_aimed_at(scenario, config)
    tables = make_tables(control.shape[1], scenario.horizon, tau, config)
    iterate = make_iterate(control, tables, config.penalty)
    limits = make_limits(scenario, tables.value.shape[0], aim, config)
    advance(tables, limits, scenario.scene.world, make_schedule(scenario, aim, config), iterate, rounds)
    return iterate.control.reshape(control.shape[1], 2, -1).transpose(2, 0, 1), iterate.progress


@pytest.mark.parametrize("name", CONFIGS)
def test_compiled_and_torch_agree(mixed_batch, name):
    batch, scenes = mixed_batch
    config = CONFIGS[name]
    lines = batch.minimum_jerk(COUNT)
    problem = stack_problem(lines, batch, scenes, config)
    iterate = begin(problem, config.penalty)
    with torch.no_grad():
        for _ in range(25):
            iterate = one_round(problem, iterate)
    for k, scenario in enumerate(batch.scenarios):
        expected, progress = compiled(scenario, lines[k, : len(scenario)].numpy(), config, 25)
        assert np.abs(iterate.control[k, : len(scenario)].numpy() - expected).max() < 1e-4
        assert int(iterate.rounds[k]) == int(progress[0])


def test_rounds_move_something(mixed_batch):
    # the agreement above would be empty if nothing were in the way
    batch, scenes = mixed_batch
    problem = stack_problem(batch.minimum_jerk(COUNT), batch, scenes, CONFIGS["active"])
    with torch.no_grad():
        fixed, pairs, speed, bend = look(problem, begin(problem, 0.2))
    assert fixed.worst.max().item() > 0.1
    assert pairs.worst.max().item() > 0.1
    assert torch.maximum(speed.worst, bend.worst).max().item() > 0.0


@pytest.mark.parametrize("name", CONFIGS)
def test_step_solves_the_convex_problem(mixed_scenarios, name):
    # the corrections of a round fixed, the step minimises a convex quadratic: a second solver finds the same minimum
    config = replace(CONFIGS[name], stage_rounds=1000)
    scenario = mixed_scenarios[0]
    batch, scenes = ScenarioBatch.stack([scenario]), SceneBatch.stack([scenario.scene])
    problem = stack_problem(batch.minimum_jerk(COUNT), batch, scenes, config)
    iterate = begin(problem, config.penalty)
    with torch.no_grad():
        for _ in range(3):
            iterate = one_round(problem, iterate)
        after = one_round(problem, iterate).control[0].numpy()
    assert np.abs(after - reference_step(problem, iterate)).max() < 1e-5


def test_reference_takes_one_problem(mixed_batch):
    batch, scenes = mixed_batch
    problem = stack_problem(batch.minimum_jerk(COUNT), batch, scenes, CONFIGS["active"])
    with pytest.raises(ValueError, match="one problem"):
        reference_step(problem, begin(problem, 0.2))


def test_padding_and_companions_change_nothing(mixed_batch):
    batch, scenes = mixed_batch
    config = CONFIGS["active"]
    problem = stack_problem(batch.minimum_jerk(COUNT), batch, scenes, config)
    together = begin(problem, config.penalty)
    with torch.no_grad():
        for _ in range(12):
            together = one_round(problem, together)
    for k, scenario in enumerate(batch.scenarios):
        one, scene = ScenarioBatch.stack([scenario]), SceneBatch.stack([scenario.scene])
        alone_problem = stack_problem(one.minimum_jerk(COUNT), one, scene, config)
        alone = begin(alone_problem, config.penalty)
        with torch.no_grad():
            for _ in range(12):
                alone = one_round(alone_problem, alone)
        assert torch.allclose(together.control[k, : len(scenario)], alone.control[0], atol=1e-9)


def test_lengths_pull_as_their_gradient_does(mixed_batch):
    batch, scenes = mixed_batch
    config = FilterConfig(penalty=3.0)  # beyond length_penalty: lengths count in full
    bend = 0.05 * torch.randn(batch.minimum_jerk(COUNT).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    control = (batch.minimum_jerk(COUNT) + bend).requires_grad_()
    problem = stack_problem(control, batch, scenes, config)
    speed = (problem.velocity[:, None] @ control).norm(dim=-1)
    fast = speed.amin(-1) > 0.05 * speed.mean(-1)  # slower samples count as faster than they are
    length = problem.column("length_weight")[:, None] * speed.sum(-1)
    (gradient,) = torch.autograd.grad(length.sum(), control)
    taut = tighten(problem, begin(problem, config.penalty))
    assert fast.any()
    assert torch.allclose((taut @ control)[fast], gradient[fast], atol=1e-9)
    assert problem.column("length_weight").min() > 0.0


def test_lengths_count_less_while_the_penalty_is_low(mixed_batch):
    batch, scenes = mixed_batch
    config = FilterConfig(length_penalty=2.0)
    problem = stack_problem(batch.minimum_jerk(COUNT), batch, scenes, config)
    soft, half, full, hard = (tighten(problem, begin(problem, penalty)) for penalty in (0.02, 1.0, 2.0, 9.0))
    assert torch.allclose(100.0 * soft, full)
    assert torch.allclose(2.0 * half, full)
    assert torch.equal(hard, full)
