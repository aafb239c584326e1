"""Kill any run there is, anywhere, for so many minutes: `PYTHONPATH=tests python -m kills.soak --minutes 30`.

Settings, points and moments are drawn from a seed that is printed. What differs is printed with the line that repeats
it, and its folders stay.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from kills.axes import drawn, product
from kills.chain import Bench, Outcome, drawn_kills

TWINS = 20  # cases between two clearings: a whole run stays on the disk until then


def soak(minutes: float, seed: int, folder: Path) -> tuple[list[Outcome], Counter[str], int]:
    """Return what went wrong, how often each point was where a run died, and how many cases there were."""
    chance, until_s = Random(seed), time.monotonic() + minutes * 60
    wrong: list[Outcome] = []
    points: Counter[str] = Counter()
    cases = 0
    while time.monotonic() < until_s:
        bench = Bench(folder / f"from-{cases}")
        bench.folder.mkdir()
        try:
            for _ in range(TWINS):
                if time.monotonic() > until_s:
                    break
                axes = drawn(chance)
                outcome = bench.case(axes, drawn_kills(bench.twin(axes), chance, chance.randint(1, 8)))
                cases += 1
                points.update(kill.partition(":")[0] for kill in outcome.kills)
                if outcome.wrong:
                    wrong.append(outcome)
                    print(f"\n{outcome}\nfolders: {bench.folder}\n", flush=True)
        finally:
            bench.close()
        if not any(str(bench.folder) in str(one.folder) for one in wrong):
            shutil.rmtree(bench.folder)
    return wrong, points, cases


def main() -> int:
    """Soak, and print a summary; return whether anything differed."""
    parser = argparse.ArgumentParser("python -m kills.soak", description="Kill runs at random and compare them.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {options.seed}, {options.minutes:g} minutes, {sum(1 for _ in product()):,} settings", flush=True)
    wrong, points, cases = soak(options.minutes, options.seed, folder)
    where = ", ".join(f"{name} {count}" for name, count in points.most_common())
    print(f"{cases} runs, {points.total()} kills: {where}")
    print(f"seed {options.seed}: {len(wrong)} of {cases} runs differ from the ones that were never killed")
    if not wrong:
        shutil.rmtree(folder)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
