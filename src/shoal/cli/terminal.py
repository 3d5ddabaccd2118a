"""The terminal at this end: raw mode, size, keys that detach. On every operating system."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DETACH = b"\x10\x11"
"""ctrl-p, ctrl-q."""


def is_terminal(number: int) -> bool:
    """Whether the file descriptor is a terminal."""
    try:
        return os.isatty(number)
    except OSError:
        return False


def size() -> tuple[int, int]:
    """Height and width; zeros without a terminal."""
    for number in (1, 0, 2):
        try:
            columns, lines = os.get_terminal_size(number)
        except OSError:
            continue
        return lines, columns
    return 0, 0


@contextmanager
def raw() -> Iterator[None]:
    """Keys go through as they are typed, none is acted upon here; undone at the end."""
    if not is_terminal(0):
        yield
    elif sys.platform == "win32":
        with _raw_windows():
            yield
    else:
        import termios
        import tty

        before = termios.tcgetattr(0)
        try:
            tty.setraw(0)
            yield
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def _raw_windows() -> Iterator[None]:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    before: list[tuple[int, int]] = []
    try:
        for handle_number, clear, add in ((-10, 0x0007, 0x0200), (-11, 0, 0x0004)):  # input: no line mode; output: ANSI
            handle = kernel.GetStdHandle(handle_number)
            mode = ctypes.c_uint32()
            kernel.GetConsoleMode(handle, ctypes.byref(mode))
            before.append((handle, mode.value))
            kernel.SetConsoleMode(handle, (mode.value & ~clear) | add)
        yield
    finally:
        for handle, value in before:
            kernel.SetConsoleMode(handle, value)


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` or `a,ctrl-\\` as bytes. Raises ValueError."""
    found = b""
    for key in text.split(","):
        if len(key) == 1:
            found += key.encode()
            continue
        letter = key.removeprefix("ctrl-")
        code = "@abcdefghijklmnopqrstuvwxyz[\\]^_".find(letter)
        if not key.startswith("ctrl-") or len(letter) != 1 or code < 0:
            raise ValueError(f"invalid detach keys ({text}) provided: unknown character: '{key}'")
        found += bytes([code])
    return found


class DetachWatch:
    """Finds the detach keys in what is typed, over several reads."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the keys were pressed."""
        out = b""
        for byte in data:
            held = self._held + bytes([byte])
            if held == self._keys:
                return out, True
            if self._keys.startswith(held):
                self._held = held
                continue
            out += held
            self._held = b""
        return out, False
