"""Run one case again: `PYTHONPATH=tests python -m kills.repeat AXES 'POINT POINT ...'`; its folders stay."""

import sys
import tempfile
from pathlib import Path

from kills.axes import from_text
from kills.chain import Bench


def main(settings: str, kills: str) -> int:
    """Run the case; return whether anything differs."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    bench = Bench(folder)
    try:
        outcome = bench.case(from_text(settings), kills.split())
    finally:
        bench.close()
    print(outcome)
    print(f"folders: {folder}" if outcome.wrong else "no difference")
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
