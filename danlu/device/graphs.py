"""Work on a CUDA device that is recorded once and replayed: one launch instead of hundreds.

A replay reads and writes the very memory that the recording did, with the very numbers that the host put into it then;
what differs from one replay to the next has to lie in tensors that are filled before it. PyTorch itself gives every
replay the seed and the offset at which the default generator stands.

Source: "CUDA Graphs" in PyTorch's notes on CUDA semantics, torch/cuda/graphs.py, ATen/cuda/CUDAGraph.cpp.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, final

import torch

Made = TypeVar("Made")


@final
class Recording(Generic[Made]):
    """Recorded work.

    Fields:
        made: what the work returned; every replay writes its tensors anew.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, made: Made) -> None:
        self._graph, self.made = graph, made

    def replay(self) -> None:
        """Do the work again, in the current stream. Cost: one launch, and two numbers for the generator; no sync."""
        self._graph.replay()


@final
class Recorder:
    """Records work on one CUDA device, in a stream of its own; its recordings share the memory between their results.

    They may, because they are replayed one after another and no replay reads what another one left there.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Hold the recorder's stream, which comes after what was asked for before, and before what is asked for later.

        Work runs in it a few times before it is recorded, so that libraries set themselves up for this stream.
        """
        outside = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outside.wait_stream(self._stream)

    def record(self, work: Callable[[], Made]) -> Recording[Made]:
        """Record work without doing it; what it allocates stays its own.

        Raises:
            Exception: what the work raised, or what kept CUDA from recording it. The stream records no longer then.

        Cost: waits for the device, and gives PyTorch's unused memory back to it.
        """
        graph, first = torch.cuda.CUDAGraph(), list[BaseException]()

        def noted() -> Made:
            try:
                return work()
            except BaseException as error:
                first.append(error)
                raise

        try:
            # "thread_local": another thread, such as one that pins memory for a DataLoader, may go on using CUDA
            with (
                self.aside(),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                made = noted()
        except BaseException as error:
            self._recover(graph)
            raise (first.pop() if first else error) from None  # where the work fails, the capture's end may fail too
        return Recording(graph, made)

    def _recover(self, graph: torch.cuda.CUDAGraph) -> None:
        """Undo what a capture leaves behind whose own end failed: then memory is still taken from its pool.

        The stream itself records no longer, and `aside` has put the outer one back.
        """
        graph.reset()
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        with contextlib.suppress(RuntimeError):  # the capture's end did this already
            torch._C._cuda_endAllocateToPool(index, self._pool)
            torch._C._cuda_releasePool(index, self._pool)
        self._pool = torch.cuda.graph_pool_handle()

    def wait(self) -> None:
        """Wait until the device has done everything: before recordings are dropped."""
        with contextlib.suppress(RuntimeError):  # the device has failed, which somebody else will say
            torch.cuda.synchronize(self._device)
