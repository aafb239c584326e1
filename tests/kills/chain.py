"""A run that is killed again and again, resumed until it is done, and held against one that never was.

A case is one line, and so is what repeats it:
`PYTHONPATH=tests python -m kills.repeat 'engine=torch,...' 'replace.before:3 after_s:0.2'`.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from kills.axes import Axes, to_text
from kills.compare import differences

from danlu import save

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KILLED = -9
MOST_LEGS = 40
COUNTING = 0.6  # of the time that a run takes while its calls are counted
RESUMING = {"load.before": 1, "load.after": 1, "cut.before": 5, "cut.after": 5, "rewrite.before": 1, "rewrite.after": 1}


class Server:
    """One forking process; `hash_seed` is its own, so that nothing may depend on the order of a set."""

    def __init__(self, hash_seed: int) -> None:
        path = os.pathsep.join([str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE / "server.py")]
        pipe = subprocess.PIPE
        self._process: Any = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT)
        self._ready = False

    def run(self, **ask: Any) -> dict[str, Any]:
        """Run what is asked for in a child; return how it ended."""
        if not self._ready:
            self._answer()
            self._ready = True
        self._process.stdin.write(f"{json.dumps(ask)}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server of the killed runs ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@dataclass
class Twin:
    """A run that was never killed: its folder, how often it passed every point, its length, what it saw."""

    folder: Path
    counts: dict[str, int]
    seconds: float
    seen: dict[int, Any]


@dataclass
class Outcome:
    """What came of a case: the kills that happened, what differs, and the line that repeats it."""

    repeat: str
    folder: Path
    kills: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"killed at {', '.join(self.kills) or 'no point'}", *self.wrong, "repeat it with:", self.repeat]
        return "\n".join(lines)


class Bench:
    """Runs cases in a folder of its own. `close` ends its servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers = [Server(hash_seed) for hash_seed in (1, 2)]
        self._twins: dict[str, Twin] = {}
        self._cases = 0

    def close(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.close()

    def twin(self, axes: Axes) -> Twin:
        """Return the whole run of these settings; it is trained once."""
        name = to_text(axes)
        if name not in self._twins:
            out = self.folder / f"whole-{len(self._twins)}"
            ended = self._servers[0].run(axes=axes, out=str(out), resume=False, kill="")
            if ended["code"] != 0:
                raise RuntimeError(f"{name}: the whole run failed\n{_log(out)}")
            told = json.loads(out.with_name(f"{out.name}.counts").read_text())
            seen, wrong = _seen(out)
            assert not wrong
            self._twins[name] = Twin(out, told["counts"], told["seconds"] * COUNTING, seen)
        return self._twins[name]

    def case(self, axes: Axes, kills: Sequence[str]) -> Outcome:
        """Kill a run at each of the points in turn, as far as it comes to them, resume it to its end, and compare."""
        twin = self.twin(axes)
        self._cases += 1
        out = self.folder / f"killed-{self._cases}"
        outcome = Outcome(repeat_line(axes, kills), out)
        self._legs(axes, kills, out, outcome)
        if not outcome.wrong:
            outcome.wrong = differences(twin.folder, out)
            seen, wrong = _seen(out)
            outcome.wrong += wrong
            if not wrong and seen != twin.seen:
                update = next(n for n in sorted(twin.seen.keys() | seen.keys()) if seen.get(n) != twin.seen.get(n))
                outcome.wrong.append(f"update {update} saw {seen.get(update)}, and should {twin.seen.get(update)}")
        if not outcome.wrong:
            shutil.rmtree(out)
        return outcome

    def _legs(self, axes: Axes, kills: Sequence[str], out: Path, outcome: Outcome) -> None:
        """Run leg after leg; the last one is left alone."""
        resume, left = False, list(kills)
        for leg in range(MOST_LEGS):
            kill = left.pop(0) if left else "never:1"
            ended = self._servers[1 - leg % 2].run(axes=axes, out=str(out), resume=resume, kill=kill)
            if ended["hung"]:
                outcome.wrong.append(f"leg {leg + 1} hung\n{_log(out)}")
                return
            if ended["code"] == KILLED:
                outcome.kills.append(kill)
                resume = out.exists()
            elif ended["code"] == 0 and not left:
                return
            elif ended["code"] == 2 and resume and save.is_free(out):
                left, resume = ([kill, *left] if kill != "never:1" else left), False  # no recipe yet: train it again
            elif ended["code"] != 0:
                outcome.wrong.append(f"leg {leg + 1} ended with {ended['code']}\n{_log(out)}")
                return
            else:
                resume = True
        outcome.wrong.append(f"not done after {MOST_LEGS} legs\n{_log(out)}")


def drawn_kills(twin: Twin, chance: Random, count: int) -> list[str]:
    """Return points that a run passes, each with one of the times that it does, and moments, at random."""
    kills = []
    for leg in range(count):
        share = min(1.0, 2 / count) if chance.random() < 0.8 else 1.0  # a leg that is killed leaves something to others
        kind, names = chance.random(), sorted(twin.counts) + (list(RESUMING) if leg else [])
        if kind < 0.2:
            kills.append(f"after_s:{chance.uniform(0, twin.seconds * share):.4f}")
            continue
        name = "call" if kind < 0.4 else chance.choice(names)
        passed = twin.counts.get(name, RESUMING.get(name, 1))
        kills.append(f"{name}:{chance.randint(1, max(1, int(passed * share)))}")
    return kills


def repeat_line(axes: Axes, kills: Sequence[str]) -> str:
    """Return the command that runs a case again."""
    words = shlex.join([to_text(axes), " ".join(kills)])
    return f"PYTHONPATH=tests python -m kills.repeat {words}"


def _seen(out: Path) -> tuple[dict[int, Any], list[str]]:
    """Return what each update saw, and where an update that was done again saw something else."""
    seen: dict[int, Any] = {}
    wrong = []
    for line in out.with_name(f"{out.name}.seen").read_text().splitlines():
        told = json.loads(line)
        now = told["ids"], told["digest"]
        before = seen.setdefault(told["update"], now)
        if before != now:
            wrong.append(f"update {told['update']} saw {before} first, and {now} when it was done again")
    return seen, wrong


def _log(out: Path) -> str:
    return out.with_name(f"{out.name}.log").read_text()[-3000:]
