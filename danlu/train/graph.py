"""The model's graph for TensorBoard."""

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def write_graph(model: nn.Module, inputs: Any, folder: Path) -> None:
    """Trace a copy of the model on one sample and write its graph; the model itself is not touched.

    Args:
        model: any module; one that cannot be copied or traced raises, and the caller records it.
        inputs: a batch of inputs: one tensor or a tuple of them.
        folder: TensorBoard folder for the graph's own event file.

    Cost:
        imports TensorBoard's writer and traces one forward pass; about a second.
    """
    from torch.utils.tensorboard import SummaryWriter

    if isinstance(inputs, dict):
        raise TypeError("a model with named inputs has no traced graph")
    first = inputs[:1] if isinstance(inputs, Tensor) else tuple(tensor[:1] for tensor in inputs)
    twin = copy.deepcopy(model).eval()
    logging.getLogger("torch.jit").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        with SummaryWriter(str(folder)) as writer:
            writer.add_graph(twin, first)
