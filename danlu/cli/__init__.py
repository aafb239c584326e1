"""The command line: argv becomes a call, and an error becomes one line and an exit code.

This room must never know how anything is done; and it must not import PyTorch to answer `--help`.
"""

import os
import sys

from danlu.errors import DanluError


def main() -> None:
    """Run the command line and exit: 0 done, 2 a mistake that one can mend, 130 after Ctrl-C."""
    from danlu.cli.app import app

    try:
        app(prog_name="danlu")
    except DanluError as error:
        print(f"danlu: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("danlu: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `danlu runs | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
