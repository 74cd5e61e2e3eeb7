"""The same network run by OpenVINO: two to three times as fast as torch on a CPU, in bfloat16 where the CPU has it.

Optional: torch is the reference, and the tests hold the two against each other.
"""

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.condition import PAIR_FEATURES, ROBOT_FEATURES, Condition
from models.dit import KNOT_COUNT, DiT, Encoded
from models.kept_networks import find_network, keep_network, network_key
from models.normalizer import Normalizer
from models.surroundings import ASIDE

if TYPE_CHECKING:
    from openvino import CompiledModel, Model

CONDITION = tuple(field.name for field in fields(Condition))


def available() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def compile_module(module: nn.Module, example: tuple[Tensor, ...], streams: int, bf16: bool, name: str | None = None) -> "CompiledModel":
    """A module of tensors converted and compiled for the CPU.

    Args:
        module: takes tensors by position; on the CPU, in evaluation mode.
        example: its arguments, no two sizes alike that may differ.
        streams: calls that run at once, one thread each.
        bf16: lets the CPU compute in bfloat16, if it can.
        name: hash of its weights and what else it was built from, to keep the result for later starts; None: it is not kept.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType] - else it reports its use to its makers
    hints: dict[str, str] = {
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams),
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    with ThreadPoolExecutor(1) as apart:
        # OpenVINO gives the thread that compiles a stack for signals of its own, and takes it away with the model: models that end
        # in another order than they began would leave a caller's thread with a stack that is gone, for the next signal to fall into
        compiled = apart.submit(_compiled, module, example, hints, name).result()
        # the binding looks numpy up in the first call that brings arrays, and two threads in that call would wait for each other, one
        # of them with Python's lock
        apart.submit(compiled.infer_new_request, [tensor.detach().numpy() for tensor in example]).result()
        return compiled


def _compiled(module: nn.Module, example: tuple[Tensor, ...], hints: dict[str, str], name: str | None) -> "CompiledModel":
    import openvino

    core = openvino.Core()
    if name is None:
        return core.compile_model(_converted(module, example), "CPU", hints)
    cpu = [str(core.get_property("CPU", entry)) for entry in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    libraries = torch.__version__, openvino.__version__
    key = network_key(name, type(module).__qualname__, [tensor.shape for tensor in example], hints, cpu, libraries)
    kept = find_network(key)
    if kept is not None:
        with suppress(RuntimeError):  # of a folder that an unlike machine shares
            return core.import_model(BytesIO(kept), "CPU", hints)
    compiled = core.compile_model(_converted(module, example), "CPU", hints)
    keep_network(key, compiled.export_model().getvalue())
    return compiled


def _converted(module: nn.Module, example: tuple[Tensor, ...]) -> "Model":
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracer: no size that it sees is kept
        # tracing twice to compare is left to the tests: it takes longer than all the rest
        decoder = TorchScriptPythonDecoder(module, example_input=example, trace_kwargs={"check_trace": False})
    frontend = FrontEndManager().load_by_framework("pytorch")
    return frontend.convert(frontend.load(decoder))


class OpenVINONetwork:
    """Stands in for a `DiT` on a CPU; any number of scenes, candidates and robots."""

    def __init__(self, network: DiT, streams: int = 2, bf16: bool = True, name: str | None = None) -> None:
        """Converts and compiles, or takes what an earlier start has kept.

        Args:
            network: the trained network, on the CPU.
            streams: calls that run at once, one thread each.
            bf16: lets the CPU compute in bfloat16, if it can.
            name: hash of its weights and what else it was built from, to keep the result for later starts; None: it is not kept.
        """
        self._network = network.eval()
        self._compiled = compile_module(_Flat(network), _example(network), streams, bf16, name)
        self._requests = threading.local()

    @property
    def normalizer(self) -> Normalizer:
        """The network's."""
        return self._network.normalizer

    def encode(self, condition: Condition) -> Encoded:
        """As the network does it; once for each request, so torch will do."""
        return self._network.encode(condition)

    def __call__(
        self, state: Float[Tensor, "S M N K 2"], t: Float[Tensor, "S M"], condition: Condition, encoded: Encoded
    ) -> Float[Tensor, "S M N K 2"]:
        """As `DiT.forward`."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        inputs = [value.numpy() for value in _flat(state, t, condition, encoded)]
        return torch.from_numpy(self._requests.own.infer(inputs)[0].copy())


class _Flat(nn.Module):
    """The network with tensors for arguments, as a tracer wants it."""

    def __init__(self, network: DiT) -> None:
        super().__init__()
        self.network = network

    def forward(self, state: Tensor, t: Tensor, *others: Tensor) -> Tensor:
        condition = Condition(*others[: len(CONDITION)])
        return self.network(state, t, condition, Encoded(*others[len(CONDITION) :]))


def _flat(state: Tensor, t: Tensor, condition: Condition, encoded: Encoded) -> tuple[Tensor, ...]:
    return (state, t, *(getattr(condition, name) for name in CONDITION), encoded.token, encoded.pair, encoded.pooled)


def _example(network: DiT) -> tuple[Tensor, ...]:
    """Two scenes of three robots with four candidates: no two sizes alike."""
    scenes, many, robots = 2, 4, 3
    knots = (scenes, robots, KNOT_COUNT)
    condition = Condition(
        torch.zeros(*knots, 2),
        torch.zeros(*knots, 2),
        torch.ones(scenes, robots),
        torch.zeros(*knots, len(ASIDE)),
        torch.zeros(scenes, robots, ROBOT_FEATURES),
        torch.zeros(scenes, robots, robots, PAIR_FEATURES),
        torch.zeros(scenes, 1),
        torch.ones(scenes, robots, dtype=torch.bool),
    )
    state = torch.zeros(scenes, many, robots, *network.normalizer.scale.shape)
    return _flat(state, torch.zeros(scenes, many), condition, network.encode(condition))
