"""The network run by OpenVINO against torch, the reference."""

import subprocess
import sys
import threading

import pytest
import torch

from models.condition import condition_on
from models.openvino_network import OpenVINONetwork, available

if not available():
    pytest.skip("OpenVINO is not installed", allow_module_level=True)


def asked(network, surveyed, candidates, seed=0):
    """Arguments of a call."""
    condition = condition_on(surveyed)
    generator = torch.Generator().manual_seed(seed)
    shape = (*surveyed.mask.shape[:1], candidates, surveyed.mask.shape[1], *network.normalizer.scale.shape)
    state = torch.randn(shape, generator=generator) * network.normalizer.scale
    t = torch.rand(shape[:2], generator=generator)
    return state, t, condition, network.encode(condition)


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-4), (True, 0.15)])
def test_it_says_what_torch_says_for_any_sizes(network, fleet, stacked, bf16, tolerance):
    reference = network()
    fast = OpenVINONetwork(reference, bf16=bf16)
    for robots, candidates in ((1, 1), (3, 4), (7, 2), (12, 8), (3, 4)):
        arguments = asked(reference, stacked([fleet(1, robots), fleet(2, max(robots - 1, 1))]), candidates)
        with torch.inference_mode():
            wanted = reference(*arguments)
            found = fast(*arguments)
        real = arguments[2].mask[:, None, :, None, None].expand_as(wanted)
        scale = wanted[real].square().mean().sqrt()
        assert scale > 0.01
        assert (found - wanted)[real].square().mean().sqrt() < tolerance * scale


def test_a_scene_gets_the_same_answer_alone_and_in_company(network, fleet, stacked):
    reference = network()
    fast = OpenVINONetwork(reference, bf16=False)
    together = asked(reference, stacked([fleet(1, 5), fleet(2, 5), fleet(3, 5)]), 3)
    with torch.inference_mode():
        all_three = fast(*together)
        alone_condition = condition_on(fleet(2, 5))
        alone = fast(together[0][1:2], together[1][1:2], alone_condition, reference.encode(alone_condition))
    assert torch.allclose(all_three[1:2], alone, atol=1e-5)


def test_threads_do_not_disturb_each_other(network, fleet):
    reference = network()
    fast = OpenVINONetwork(reference)
    arguments = [asked(reference, fleet(k, 4 + k), 4, seed=k) for k in range(4)]
    with torch.inference_mode():
        wanted = [fast(*argument) for argument in arguments]
    found = [None] * len(arguments)

    def call(k):
        with torch.inference_mode():
            for _ in range(5):
                found[k] = fast(*arguments[k])

    threads = [threading.Thread(target=call, args=(k,)) for k in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


ENDS = """
import gc, signal
from planner.assembly import load_planner
before = signal.signal(signal.SIGINT, lambda *_: print("heard"))
planner = load_planner()
del planner.proposer
gc.collect()
del planner
gc.collect()
signal.raise_signal(signal.SIGINT)
"""


def test_models_that_are_gone_leave_signals_as_they_were():
    """In a process of its own, that the fault would kill. Removed: the thread that compiles: it dies of the signal."""
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", ENDS], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
