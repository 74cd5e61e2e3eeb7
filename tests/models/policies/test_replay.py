import numpy as np
import pytest
import torch

from models.policies.replay import DrawConfig, Experience, ReplayBuffer, ReplayConfig, read_npz


def experience(first, count, terminated=(), cut_off=()):
    """Step k has observation k, action -k, reward k, and leads to k + 1."""
    number = torch.arange(first, first + count)
    ends = torch.tensor([int(k) in {*terminated, *cut_off} for k in number])
    over = torch.tensor([int(k) in set(terminated) for k in number])
    value = number.float()[:, None]
    return Experience(value, -value, number.float(), over, ends, value + 1.0)


@pytest.fixture
def ring():
    """Steps 0 to 9: one episode terminates at 3, one is cut off at 6."""
    buffer = ReplayBuffer(ReplayConfig(1, 1, 10))
    buffer.add(experience(0, 10, terminated=[3], cut_off=[6]))
    return buffer


def told(transitions, *names):
    return {name: getattr(transitions, name).flatten().tolist() for name in names}


def test_single_steps_come_back_as_they_went_in(ring):
    """Removed: terminal apart from ended: another mask; removed: what is seen last in an episode: another next observation."""
    found = ring.gather(torch.tensor([9, 6, 3, 0]), DrawConfig())
    assert told(found, "observation", "action", "reward", "next_observation") == {
        "observation": [0.0, 3.0, 6.0, 9.0],
        "action": [0.0, -3.0, -6.0, -9.0],
        "reward": [0.0, 3.0, 6.0, 9.0],
        "next_observation": [1.0, 4.0, 7.0, 10.0],
    }
    assert told(found, "mask", "steps", "valid") == {"mask": [1.0, 0.0, 1.0, 1.0], "steps": [1.0] * 4, "valid": [1.0] * 4}
    assert found.has_next.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert float(found.next_action[0]) == -1.0


def test_returns_of_several_steps_stop_at_ends(ring):
    """Removed: the stop at `ended`: the returns from 2, 3 and 5 run on into other episodes."""
    found = ring.gather(torch.tensor([9, 7, 6, 4, 0]), DrawConfig(steps=3, discount=0.5))  # from steps 0, 2, 3, 5 and 9
    assert found.reward.tolist() == [0 + 0.5 * 1 + 0.25 * 2, 2 + 0.5 * 3, 3.0, 5 + 0.5 * 6, 9.0]
    assert found.steps.tolist() == [3.0, 2.0, 1.0, 2.0, 1.0]
    assert found.mask.tolist() == [1.0, 0.0, 0.0, 1.0, 1.0]  # cut off is not terminated
    assert found.next_observation.flatten().tolist() == [3.0, 4.0, 4.0, 7.0, 10.0]
    assert found.action.flatten().tolist() == [0.0, -2.0, -3.0, -5.0, -9.0]
    assert found.valid.tolist() == [1.0] * 5
    assert float(found.next_action[0]) == -3.0


def test_chunks_are_valid_up_to_a_termination_but_not_over_a_cut(ring):
    """Removed: the stop at `ended`: all but the last are valid. Removed: the exception for terminations, without which nothing that
    leads to the goal within a chunk is ever learned from: the third is not valid."""
    found = ring.gather(torch.tensor([9, 8, 7, 5, 4, 1]), DrawConfig(steps=3, chunk=True, discount=0.5))  # from 0, 1, 2, 4, 5 and 8
    assert found.valid.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert found.mask.tolist()[:4] == [1.0, 0.0, 0.0, 1.0]
    assert found.reward.tolist()[1:3] == [1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3]
    assert found.action[1].flatten().tolist() == [-1.0, -2.0, -3.0]


def test_ring_forgets_the_oldest_and_does_not_join_its_ends():
    """Removed: the stop at the newest row: the return from 12 runs on into the oldest one."""
    buffer = ReplayBuffer(ReplayConfig(1, 1, 8))
    for first in (0, 5, 10):
        buffer.add(experience(first, 5 if first < 10 else 3))
    assert len(buffer) == 8
    found = buffer.gather(torch.arange(8), DrawConfig(steps=2, discount=1.0))
    assert found.observation.flatten().tolist() == [12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0]
    assert found.reward.tolist() == [12.0, 23.0, 21.0, 19.0, 17.0, 15.0, 13.0, 11.0]
    assert found.steps.tolist() == [1.0] + [2.0] * 7
    assert found.has_next.tolist() == [0.0, 0.0] + [1.0] * 6


def test_lanes_keep_their_episodes_apart():
    """Two robots recorded in turn: steps 0, 2, 4, .. are one's and 1, 3, 5, .. the other's. Removed: the stride of two rows."""
    buffer = ReplayBuffer(ReplayConfig(1, 1, 8, lanes=2))
    for first in range(0, 12, 2):
        buffer.add(experience(first, 2, terminated=[7]))
    found = buffer.gather(torch.tensor([7, 6, 1]), DrawConfig(steps=3, discount=1.0))  # from 4, 5 and 10
    assert found.reward.tolist() == [4.0 + 6.0 + 8.0, 5.0 + 7.0, 10.0]
    assert found.mask.tolist() == [1.0, 0.0, 1.0]
    assert found.next_action.flatten().tolist()[0] == -10.0
    for config, count in ((ReplayConfig(1, 1, 8, lanes=2), 3), (ReplayConfig(1, 1, 8), 9)):
        with pytest.raises(ValueError, match="lanes"):
            ReplayBuffer(config).add(experience(0, count))
    with pytest.raises(ValueError, match="multiple"):
        ReplayBuffer(ReplayConfig(1, 1, 9, lanes=2))


def test_draws_are_uniform_or_recent_and_seeded(ring, seeded):
    found = ring.sample(DrawConfig(batch=20_000), seeded())
    counts = torch.bincount(found.reward.long(), minlength=10)
    assert counts.min() > 1800
    assert torch.equal(found.reward, ring.sample(DrawConfig(batch=20_000), seeded()).reward)
    mixed = ring.sample(DrawConfig(batch=20_000, recent_share=0.2, recent=2), seeded())
    share = torch.bincount(mixed.reward.long(), minlength=10) / 20_000
    assert share[:8].tolist() == pytest.approx([0.08] * 8, abs=0.008)
    assert share[8:].tolist() == pytest.approx([0.18] * 2, abs=0.012)
    with pytest.raises(ValueError, match="empty"):
        ReplayBuffer(ReplayConfig(1, 1, 4)).sample(DrawConfig(), seeded())


def test_recorded_states_become_transitions(tmp_path):
    """Two trajectories of 3 and 2 actions; the last row of each is a state only."""
    ends = np.array([0, 0, 0, 1, 0, 0, 1], np.float32)
    rows = np.arange(7, dtype=np.float32)[:, None]
    np.savez(tmp_path / "a.npz", observations=rows, actions=rows * 0.5 - 1.0, terminals=ends, qpos=np.zeros((7, 2, 2)))
    found = read_npz(tmp_path / "a.npz")
    assert found.observation.flatten().tolist() == [0.0, 1.0, 2.0, 4.0, 5.0]
    assert found.next_observation.flatten().tolist() == [1.0, 2.0, 3.0, 5.0, 6.0]
    assert found.ended.tolist() == [False, False, True, False, True]
    assert not found.terminated.any()
    assert float(found.action.max()) == pytest.approx(1 - 1e-5)
    assert float(found.action.min()) == pytest.approx(1e-5 - 1)


def test_recorded_transitions_are_taken_as_they_are(tmp_path):
    rows, ends = np.arange(4, dtype=np.float32)[:, None], np.array([0, 1, 0, 1], bool)
    arrays = {"observations": rows, "actions": rows / 9, "terminals": ends, "rewards": rows[:, 0], "masks": np.array([1, 0, 1, 1.0])}
    np.savez(tmp_path / "a.npz", next_observations=rows + 1, **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert found.reward.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found.terminated.tolist() == [False, True, False, False]
    assert found.ended.tolist() == [False, True, False, True]
    np.savez(tmp_path / "b.npz", observations=rows, actions=rows)
    with pytest.raises(ValueError, match="terminals"):
        read_npz(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **{**arrays, "rewards": rows[:3, 0]})
    with pytest.raises(ValueError, match="4 observations"):
        read_npz(tmp_path / "c.npz")
