"""The figure of a run's curves, drawn by a process of its own: matplotlib's memory stays out of training."""

import os
import subprocess
import sys
from pathlib import Path

DRAW_TIMEOUT_S = 120


def draw(store_path: Path, out_png: Path, title: str = "") -> str:
    """Draw the curves of a metric store: the loss, each metric, and the learning rate where it varies.

    Args:
        store_path: the store's file, of a finished run or one that is going on.
        out_png: the picture; it is replaced whole, or left as it was.
        title: stands over the picture.

    Returns:
        one line that says what was drawn, or why nothing was, "no figure: ..."; nothing is raised, since no run is
        lost to a figure.

    Cost:
        one to two seconds in a child process.
    """
    source = Path(__file__).parents[2]  # where this danlu lies: the child must find the same one
    search = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "danlu.track.figure", str(store_path), str(out_png), title]
    settings = {**os.environ, "PYTHONPATH": search, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            command,
            env=settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DRAW_TIMEOUT_S,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"no figure: {error}"
    said = (child.stdout if child.returncode == 0 else child.stderr).strip().splitlines()
    last = said[-1] if said else f"the drawing process ended with {child.returncode}"
    return last if child.returncode == 0 else f"no figure: {last}"
