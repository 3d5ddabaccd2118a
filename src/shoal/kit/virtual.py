"""An event loop whose time jumps: for tests. When nothing is ready, it moves its clock to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Polls real descriptors, but turns the wait for the next timer into a jump of the loop's clock."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump
        self.patience = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(min(timeout, self.patience))
        if not ready and timeout > 0:
            self._jump(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`asyncio`'s loop with virtual time.

    `patience` (seconds of real time, default 0) is how long it waits for real descriptors or threads before it
    jumps; a test that uses real sockets or `to_thread` beside timers sets a few milliseconds.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self._virtual = 0.0
        selector = _JumpingSelector(self._jump)
        selector.patience = patience
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual

    def _jump(self, seconds: float) -> None:
        self._virtual += seconds


def run_virtual(main: Coroutine[Any, Any, T], *, patience: float = 0.0) -> T:
    """Run `main` to its end in virtual time and return what it returns."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(patience)) as runner:
        return runner.run(main)
