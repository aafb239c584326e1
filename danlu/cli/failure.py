"""What a failed command prints: one line for what a person can mend, a traceback for an error in their own code."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from danlu.cli.text import say
from danlu.errors import DanluError, DataError

FAILED = 1
_DANLU = str(Path(__file__).parents[1]) + os.sep
_FOREIGN = (_DANLU, f"{os.sep}site-packages{os.sep}", str(Path(os.__file__).parent) + os.sep, "<frozen ")


def explain(error: DanluError) -> int:
    """Print an error as one line; return the exit code.

    Where its cause came up in a person's own file, the line says in which; where their own line raised it, and not
    something that it called, the traceback stands above, unless it is the data that are at fault.
    """
    cause = error.__cause__
    frames = [] if cause is None else traceback.extract_tb(cause.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    if cause is None or not own:
        say(str(error))
        return error.exit_code
    if own[-1] is not frames[-1] or isinstance(error, DataError):
        say(f"{error} Raised in {own[-1].name}, {own[-1].filename} line {own[-1].lineno}.")
        return error.exit_code
    traceback.print_exception(cause.with_traceback(_from(cause.__traceback__, _is_own)))
    say(str(error))
    return FAILED


def report(error: Exception) -> int:
    """Print an error that danlu did not raise on purpose, with its traceback; return the exit code.

    The traceback begins in the person's own file, if it came up there; a syntax error names its place itself.
    """
    whole = error.__traceback__
    trace = _from(whole, _is_own) or _from(whole, lambda place: not _is_command_line(place)) or whole
    traceback.print_exception(error.with_traceback(None if isinstance(error, SyntaxError) else trace))
    return FAILED


def _from(trace: TracebackType | None, begins: Callable[[str], bool]) -> TracebackType | None:
    """Return a traceback from its first frame on whose file `begins`."""
    while trace is not None and not begins(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_own(place: str) -> bool:
    return not any(part in place for part in _FOREIGN)


def _is_command_line(place: str) -> bool:
    return place.startswith(str(Path(__file__).parent)) or f"{os.sep}typer{os.sep}" in place
