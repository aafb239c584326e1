"""What a run leaves for people: the metric store, and the views of it: TensorBoard, figures, tables.

This room sees steps, names and numbers; it must never know a model, a device or how training is done.
"""

from danlu.track.curves import draw
from danlu.track.pictures import grid
from danlu.track.run import Run, compare, list_runs
from danlu.track.share import in_ms, in_percent, share_lines
from danlu.track.store import MetricStore
from danlu.track.tensorboard import TensorBoard

__all__ = [
    "MetricStore",
    "Run",
    "TensorBoard",
    "compare",
    "draw",
    "grid",
    "in_ms",
    "in_percent",
    "list_runs",
    "share_lines",
]
