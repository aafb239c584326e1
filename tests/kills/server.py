"""A process that has imported everything, and forks a child for every run: `python tests/kills/server.py`.

It reads a line of JSON for each run, and answers with one when the child has ended. It starts no thread and computes
nothing itself, so that a child begins as a fresh process would; what a fresh process has otherwise (where the global
generators stand) is made different in each.
"""

import gc
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import job
import matplotlib.pyplot
import numpy as np
import PIL.Image
import points
import threadpoolctl
import torch
import torch._dynamo
import torch.utils.tensorboard
from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: F401

import danlu
from danlu import cli
from danlu.cli import app, runs, training  # noqa: F401
from danlu.errors import DanluError
from danlu.models import twin
from danlu.recipe_text import settle, write
from danlu.track import figure, pictures  # noqa: F401

LIMIT_S = 120.0
PRELOADED = (matplotlib.pyplot, PIL.Image, threadpoolctl, torch.utils.tensorboard, torch._dynamo)


def train(ask: dict[str, Any]) -> int:
    """Begin the run or go on with it; return the exit code."""
    axes, out = ask["axes"], Path(ask["out"])
    if axes["door"] == "command":
        if ask["resume"]:
            return cli.run(["resume", str(out), "--quiet"])
        recipe = out.with_name(f"{out.name}.toml")
        recipe.write_bytes(write(settle(job.recipe(axes, by_name=True))[0]).encode())
        return cli.run(["train", str(recipe), "--out", str(out), "--quiet"])
    torch.manual_seed(3)
    model: Any = job.network(axes["model"])
    model = twin.twin(model) if axes["engine"] == "zero" else model
    torch.seed()
    data = job.data(axes["model"], axes["data"], axes["samples"])
    danlu.fit(model, data, job.recipe(axes, by_name=False), out=out, quiet=True, resume=ask["resume"])
    return 0


def child(ask: dict[str, Any]) -> int:
    """Run what is asked for, in a process of its own."""
    os.setpgid(0, 0)
    log = os.open(f"{ask['out']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    random.seed()
    np.random.seed(None)
    torch.seed()
    seen = os.open(f"{ask['out']}.seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def see(batches: Any, update: int) -> None:
        told = {"update": update, "ids": [job.ids(batch[0]) for batch in batches], "digest": digest(batches)}
        os.write(seen, f"{json.dumps(told)}\n".encode())

    installed = points.install(ask["kill"])
    points.on_batches(see)
    started_s = time.monotonic()
    try:
        code = train(ask)
    except DanluError as error:
        print(f"danlu: {error}", file=sys.stderr)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.setprofile(None)
    with open(f"{ask['out']}.counts", "w") as file:
        json.dump({"counts": installed.counts, "seconds": time.monotonic() - started_s}, file)
    return code


def digest(batches: Any) -> str:
    """Return a checksum of everything in an update's micro-batches."""
    found = hashlib.sha256()

    def add(tree: Any) -> None:
        if isinstance(tree, tuple | list):
            for item in tree:
                add(item)
        elif tree is not None:
            array = tree.detach().cpu().numpy()
            found.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())

    add(batches)
    return found.hexdigest()


def serve(ask: dict[str, Any]) -> dict[str, Any]:
    """Fork a child, kill it after a while where that is asked for, and return how it ended."""
    name, _, after_s = ask["kill"].partition(":")
    pid = os.fork()
    if pid == 0:
        try:
            code = child(ask)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    kill_s = time.monotonic() + (float(after_s) if name == "after_s" else LIMIT_S)
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > kill_s:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    return {"code": os.waitstatus_to_exitcode(status), "hung": name != "after_s" and time.monotonic() > kill_s}


def main() -> None:
    """Serve until standard input ends."""
    threads = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Threads:"))
    assert int(threads.split()[1]) == 1, f"{threads}: a fork would lose the others"
    gc.collect()
    gc.freeze()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
