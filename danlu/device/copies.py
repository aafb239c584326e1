"""Copies from host memory to a device, beside the work that is under way there."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

RESERVE = 1 << 30  # bytes of a device that libraries take for themselves, and what lies between PyTorch's blocks


def room_for_data(device: torch.device) -> int | None:
    """Return how many bytes of data may lie on a device: half of what is free, less a reserve; None for no limit.

    The other half is for weights, gradients, what the optimizer remembers, and activations.
    """
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(max(0, free - RESERVE) // 2)


class Sent(NamedTuple):
    """Tensors on their way, and the event after which they have arrived; None where they are there already."""

    tensors: list[Tensor]
    arrived: torch.cuda.Event | None


@final
class Copier:
    """Gathers rows of columns that lie in host memory, and copies them to a device.

    They are gathered in page-locked buffers, of which there are two for each column, used in turn: a copy out of one
    may be under way while the other is filled. On the CPU there is nothing to copy, and no buffer.
    """

    def __init__(self, columns: Sequence[Tensor], device: torch.device) -> None:
        self._columns, self._device, self._turn = columns, device, 0
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._events = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
            self._buffers: list[list[Tensor]] = [[], []]

    def send(self, ids: Tensor) -> Sent:
        """Gather rows, and begin to copy them.

        Args:
            ids: which rows, int64 on the CPU.

        Cost: the gather; it waits only where the copy before the last one is still under way.
        """
        if self._device.type != "cuda":
            return Sent([column.index_select(0, ids) for column in self._columns], None)
        self._turn ^= 1
        event = self._events[self._turn]
        event.synchronize()  # the last copy out of these buffers is done; there is none before the first
        parts = self._parts(len(ids))
        for column, part in zip(self._columns, parts, strict=True):
            torch.index_select(column, 0, ids, out=part)
        with torch.cuda.stream(self._stream):
            tensors = [part.to(self._device, non_blocking=True) for part in parts]
            event.record(self._stream)
        return Sent(tensors, event)

    def _parts(self, rows: int) -> list[Tensor]:
        """Return the first rows of the buffers whose turn it is, after making them larger where they are too small."""
        buffers = self._buffers[self._turn]
        if not buffers or len(buffers[0]) < rows:
            buffers[:] = [torch.empty((rows, *c.shape[1:]), dtype=c.dtype, pin_memory=True) for c in self._columns]
        return [buffer[:rows] for buffer in buffers]

    def receive(self, sent: Sent) -> list[Tensor]:
        """Return tensors that were sent, for use in the current stream. Cost: no sync; the device itself waits."""
        if sent.arrived is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(sent.arrived)
            for tensor in sent.tensors:
                tensor.record_stream(stream)  # its memory belongs to the copying stream, which may not reuse it earlier
        return sent.tensors
