"""Runs of learning: offline, online, the one and then the other; stopped and gone on with."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.policies.environments import Environment
from models.policies.fql import FQL, FQLConfig
from models.policies.learning import DivergedPolicy, Places, RunConfig, Watchers, learn
from models.policies.networks import Sizes
from models.policies.registry import AGENTS, policy_class, policy_config
from models.policies.replay import DrawConfig, ReplayBuffer, ReplayConfig
from models.policies.rollouts import EvaluationConfig
from models.policies.run_state import stored_runs
from models.policies.sac import SAC, SACConfig


class Notes:
    """A journal and progress on paper."""

    def __init__(self, stop=None):
        self.rows, self.shares, self.stop = [], [], stop

    def write(self, table, step, values):
        timeless = {name: value for name, value in values.items() if name not in ("minutes", "steps_per_second")}
        self.rows.append((table, step, timeless))

    def move(self, done):
        self.shares.append(done)

    def tell(self, step, values):
        pass

    def watchers(self):
        return Watchers(self, self, lambda: self.stop is not None and len(self.shares) >= self.stop)


@pytest.fixture
def slide(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("slide")


@pytest.fixture
def recorded(slide, tmp_path):
    """A ring with steps of uniform actions, and room for more."""

    def make(steps=400, kind="Slide", store_every=10**9):
        environment, replay = Environment(getattr(slide, kind)()), ReplayBuffer(ReplayConfig(2, 1, 4000))
        notes = Notes()
        policy = FQL(Sizes(2, 1), policy_config("fql", "default", {"actor.hidden": "[4]", "critic.hidden": "[4]"}))
        config = RunConfig(online=steps, random=steps, wait=steps + 1, evaluate_every=10**9, store_every=store_every)
        folder = tmp_path / f"recorded-{len(list(tmp_path.iterdir()))}"
        learn(policy, replay, Places(environment, None), config, notes.watchers(), folder)
        return replay

    return make


@pytest.fixture
def places(slide):
    return lambda: Places(Environment(slide.Slide()), Environment(slide.Slide()))


def quick(config, rate=2e-3):
    return replace(config, learning=replace(config.learning, rate=rate, polyak=0.05))


def test_recorded_steps_teach_and_the_environment_judges(recorded, places, small, tmp_path):
    """The best return is -.12 or so of these episodes, that of uniform actions -4. Removed: the updates."""
    policy = FQL(Sizes(2, 1), quick(small(FQLConfig(alpha=0.1))), 1)
    notes, draw = Notes(), DrawConfig(64)
    config = RunConfig(offline=600, draw=draw, log_every=200, evaluate_every=300, store_every=600, evaluation=EvaluationConfig(10, 3))
    ended = learn(policy, recorded(), places(), config, notes.watchers(), tmp_path / "run")
    assert (ended.step, ended.finished, policy.updates) == (600, True, 600)
    assert [(table, step) for table, step, _ in notes.rows] == [
        ("log", 200),
        ("evaluation", 300),
        ("log", 400),
        ("log", 600),
        ("evaluation", 600),
    ]
    assert ended.evaluation == notes.rows[-1][2]
    assert ended.evaluation["return"] > -1.0
    assert {"critic", "flow", "distill", "climb", "updates"} <= notes.rows[0][2].keys()
    assert notes.shares[-1] == 1.0


def test_online_steps_teach(places, small, tmp_path):
    """Removed: adding steps to the ring; removed: acting after the random steps: no better than uniform."""
    policy = SAC(Sizes(2, 1), quick(small(SACConfig(target_entropy=-3.0)), 4e-3), 1)
    notes, replay = Notes(), ReplayBuffer(ReplayConfig(2, 1, 1000))
    draw = DrawConfig(64)
    config = RunConfig(0, 900, 200, 100, 1, draw, 300, 900, 900, EvaluationConfig(10, 3))
    ended = learn(policy, replay, places(), config, notes.watchers(), tmp_path)
    assert (len(replay), policy.updates) == (900, 800)
    assert ended.evaluation["return"] > -2.0
    log = [values for table, _, values in notes.rows if table == "log"]
    assert log[-1]["episode_return"] > log[0]["episode_return"] + 1.0


def test_updates_may_come_every_few_steps(places, small, tmp_path):
    """Of ten online steps, the fifth and the eighth have three updates each. Removed: the wait, or the pace: more of them."""
    policy = SAC(Sizes(2, 1), small(SACConfig()), 1)
    config = RunConfig(online=10, wait=4, updates=3, draw=DrawConfig(4), evaluation=EvaluationConfig(1), update_every=3)
    learn(policy, ReplayBuffer(ReplayConfig(2, 1, 10)), places(), config, Notes().watchers(), tmp_path)
    assert policy.updates == 6


@pytest.mark.parametrize("stop", [4, 8, 12])
def test_stopped_runs_go_on_bit_by_bit(recorded, places, small, tmp_path, stop):
    """Six offline and eight online steps, stored at every fourth. Removed: the generator's state, the episodes begun, the ring, or
    the cut of the episode that goes on: other weights."""
    config = RunConfig(6, 8, 2, 1, 2, DrawConfig(16, steps=2), 2, 4, 4, EvaluationConfig(1))
    fresh = lambda seed: FQL(Sizes(2, 1), small(FQLConfig()), seed)  # noqa: E731
    whole, straight = fresh(1), Notes()
    learn(whole, recorded(), places(), config, straight.watchers(), tmp_path / "whole")
    first, again, (start, rest) = fresh(1), fresh(2), (Notes(stop), Notes())
    ended = learn(first, recorded(), places(), config, start.watchers(), tmp_path / "parts")
    assert (ended.step, ended.finished) == (stop, False)
    ended = learn(again, recorded(), places(), config, rest.watchers(), tmp_path / "parts", resume=True)
    assert (ended.step, ended.finished) == (14, True)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(again.state_dict().values(), whole.state_dict().values(), strict=True))
    assert start.rows + rest.rows == straight.rows
    assert [path.name for path in stored_runs(tmp_path / "parts")] == ["state-12", "state-14"]
    assert not list((tmp_path / "parts").glob("*.partial"))


def test_runs_that_cannot_be_are_refused(recorded, places, small, tmp_path):
    policy, ring, notes = FQL(Sizes(2, 1), small(FQLConfig()), 1), recorded(), Notes()
    empty, config = ReplayBuffer(ReplayConfig(2, 1, 10)), RunConfig(offline=1, draw=DrawConfig(4), evaluation=EvaluationConfig(1))

    there = places()

    def run(replay=ring, places=there, config=config, folder=tmp_path / "run", resume=False, policy=policy):
        return learn(policy, replay, places, config, notes.watchers(), folder, resume)

    with pytest.raises(ValueError, match="need recorded data"):
        run(replay=empty)
    with pytest.raises(ValueError, match="need an environment"):
        run(places=Places(None, None), config=RunConfig(online=1))
    with pytest.raises(ValueError, match="holds no state"):
        run(resume=True)
    run()
    with pytest.raises(ValueError, match="holds a run already"):
        run()
    with pytest.raises(ValueError, match="another config"):
        run(resume=True, policy=FQL(Sizes(2, 1), small(FQLConfig(alpha=2.0)), 1))
    (tmp_path / "run" / "state-1" / "run.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        run(resume=True)


def test_divergence_ends_a_run_and_earlier_states_stay(recorded, places, small, tmp_path):
    policy, config = FQL(Sizes(2, 1), small(FQLConfig()), 1), RunConfig(offline=9, draw=DrawConfig(4), log_every=1, store_every=2)
    original = policy.update
    policy.update = lambda batch: original(batch) | ({"critic": float("nan")} if policy.updates > 3 else {})  # type: ignore[method-assign]
    with pytest.raises(DivergedPolicy, match="critic not finite"):
        learn(policy, recorded(), places(), config, Notes().watchers(), tmp_path / "run")
    assert [path.name for path in stored_runs(tmp_path / "run")] == ["state-2"]


def test_ends_and_cuts_are_told_apart_in_the_ring(recorded):
    """Removed: `terminated` of what is recorded: all ends are cuts. Removed: the cut in the ring where a state is stored within an
    episode: returns run over into the next one."""
    truncated, ended, stored = (recorded(40, *how).recorded() for how in (("Slide",), ("Ending",), ("Slide", 5)))
    assert not bool(truncated.terminated.any())
    assert truncated.ended.nonzero().flatten().tolist() == [7, 15, 23, 31, 39]
    assert bool(ended.terminated.any())
    assert bool(ended.ended[ended.terminated].all())
    assert not bool(stored.terminated.any())
    assert stored.ended.nonzero().flatten().tolist() == list(range(4, 40, 5))


def test_ring_gives_the_same_batches_once_stored_and_read(recorded, seeded):
    ring, other = recorded(40), ReplayBuffer(ReplayConfig(2, 1, 57))
    other.replace(ring.recorded())
    draw = DrawConfig(32, steps=3, recent_share=0.25, recent=10)
    one, same = ring.sample(draw, seeded()), other.sample(draw, seeded())
    assert all(torch.equal(getattr(one, name), getattr(same, name)) for name in vars(one))


def test_agents_and_their_configs_are_known_by_name():
    assert policy_class("fql") is FQL
    config = policy_config(
        "fql", "cpu", {"alpha": "3", "solver.steps": "2", "critic.hidden": "[8, 8]", "learning.clip": "1.0", "q_agg": "min"}
    )
    assert (config.alpha, config.solver.steps, config.critic.hidden, config.learning.clip, config.q_agg) == (3.0, 2, (8, 8), 1.0, "min")
    assert config.actor == FQLConfig.cpu().actor
    assert policy_config("fql", "paper", {"learning.clip": "null"}) == FQLConfig.paper()
    wrong = {"alpha": "much", "beta": "1", "solver.steps": "2.5", "alpha.x": "1", "solver.method": "magic", "normalize_q_loss": "1"}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name.split(".")[0]):
            policy_config("fql", "default", {name: value})
    with pytest.raises(ValueError, match="no agent 'dqn', but bc"):
        policy_class("dqn")


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_that_is_there_can_be_made(agent):
    if importlib.util.find_spec(f"models.policies.{AGENTS[agent][0]}") is None:
        pytest.skip(f"{agent} is not here")
    for preset in ("default", "paper", "cpu"):
        config = policy_config(agent, preset, {})
        assert isinstance(config, policy_class(agent).config_type)
