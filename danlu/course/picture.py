"""A lesson's picture, drawn by a process of its own, as the curves of a run are."""

import json
import os
import subprocess
import sys
from pathlib import Path

from danlu.course.page import Page
from danlu.errors import RunError

DRAW_TIMEOUT_S = 120


def save(page: Page, out: Path, name: str) -> list[Path]:
    """Write what a page holds as files into a folder: NAME.png, and NAME with other endings.

    Args:
        page: of a lesson that has run.
        out: the folder, which is made where it is missing; files of the same names are replaced whole.
        name: what the files are called.

    Returns:
        the files, the picture first.

    Raises:
        RunError: the folder cannot be written to, or the picture cannot be drawn.

    Cost:
        one to two seconds in a child process.
    """
    picture = folder(out) / f"{name}.png"
    _draw(page, picture)
    others = [out / f"{name}{ending}" for ending in page.texts]
    for path, text in zip(others, page.texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return [picture, *others]


def folder(out: Path) -> Path:
    """Make a folder, where it is missing, and see that it can be written to.

    Raises:
        RunError: it cannot.
    """
    want, fix = "a folder for pictures that can be written to", "choose another one with --out"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(where=str(out), got=error.strerror or str(error), want=want, fix=fix) from None
    if not os.access(out, os.W_OK):
        raise RunError(where=str(out), got="a folder that cannot be written to", want=want, fix=fix)
    return out


def _draw(page: Page, path: Path) -> None:
    source = Path(__file__).parents[2]  # where this danlu lies: the child must find the same one
    search = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "danlu.course.figure", str(path)]
    settings = {**os.environ, "PYTHONPATH": search, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            command,
            env=settings,
            input=json.dumps(page.picture()),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DRAW_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _undrawn(path, str(error)) from None
    if child.returncode:
        raise _undrawn(path, (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1])


def _undrawn(path: Path, said: str) -> RunError:
    return RunError(where=str(path), got=said, want="a picture", fix="check the disk and matplotlib")
