"""What is put on disk and read back: JSON, single files, checkpoints, and the folder that a run lives in.

This room sees names, NumPy arrays and plain values; it must never know a trainer, a model or an engine.
"""

from danlu.save.checkpoint import check, folder, newest, read, remove, steps, tidy, write
from danlu.save.files import from_json, read_json, to_json, write_atomic, write_json
from danlu.save.lock import locked
from danlu.save.retry import Retry
from danlu.save.runfolder import claim, free_name, holds_run
from danlu.save.writer import Keep, Writer, room

__all__ = [
    "Keep",
    "Retry",
    "Writer",
    "check",
    "claim",
    "folder",
    "free_name",
    "from_json",
    "holds_run",
    "locked",
    "newest",
    "read",
    "read_json",
    "remove",
    "room",
    "steps",
    "tidy",
    "to_json",
    "write",
    "write_atomic",
    "write_json",
]
