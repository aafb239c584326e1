"""The servers that run what is killed, one pair for a test session; and the files beside the tests, by name."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from kills.chain import Bench

    bench = Bench(tmp_path_factory.mktemp("kills"))
    yield bench
    bench.close()
