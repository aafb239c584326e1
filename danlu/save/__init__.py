"""What is put on disk and read back: JSON, single files, checkpoints, and the folder that a run lives in.

This room sees names, NumPy arrays and plain values; it must never know a trainer, a model or an engine.
"""

from danlu.save.checkpoint import check, folder, newest, read, read_state, remove, steps, tidy, write
from danlu.save.files import from_json, plain, read_json, sha256_of, to_json, write_atomic, write_json
from danlu.save.lock import locked
from danlu.save.retry import Retry
from danlu.save.runfolder import claim, free_name, holds_run, is_free
from danlu.save.weights import NamedWeights, checkpoint_at, described, is_pickle, read_weights, write_weights
from danlu.save.writer import Keep, Writer, room

__all__ = [
    "Keep",
    "NamedWeights",
    "Retry",
    "Writer",
    "check",
    "checkpoint_at",
    "claim",
    "described",
    "folder",
    "free_name",
    "from_json",
    "holds_run",
    "is_free",
    "is_pickle",
    "locked",
    "newest",
    "plain",
    "read",
    "read_json",
    "read_state",
    "read_weights",
    "remove",
    "room",
    "sha256_of",
    "steps",
    "tidy",
    "to_json",
    "write",
    "write_atomic",
    "write_json",
    "write_weights",
]
