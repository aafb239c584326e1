"""Which of PyTorch's ways computes an optimizer's update: a loop over parameters, `foreach`, or one `fused` kernel."""

import torch
from torch.optim import Optimizer

FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad)
WAYS: tuple[str, ...] = ("fused", "foreach")


def ways_of(optimizer: Optimizer) -> list[str]:
    """Return the ways that an optimizer of PyTorch offers; none where its caller has chosen one, or wrote the class.

    Both take real parameters of floating point alone; "fused" is not offered for other parameters.
    """
    if type(optimizer).__module__.partition(".")[0] != "torch":
        return []
    groups = optimizer.param_groups
    if any(group.get(way) is not None for group in groups for way in WAYS):
        return []
    if any(group.get("differentiable") or isinstance(group.get("lr"), torch.Tensor) for group in groups):
        return []
    floats = all(parameter.is_floating_point() for group in groups for parameter in group["params"])
    fused = ["fused"] if type(optimizer) in FUSED and floats else []
    return fused + (["foreach"] if all("foreach" in group for group in groups) else [])


def compute_by(optimizer: Optimizer, way: str) -> None:
    """Let an optimizer that offers it compute its updates in one way, or "as given"; its state stays.

    Args:
        optimizer: changed in place.
        way: "fused", "foreach" or "as given".
    """
    for group in [*optimizer.param_groups, optimizer.defaults]:  # a group that is added later begins with these
        for key in WAYS:
            if key in group:
                group[key] = None if way == "as given" else key == way
