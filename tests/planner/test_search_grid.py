"""Straight segments among walls: what is clear by the march is clear by a dense look, near the origin and across a huge map."""

import numpy as np
import pytest
import torch

from maps.sampling import Family, sample_scenario
from maps.scene import Scene
from maps.world import obstacle_distances
from planner.search_grid import segment_clear

CLEARANCE = 0.3  # m


@pytest.mark.parametrize("family", ["discs", "boxes", "rooms", "grid"])
def test_the_march_agrees_with_a_dense_look(family: Family):
    random = np.random.default_rng(4)
    scene = sample_scenario(random, 2, family).scene
    xmin, ymin, xmax, ymax = scene.extent
    ends = random.uniform((xmin, ymin), (xmax, ymax), size=(200, 2, 2))
    found = set()
    for a, b in ends:
        line = a + np.linspace(0.0, 1.0, 4000)[:, None] * (b - a)
        room = obstacle_distances(line, scene.world, 10.0)[0].min()
        inside = min((line.min(0) - (xmin, ymin)).min(), ((xmax, ymax) - line.max(0)).min()) >= CLEARANCE
        clear = segment_clear(*a, *b, scene.world, CLEARANCE)
        found.add(clear)
        if clear:
            assert inside
            assert room > 0.99 * CLEARANCE
        else:
            assert not inside or room < CLEARANCE + 1e-6
    assert found == {True, False}


@pytest.mark.parametrize(("aside", "clear"), [(1.295, False), (1.3001, True)])
def test_a_disc_far_along_a_long_segment_is_met(aside: float, clear: bool):
    world = Scene((-1e6, -1e6, 1e6, 1e6), torch.tensor([[8e5, aside, 1.0]], dtype=torch.float64)).world
    assert segment_clear(-9e5, 0.0, 9e5, 0.0, world, CLEARANCE) == clear
