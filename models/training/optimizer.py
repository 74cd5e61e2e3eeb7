"""AdamW as it is used here, and its memory by parameter name."""

import torch
from torch import Tensor, nn


def adamw(module: nn.Module, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """An optimizer of all parameters that learn; those of one dimension (biases, gains) do not decay.

    Args:
        module: on its device already.
        betas: decay of the first and second moments, in a step.
        weight_decay: of matrices, times the learning rate in a step.

    Returns:
        AdamW with a learning rate of 0: whoever steps it sets the rate.
    """
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in learning if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in learning if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(parameter.is_floating_point() and parameter.device.type in ("cpu", "cuda") for parameter in learning)
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=betas, fused=fused)


def moments(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """What the optimizer remembers, by `<moment>.<parameter>`; empty before its first step."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    return {f"{key}.{names[parameter]}": value for parameter, kept in optimizer.state.items() for key, value in kept.items()}


def restore_moments(optimizer: torch.optim.Optimizer, module: nn.Module, kept: dict[str, Tensor]) -> None:
    """Gives back what `moments` told, to an optimizer of a module with the same parameter names."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for name, tensor in kept.items():
        key, _, parameter = name.partition(".")
        by_name.setdefault(parameter, {})[key] = tensor
    names = {parameter: name for name, parameter in module.named_parameters()}
    ordered = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: by_name[name] for index, name in enumerate(ordered) if name in by_name}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
