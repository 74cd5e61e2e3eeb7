import json
import re
from dataclasses import replace

import pytest
import torch

from models.policies.bc import BC, BCConfig
from models.policies.df_dir import DFDir, DFDirConfig
from models.policies.df_div import DFDiv, DFDivConfig
from models.policies.draws import Draws
from models.policies.encoder import SetConfig
from models.policies.flowrl import FlowRL, FlowRLConfig
from models.policies.fpmd_m import FPMDM, FPMDMConfig
from models.policies.fpmd_r import FPMDR, FPMDRConfig
from models.policies.fql import FQL, FQLConfig
from models.policies.gfp import GFP, GFPConfig
from models.policies.ifql import IFQL, IFQLConfig
from models.policies.networks import NetworkConfig, Sizes
from models.policies.qam import QAM, QAMConfig
from models.policies.qam_e import QAME, QAMEConfig
from models.policies.qam_f import QAMF, QAMFConfig
from models.policies.rebrac import ReBRAC, ReBRACConfig
from models.policies.sac import SAC, SACConfig
from models.policies.swfp import SWFP, SWFPConfig

SIZES = Sizes(5, 2)
POLICIES = [(BC, BCConfig), (FQL, FQLConfig), (IFQL, IFQLConfig), (ReBRAC, ReBRACConfig), (SAC, SACConfig)]
POLICIES += [(GFP, GFPConfig), (QAM, QAMConfig), (QAMF, QAMFConfig), (QAME, QAMEConfig)]
POLICIES += [(FlowRL, FlowRLConfig), (FPMDM, FPMDMConfig), (FPMDR, FPMDRConfig), (SWFP, SWFPConfig)]
POLICIES += [(DFDir, DFDirConfig), (DFDiv, DFDivConfig)]


def weights(policy):
    return torch.cat([value.flatten() for value in policy.state_dict().values()])


def flattened(gradients):
    return {name for name, gradient in gradients.items() if gradient is not None and bool(gradient.abs().sum() > 0)}


@pytest.mark.parametrize(("kind", "config"), POLICIES)
def test_stored_policies_go_on_as_if_they_had_never_stopped(tmp_path, small, random_batch, seeded, kind, config):
    """Removed: the moments of the optimizer; removed: the state of the generator: the weights differ."""
    network = NetworkConfig((16,), members=SetConfig(1, 2, 2, 8, 8))
    settings = small(config.cpu(), **{name: network for name, value in vars(config()).items() if isinstance(value, NetworkConfig)})
    policy = kind(SIZES, settings, 4)
    for seed in range(3):
        policy.update(random_batch(seed=seed))
    policy.save(tmp_path / "deep" / "policy.safetensors")
    again = kind.load(tmp_path / "deep" / "policy.safetensors")
    assert (again.config, again.sizes, again.updates) == (settings, SIZES, 3)
    for seed in range(3, 6):
        assert policy.update(random_batch(seed=seed)) == again.update(random_batch(seed=seed))
    assert torch.equal(weights(policy), weights(again))
    observation = random_batch().observation
    assert torch.equal(policy.act(observation, seeded()), again.act(observation, seeded()))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["policy.safetensors"]


@pytest.mark.parametrize(("kind", "config"), [(FQL, FQLConfig), (IFQL, IFQLConfig)])
def test_a_policy_that_looked_at_observations_sees_them_scaled(tmp_path, small, random_batch, seeded, kind, config):
    """Wide observations, scaled, are what a second policy sees from the start. Removed: the scaling of the present or the next ones of
    a batch, or in acting: other losses, other actions. Removed: middle and width from what is stored: other actions after that."""
    looks, plain = kind(SIZES, small(config()), 4), kind(SIZES, small(config()), 4)
    spread, batch = torch.tensor([10.0, 1.0, 0.1, 3.0, 1.0]), random_batch()
    wide = lambda observation: 7.0 + spread * observation  # noqa: E731
    seen = wide(batch.observation)
    looks.look_at(seen)
    assert torch.allclose(looks.scaled(seen).mean(0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(looks.scaled(seen).std(0, unbiased=False), torch.ones(5), atol=1e-5)
    narrow = replace(batch, observation=looks.scaled(seen), next_observation=looks.scaled(wide(batch.next_observation)))
    told = looks.update(replace(batch, observation=seen, next_observation=wide(batch.next_observation)))
    assert told == plain.update(narrow)
    looks.save(tmp_path / "policy.safetensors")
    again = kind.load(tmp_path / "policy.safetensors")
    assert torch.equal(again.act(seen, seeded()), plain.act(narrow.observation, seeded()))


def test_a_number_that_never_changes_is_only_shifted(small):
    policy = BC(SIZES, small(BCConfig()), 0)
    policy.look_at(torch.full((6, 5), 3.0))
    assert policy.scaled(torch.full((1, 5), 4.0)).tolist() == [[1.0] * 5]


def test_other_files_are_refused(tmp_path, small):
    path = tmp_path / "policy.safetensors"
    BC(SIZES, small(BCConfig())).save(path)
    with pytest.raises(ValueError, match="holds a policy BC, not FQL"):
        FQL.load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        BC.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        BC.load(tmp_path / "none")


@pytest.mark.parametrize(("kind", "config"), POLICIES)
def test_seed_fixes_learning_and_global_state_is_left_alone(small, random_batch, seeded, kind, config):
    """Removed: the generator of the draws (the global one in its place): two policies of one seed differ."""
    state = torch.random.get_rng_state()
    one, same, other = (kind(SIZES, small(config()), seed) for seed in (1, 1, 2))
    assert one.update(random_batch()) == same.update(random_batch()) != other.update(random_batch())
    observation = random_batch().observation
    action = one.act(observation, seeded(1))
    assert torch.equal(action, same.act(observation, seeded(1)))
    assert kind is ReBRAC or not torch.equal(action, one.act(observation, seeded(2)))
    assert action.shape == (16, 2)
    assert action.abs().max() <= 1.0
    assert not action.requires_grad
    assert torch.equal(state, torch.random.get_rng_state())


def test_threads_do_not_change_what_is_learned(small, random_batch):
    """Removed: independence of them (a loss times their number): another loss with two."""
    before, told = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            policy = FQL(SIZES, small(FQLConfig()), 1)
            told.append([policy.update(random_batch(256, seed=seed))["critic"] for seed in range(2)])
    finally:
        torch.set_num_threads(before)
    assert told[0] == pytest.approx(told[1], rel=1e-4)


OWNERS = {
    FQL: {"critic": "critic", "flow": "field", "distill": "actor", "climb": "actor"},
    IFQL: {"critic": "critic", "flow": "field", "value": "value"},
    ReBRAC: {"critic": "critic", "climb": "actor", "clone": "actor"},
    SAC: {"critic": "critic", "actor": "actor", "temperature": "log_temperature"},
    BC: {"flow": "field"},
    GFP: {"critic": "critic", "flow": "field", "distill": "actor", "climb": "actor"},
    FlowRL: {
        "critic": "critic",
        "behaviour_critic": "behaviour_critic",
        "behaviour_value": "behaviour_value",
        "climb": "field",
        "flow": "field",
    },
    FPMDM: {"critic": "mirror", "flow": "field", "exploration": "mirror"},
    FPMDR: {"critic": "mirror", "flow": "field", "exploration": "mirror"},
    SWFP: {"critic": "critic", "flow": "field"},
    DFDir: {"critic": "critic", "value": "value", "flow": "field", "direct": "field"},
    DFDiv: {"critic": "critic", "value": "value", "clone": "cloned", "earn": "field"},
}
TILTED = {"critic": "critic", "flow": "flow.slow", "adjoint": "flow.fast"}
OWNERS |= {QAM: TILTED, QAMF: TILTED | {"distill": "actor", "climb": "actor"}}
OWNERS[QAME] = TILTED | {"edit": "editor", "temperature": "log_temperature"}


@pytest.mark.parametrize(("kind", "config"), POLICIES)
def test_each_loss_moves_its_own_network_alone(small, random_batch, seeded, kind, config):
    """Removed: `held` about the critics: the climb moves them. Removed: `no_grad` and detach of the
    distilled flow: it moves the field."""
    policy = kind(SIZES, small(config()), 1)
    terms = policy.losses(random_batch(), Draws(seeded())).terms
    assert set(terms) == set(OWNERS[kind])
    names = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]
    for term, loss in terms.items():
        inputs = [policy.get_parameter(name) for name in names]
        found = dict(zip(names, torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True), strict=True))
        assert flattened(found), term
        assert all(name.startswith(OWNERS[kind][term]) for name in flattened(found)), term


@pytest.mark.parametrize(("kind", "config"), POLICIES)
def test_every_random_number_can_be_given(small, random_batch, seeded, kind, config):
    class Recorder(Draws):
        def _here(self, drawn):
            return drawn

        def normal(self, name, *shape):
            return seen.setdefault(name, super().normal(name, *shape))

        def uniform(self, name, *shape):
            return seen.setdefault(name, super().uniform(name, *shape))

    seen = {}
    policy, batch = kind(SIZES, small(config()), 1), random_batch()
    known = policy.losses(batch, Recorder(seeded())).terms
    again = policy.losses(batch, Draws(seeded(7), seen)).terms
    assert {name: float(value.detach()) for name, value in again.items()} == {name: float(v.detach()) for name, v in known.items()}
    with pytest.raises(ValueError, match=r"never asked for.*'nxt'"):
        policy.update(batch, {"nxt": torch.zeros(16, 2)})
    for name in seen:
        with pytest.raises(ValueError, match="has shape"):
            policy.update(batch, {name: torch.zeros(1, 1)})


def test_gradient_is_clipped_over_all_networks_together(small, random_batch):
    """Removed: the clip: the weights move further."""
    plain = small(FQLConfig())
    policy = FQL(SIZES, replace(plain, learning=replace(plain.learning, clip=0.1)), 1)
    policy.update(random_batch())
    norm = torch.stack([p.grad.norm() for p in policy.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(("kind", "config"), POLICIES)
def test_configs_survive_json_and_can_be_built(kind, config):
    from dataclasses import asdict

    from models.policies.stored import rebuild

    for made in (config(), config.paper(), config.cpu()):
        assert rebuild(config, json.loads(json.dumps(asdict(made)))) == made
    with pytest.raises(ValueError, match="alpa"):
        rebuild(config, {"alpa": 1.0})


RUNNING = re.compile(r"(\w+\.)?(target|acting)_\w+")
LEARNING = [pair for pair in POLICIES if pair[0] is not BC]  # from rewards


@pytest.mark.parametrize(("kind", "config"), LEARNING)
def test_running_copies_lag(small, random_batch, kind, config):
    """Each takes in a share of .005 of what it follows. Removed: one of them in `after_update`: it stands still."""
    policy = kind(SIZES, small(config()), 1)
    copied = {name: re.sub("target_|acting_", "", name) for name, _ in policy.named_modules() if RUNNING.fullmatch(name)}
    fixed = {name for name, weight in policy.named_parameters() if not weight.requires_grad and not name.startswith("before.")}
    assert all(name.startswith(tuple(copied)) for name in fixed)
    start = {name: weights(policy.get_submodule(name)) for name in copied}
    policy.update(random_batch())
    for name, followed in copied.items():
        mine, theirs = weights(policy.get_submodule(name)), weights(policy.get_submodule(followed))
        assert torch.allclose(mine, start[name] + 0.005 * (theirs - start[name]), atol=1e-7), name
        assert not torch.equal(mine, start[name]), name


def raised(policy, *names):
    """What these networks say, larger by 1."""
    for name in names:
        policy.get_submodule(name).net[-1].bias.data += 1.0


@pytest.mark.parametrize(("kind", "config"), [pair for pair in LEARNING if pair[0] is not IFQL])
def test_targets_are_of_the_running_critics(small, random_batch, seeded, kind, config):
    """Removed: the running copy in the target (what learns in its place), of critics, of the actor, or of the field: it moves."""
    policy, batch = kind(SIZES, small(config()), 1), random_batch()
    target = lambda: float(policy.losses(batch, Draws(seeded())).metrics["target"])  # noqa: E731
    before, owner = target(), "mirror." if hasattr(policy, "mirror") else ""
    raised(policy, f"{owner}critic", *{ReBRAC: ["actor"], DFDir: ["field"], DFDiv: ["field"]}.get(kind, []))
    assert target() == pytest.approx(before, abs=1e-5)
    raised(policy, f"{owner}target_critic")
    assert target() == pytest.approx(before + 0.99 * float(batch.mask.mean()), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "config", "term", "online", "running"),
    [
        (IFQL, IFQLConfig, "value", "critic", ["target_critic"]),
        (FlowRL, FlowRLConfig, "behaviour_value", "behaviour_critic", ["target_behaviour_critic"]),
        (DFDir, DFDirConfig, "value", "critic", ["target_critic", "target_value"]),
        (DFDiv, DFDivConfig, "value", "critic", ["target_critic", "target_value"]),
    ],
)
def test_values_learn_from_the_running_copies(small, random_batch, seeded, kind, config, term, online, running):
    """Removed: a running copy in what the value aims at (what learns in its place): the loss moves with the wrong one."""
    policy, batch = kind(SIZES, small(config()), 1), random_batch()
    loss = lambda: float(policy.losses(batch, Draws(seeded())).terms[term].detach())  # noqa: E731
    before = loss()
    raised(policy, online)
    assert loss() == before
    for name in running:
        raised(policy, name)
        assert loss() != pytest.approx(before, rel=1e-2), name
        before = loss()


@pytest.mark.parametrize(("kind", "config"), POLICIES)
def test_what_is_not_valid_teaches_nothing(small, random_batch, seeded, kind, config):
    """Neither its action nor its reward changes a loss. Removed: `valid` in one of them, or in a mean over the batch that scales one."""
    batch, valid = random_batch(), torch.arange(16) % 4 > 0
    known = replace(batch, valid=valid.float())
    garbage = replace(known, action=torch.where(valid[:, None], batch.action, 0.9), reward=torch.where(valid, batch.reward, 9.0))
    one, other = (kind(SIZES, small(config()), 1).losses(made, Draws(seeded())).terms for made in (known, garbage))
    for name in one:
        assert float(one[name].detach()) == pytest.approx(float(other[name].detach()), rel=1e-5), name
