"""Memory: what there is, what was used, and a limit that nothing passes."""

import sys
from pathlib import Path

import pytest
import torch

from danlu.device import capped, forget_peak, is_exhausted, memory, memory_available, peak_bytes, room_bytes, used_bytes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")


@LINUX
def test_no_more_is_given_than_the_machine_has():
    words = Path("/proc/meminfo").read_text().split()
    total = int(words[words.index("MemTotal:") + 1]) * 1024
    assert 0 <= room_bytes() < total


@LINUX
def test_the_peak_shows_what_was_used_since():
    forget_peak()
    before = used_bytes()
    block = torch.ones(64 << 20, dtype=torch.uint8)
    assert peak_bytes() >= before + 0.9 * block.numel()


@LINUX
def test_beyond_a_cap_an_allocation_fails_and_afterwards_it_does_not():
    with capped(64 << 20), pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 30, dtype=torch.uint8)
    assert is_exhausted(caught.value)
    assert torch.empty(1 << 30, dtype=torch.uint8).numel() == 1 << 30


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error: BaseException, expected: bool):
    assert is_exhausted(error) is expected


def group(folder: Path, most: str, current: int, files: int) -> Path:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")
    return folder


def test_it_is_the_least_of_machine_and_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:     300 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    for most, current, files, free in (
        ("max", 0, 0, 300 << 10),
        ("100000", 50_000, 20_000, 70_000),  # files that are only kept in memory go when it is needed
        ("100000", 200_000, 0, 0),
        ("99999999", 0, 0, 300 << 10),
    ):
        monkeypatch.setattr(memory, "_GROUP", group(tmp_path, most, current, files))
        assert memory_available() == memory_available(torch.device("cpu")) == free


def test_where_the_system_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "_GROUP", tmp_path / "none")
    assert memory_available() == memory.UNKNOWN_BYTES
