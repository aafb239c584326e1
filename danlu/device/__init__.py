"""The only room that asks which device, dtype or rank: placing, precision, exactness, seeding, what machine this is.

It must never know what is trained on the device, nor when.
"""

from danlu.device.allocator import can_keep_memory
from danlu.device.copies import Copier, Sent, room_for_data
from danlu.device.cores import cores
from danlu.device.draw import draw, expand, unit, words
from danlu.device.environment import describe, environment, version_of
from danlu.device.graphs import Recorder, Recording
from danlu.device.layout import can_lie_otherwise, lay_out, like
from danlu.device.limits import Gauge, Limits, limits, wait
from danlu.device.load import Others
from danlu.device.memory import capped, forget_peak, is_exhausted, memory_available, peak_bytes, room_bytes, used_bytes
from danlu.device.place import choose
from danlu.device.plan import Plan, Tried, plan_for
from danlu.device.precision import Context, autocast, grad_scaler, has_units
from danlu.device.settings import blas_threads, exact, kept_generators, seed, seed_all, seed_torch, use_threads

__all__ = [
    "Context",
    "Copier",
    "Gauge",
    "Limits",
    "Others",
    "Plan",
    "Recorder",
    "Recording",
    "Sent",
    "Tried",
    "autocast",
    "blas_threads",
    "can_keep_memory",
    "can_lie_otherwise",
    "capped",
    "choose",
    "cores",
    "describe",
    "draw",
    "environment",
    "exact",
    "expand",
    "forget_peak",
    "grad_scaler",
    "has_units",
    "is_exhausted",
    "kept_generators",
    "lay_out",
    "like",
    "limits",
    "memory_available",
    "peak_bytes",
    "plan_for",
    "room_bytes",
    "room_for_data",
    "seed",
    "seed_all",
    "seed_torch",
    "unit",
    "use_threads",
    "used_bytes",
    "version_of",
    "wait",
    "words",
]
