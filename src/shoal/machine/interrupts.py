"""Being interrupted: SIGTERM and SIGHUP end a command as Ctrl-C does, and what it takes back it takes back whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")

_guard = threading.Lock()
_undisturbed: set[int] = set()
"""The threads that `interrupt` leaves alone. Changed with `_guard` held."""


class Terminated(KeyboardInterrupt):
    """The command was told to end by a signal other than Ctrl-C."""


@contextmanager
def interruptible() -> Iterator[None]:
    """A scope in which those signals raise Terminated where the program is. Signals reach the main thread only."""
    with _handlers(_terminate, _NAMES):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """A scope that a second Ctrl-C does not cut in two; nor `interrupt`, in another thread than the main one."""
    with _left_alone() if _elsewhere() else _handlers(signal.SIG_IGN, ("SIGINT", *_NAMES)):
        yield


def interrupt(thread: int) -> None:
    """Raise KeyboardInterrupt in the thread of that number, once it runs Python code; not while it is undisturbed.

    Signals reach the main thread only: so it passes them on.
    """
    import ctypes

    with _guard:
        if thread not in _undisturbed:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))


def _elsewhere() -> bool:
    return threading.current_thread() is not threading.main_thread()


@contextmanager
def _left_alone() -> Iterator[None]:
    own = threading.get_ident()
    if own in _undisturbed:
        yield
        return
    while own not in _undisturbed:
        # An interruption that was on its way counts as one that comes inside.
        with suppress(KeyboardInterrupt), _guard:
            _undisturbed.add(own)
    try:
        yield
    finally:
        with _guard:
            _undisturbed.discard(own)


@contextmanager
def _handlers(handler: Any, names: tuple[str, ...]) -> Iterator[None]:
    if _elsewhere():
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
