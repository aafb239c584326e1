"""The only room that asks which device, dtype or rank: placing, precision, exactness, seeding, what machine this is.

It must never know what is trained on the device, nor when.
"""

from danlu.device.draw import draw, expand, unit, words
from danlu.device.environment import describe, environment
from danlu.device.place import choose
from danlu.device.plan import Plan, plan_for
from danlu.device.precision import autocast, grad_scaler
from danlu.device.settings import blas_threads, exact, kept_generators, seed, seed_all, seed_torch

__all__ = [
    "Plan",
    "autocast",
    "blas_threads",
    "choose",
    "describe",
    "draw",
    "environment",
    "exact",
    "expand",
    "grad_scaler",
    "kept_generators",
    "plan_for",
    "seed",
    "seed_all",
    "seed_torch",
    "unit",
    "words",
]
