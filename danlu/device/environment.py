"""What a figure was measured on: versions, hardware, commit and command, for `environment.json`."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("danlu", "torch", "numpy", "safetensors", "msgspec", "tensorboard", "pillow", "simplejpeg")


def environment() -> dict[str, Any]:
    """Return versions, hardware, the caller's git commit and whether its tree was clean, and the command."""
    return {
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git": _git(Path.cwd()),
        "command": sys.argv,
    }


def describe(device: str, engine: str = "torch", threads: int | None = None) -> str:
    """Say in a few words what a run on `device` was measured on; the default for `threads` is what is set now."""
    threads = torch.get_num_threads() if threads is None else threads
    used = "1 thread" if threads == 1 else f"{threads} threads"
    if engine == "zero":
        return f"{_processor()}, {used}, danlu.zero on numpy {version_of('numpy')}"
    torch_version = f"torch {torch.__version__}"
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, {torch_version}"
    return f"{_processor()}, {used}, {torch_version}"


def version_of(package: str) -> str:
    """Return an installed package's version, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(folder: Path) -> dict[str, Any] | None:
    """Return commit and cleanliness of the checkout around `folder`; None where there is none, or no git."""
    try:
        commit = _run_git(folder, "rev-parse", "HEAD")
        changed = _run_git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "clean": not changed}


def _run_git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
