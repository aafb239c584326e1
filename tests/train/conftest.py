"""What tests of whole runs share; and the files beside them, by name."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes time and no test here looks at: the curves' picture, and waiting for the disk.

    A process that is killed loses nothing of what it wrote, waited for or not; only a power cut does.
    """
    monkeypatch.setattr("danlu.hooks.record.draw", lambda *given: None)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
