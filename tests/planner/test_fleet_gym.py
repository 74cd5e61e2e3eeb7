"""One robot of a fleet as an environment of Gymnasium."""

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="needs the extra policies")


@pytest.mark.filterwarnings("ignore:.*Box observation space")
def test_a_robot_lives_among_others() -> None:
    """Gymnasium's own checker finds nothing wrong; an episode by the nominal action arrives; its seed makes it the same again."""
    from gymnasium.utils.env_checker import check_env

    from planner.fleet_gym import FleetTask, FleetTaskConfig
    from planner.fleet_view import OBSERVATION

    task = FleetTask(FleetTaskConfig(robots=3, random=0, library=2))
    check_env(task, skip_render_check=True)
    assert task.members.first + task.members.members * task.members.features == OBSERVATION
    ends = []
    for _ in range(2):
        seen, _ = task.reset(seed=5)
        total, over, told = 0.0, False, {}
        while not over:
            simulation = task.simulation
            assert simulation is not None
            seen, reward, terminated, truncated, told = task.step(simulation.nominal()[0, 0].numpy())
            total, over = total + reward, terminated or truncated
        ends.append((total, told["success"], seen))
    assert ends[0][1] == 1.0
    assert ends[0][0] > 0.0
    np.testing.assert_array_equal(ends[0][2], ends[1][2])
