"""What turns gradients into weights: optimizers, schedules, clipping, averages, initialisation, state by name.

It must never know a recipe's file, a device's plan, a trainer or a disk: it takes a model and a part of a recipe, and
gives plain PyTorch objects and plain values back.
"""

from danlu.optim.capture import Rates, count_on_device, not_capturable, way_to_capture
from danlu.optim.clip import clip
from danlu.optim.ema import Ema
from danlu.optim.freeze import freeze
from danlu.optim.groups import param_groups
from danlu.optim.init import INITIALISERS, initialise
from danlu.optim.kernels import WAYS, compute_by, ways_of
from danlu.optim.named_state import export_state, import_state
from danlu.optim.optimizers import OPTIMIZERS, make_optimizer
from danlu.optim.schedules import SCHEDULES, Schedule, changes_with_horizon, make_schedule

__all__ = [
    "INITIALISERS",
    "OPTIMIZERS",
    "SCHEDULES",
    "WAYS",
    "Ema",
    "Rates",
    "Schedule",
    "changes_with_horizon",
    "clip",
    "compute_by",
    "count_on_device",
    "export_state",
    "freeze",
    "import_state",
    "initialise",
    "make_optimizer",
    "make_schedule",
    "not_capturable",
    "param_groups",
    "way_to_capture",
    "ways_of",
]
