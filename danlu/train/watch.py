"""The numbers that say whether an update was sound, kept on the device until somebody looks."""

from typing import final

import numpy as np
import torch
from torch import Tensor

FOLD = 256  # numbers that are kept one by one before they become one tensor


@final
class Watch:
    """The losses and gradient norms of the updates since the last look, on their device."""

    def __init__(self) -> None:
        self._updates = 0
        self._notes: list[Tensor] = []
        self._origins: list[tuple[int, str]] = []
        self._folded: list[Tensor] = []
        self._begun = 0

    def note(self, value: Tensor, what: str = "loss") -> None:
        """Note a number of the running update, 0-d. Cost: no sync, no kernel."""
        self._notes.append(value)
        self._origins.append((self._updates, what))

    def running(self) -> list[Tensor]:
        """Return what was noted of the running update."""
        return self._notes[self._begun :]

    def forget(self) -> None:
        """Take back what was noted of the running update."""
        del self._origins[len(self._origins) - len(self.running()) :]
        del self._notes[self._begun :]

    def done(self) -> None:
        """End the running update. Cost: one small kernel every 256 numbers."""
        self._updates += 1
        if len(self._notes) >= FOLD:
            self._folded.append(torch.stack(self._notes))
            self._notes = []
        self._begun = len(self._notes)

    def look(self) -> dict[int, str]:
        """Return which updates since the last look were bad, the first of them being 0, and what was.

        Cost: one copy from the device, which waits for it.
        """
        parts = self._parts()
        values = torch.cat(parts).double().cpu().numpy() if parts else np.zeros(0)
        bad: dict[int, str] = {}
        for index in np.flatnonzero(~np.isfinite(values)):
            update, what = self._origins[index]
            bad.setdefault(update, f"a {what} of {values[index]}")
        self._updates = self._begun = 0
        self._notes, self._origins, self._folded = [], [], []
        return bad

    def noted(self) -> tuple[list[str], Tensor]:
        """Return what was noted since the last look, in words and as one tensor. Cost: a small kernel or two."""
        return [what for _, what in self._origins], torch.cat(self._parts())

    def _parts(self) -> list[Tensor]:
        return [*self._folded, *([torch.stack(self._notes)] if self._notes else [])]
