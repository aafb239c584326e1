"""Python's debugger at the first line of a model's `forward`."""

import pdb
from bdb import BdbQuit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Debugger(pdb.Pdb):
    """Knows whether the person left it, which `runcall` does not tell."""

    left = False

    def set_quit(self) -> None:
        """Note that the person left."""
        self.left = True
        super().set_quit()


@contextmanager
def stopping(model: Any, when: Callable[[], bool]) -> Iterator[None]:
    """Stop in `model.forward`, once: the first time it is called where `when()` says so.

    Raises:
        BdbQuit: the person left the debugger.
    """
    forward: Callable[..., Any] = model.forward
    own, stopped = vars(model).get("forward"), False

    def watched(*inputs: Any, **named: Any) -> Any:
        nonlocal stopped
        if stopped or not when():
            return forward(*inputs, **named)
        stopped = True
        debugger = _Debugger(nosigint=True)
        output = debugger.runcall(forward, *inputs, **named)
        if debugger.left:
            raise BdbQuit
        return output

    model.forward = watched
    try:
        yield
    finally:
        del model.forward
        if own is not None:
            model.forward = own
