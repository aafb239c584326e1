"""The command line: argv becomes a call, and an error becomes one line and an exit code.

This room must never know how anything is done; and it must not import PyTorch to answer `--help`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from danlu.cli.failure import FAILED, explain, report
from danlu.cli.text import say
from danlu.errors import DanluError, RunError

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit: 0 done, 2 a mistake that one can mend, 130 after Ctrl-C, 1 anything else."""
    _open_standard_streams()
    code = run(sys.argv[1:])
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        code = _unwritten(error) or code
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Whatever goes wrong is told on standard error."""
    try:
        from danlu.cli.app import call

        _check_current_folder()
        return call(arguments)
    except DanluError as error:
        return explain(error)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except OSError as error:
        return report(error) if _is_writable() else _unwritten(error)
    except Exception as error:
        return report(error)


def _check_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        want, fix = "a folder that is there", "change into another one"
        raise RunError(where="current folder", got="a folder that was removed", want=want, fix=fix) from None


def _open_standard_streams() -> None:
    """Make sure that no file of ours gets number 0, 1 or 2, and that no letter is too much for the terminal."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _is_writable() -> bool:
    """Say whether standard output takes another letter."""
    try:
        print(end="\n", flush=True)
    except OSError:
        return False
    return True


def _unwritten(error: OSError) -> int:
    """Give standard output up, where Python would complain at exit; a reader that left had what it wanted.

    What is still buffered, and whatever comes, goes nowhere.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # as in `danlu runs | head`
        return 0
    say(f"standard output: {error.strerror or error}")
    return FAILED
