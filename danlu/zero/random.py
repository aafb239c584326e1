"""Random numbers: generators that are seeded, saved and restored."""

import json
from typing import Any, final

import numpy as np

from danlu.zero.arguments import require
from danlu.zero.tensor import Tensor, wrap


@final
class Generator:
    """A stream of random numbers; the same seed brings the same numbers, not PyTorch's. `.np` is NumPy's generator."""

    __slots__ = ("_seed", "np")

    def __init__(self, device: Any = "cpu") -> None:
        require(str(device) == "cpu", "a Generator lives on the only device", device=device)
        self.manual_seed(67280421310721)  # PyTorch's default seed

    def manual_seed(self, seed: int) -> "Generator":
        """Start the stream that belongs to `seed`, and return the generator."""
        seed = int(seed)
        require(-(2**63) <= seed < 2**64, "a seed has 64 bits", ValueError, seed=seed)
        self._seed = seed % 2**64
        self.np = np.random.default_rng(self._seed)
        return self

    def seed(self) -> int:
        """Start a stream that nobody can foresee, and return its seed."""
        return self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) >> 1).initial_seed()

    def initial_seed(self) -> int:
        """Return the seed that the stream started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """Return where the stream stands, as bytes."""
        state = {"seed": self._seed, "stream": self.np.bit_generator.state}
        return wrap(np.frombuffer(json.dumps(state).encode(), np.uint8).copy())

    def set_state(self, new_state: Tensor) -> "Generator":
        """Go on from where `get_state` was called, and return the generator."""
        fits = isinstance(new_state, Tensor) and new_state._array.dtype == np.uint8
        require(fits, "a state is bytes, as get_state() returns them", TypeError, new_state=new_state)
        try:
            state = json.loads(new_state._array.tobytes())
            generator = np.random.default_rng(0)
            generator.bit_generator.state = state["stream"]
            self._seed = state["seed"]
        except (ValueError, KeyError, TypeError) as error:
            raise RuntimeError("new_state does not hold a state that get_state() returned") from error
        self.np = generator
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.get_state(),)


def _restored(state: Tensor) -> Generator:
    return Generator().set_state(state)


default_generator = Generator()


def default() -> Generator:
    """Return the generator that is used where none is given."""
    return default_generator


def choose(generator: Generator | None) -> np.random.Generator:
    """Return NumPy's generator of the given one, or of the default."""
    return (default_generator if generator is None else generator).np


# The default generator's own methods, under PyTorch's names.
manual_seed, seed, initial_seed = default_generator.manual_seed, default_generator.seed, default_generator.initial_seed
get_rng_state, set_rng_state = default_generator.get_state, default_generator.set_state
