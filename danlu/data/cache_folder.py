"""Where danlu keeps what it downloaded or computed from data."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return danlu's own folder of that name: under $DANLU_CACHE, $XDG_CACHE_HOME/danlu or ~/.cache/danlu."""
    own, shared = os.environ.get("DANLU_CACHE"), os.environ.get("XDG_CACHE_HOME")
    root = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "danlu"
    return root / name
