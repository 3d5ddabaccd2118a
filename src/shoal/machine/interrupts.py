"""Being interrupted: SIGTERM and SIGHUP end a command as Ctrl-C does, and what it takes back it takes back whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")


class Terminated(KeyboardInterrupt):
    """The command was told to end by a signal other than Ctrl-C."""


@contextmanager
def interruptible() -> Iterator[None]:
    """A scope in which those signals raise Terminated where the program is. Signals reach the main thread only."""
    with _handlers(_terminate, _NAMES):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """A scope that a second Ctrl-C does not cut in two."""
    with _handlers(signal.SIG_IGN, ("SIGINT", *_NAMES)):
        yield


@contextmanager
def _handlers(handler: Any, names: tuple[str, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old if old is not None else signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(signal.Signals(number).name)
