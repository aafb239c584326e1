"""The only room that asks which device, dtype or rank: placing, precision, exactness, seeding, what machine this is.

It must never know what is trained on the device, nor when.
"""

from danlu.device.allocator import can_keep_memory
from danlu.device.draw import draw, expand, unit, words
from danlu.device.environment import describe, environment
from danlu.device.layout import can_lie_otherwise, lay_out, like
from danlu.device.load import Others
from danlu.device.place import choose
from danlu.device.plan import Plan, Tried, plan_for
from danlu.device.precision import autocast, grad_scaler, has_units
from danlu.device.settings import blas_threads, exact, kept_generators, seed, seed_all, seed_torch, use_threads

__all__ = [
    "Others",
    "Plan",
    "Tried",
    "autocast",
    "blas_threads",
    "can_keep_memory",
    "can_lie_otherwise",
    "choose",
    "describe",
    "draw",
    "environment",
    "exact",
    "expand",
    "grad_scaler",
    "has_units",
    "kept_generators",
    "lay_out",
    "like",
    "plan_for",
    "seed",
    "seed_all",
    "seed_torch",
    "unit",
    "use_threads",
    "words",
]
