"""Lines that change: progress of pulls, pushes and services, redrawn on a terminal and appended in a pipe."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any, TextIO

from shoal.kit.units import human_size


class ProgressFault(Exception):
    """The stream said that the work failed."""


class Board:
    """Lines by name. On a terminal a line is replaced in place; elsewhere it is printed when it changes."""

    def __init__(self, out: TextIO, *, terminal: bool) -> None:
        self.terminal = terminal
        self._out = out
        self._lines: dict[str, str] = {}

    def say(self, text: str) -> None:
        """A line that stays; what follows starts below it."""
        self._lines.clear()
        self._out.write(text + "\n")
        self._out.flush()

    def set(self, name: str, text: str, *, bar: str = "") -> None:
        """Show `name: text`; `bar` only on a terminal."""
        line = f"{name}: {text}{bar}" if self.terminal else f"{name}: {text}"
        if self._lines.get(name) == line:
            return
        known = name in self._lines
        self._lines[name] = line
        if not self.terminal:
            self._out.write(line + "\n")
        elif not known:
            self._out.write(self._cut(line) + "\n")
        else:
            up = len(self._lines) - list(self._lines).index(name)
            self._out.write(f"\x1b[{up}A\x1b[2K\r{self._cut(line)}\x1b[{up}B\r")
        self._out.flush()

    def _cut(self, line: str) -> str:
        return line[: shutil.get_terminal_size().columns - 1]


def bar(current: int, total: int, width: int = 50) -> str:
    """`[=====>    ]`."""
    done = min(width, width * current // total if total else 0)
    return "[" + "=" * done + ">" + " " * (width - done) + "]"


def show(objects: Iterable[Any], out: TextIO, *, terminal: bool) -> list[Any]:
    """Show the progress objects of a pull, push, load or import; what they carried in `aux` is returned.

    Raises ProgressFault with the daemon's message.
    """
    board = Board(out, terminal=terminal)
    carried: list[Any] = []
    for item in objects:
        if not isinstance(item, dict):
            continue
        fault = item.get("errorDetail") or ({"message": item["error"]} if item.get("error") else None)
        if fault:
            raise ProgressFault(fault.get("message", "unknown error"))
        if "aux" in item:
            carried.append(item["aux"])
        elif item.get("stream"):
            out.write(item["stream"])
            out.flush()
        elif item.get("status"):
            _status(board, item)
    return carried


def _status(board: Board, item: dict[str, Any]) -> None:
    status, identifier = item["status"], item.get("id")
    detail = item.get("progressDetail") or {}
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if not identifier:
        board.say(status)
    elif not (current or total):
        board.set(identifier, status)
    elif board.terminal:
        sizes = f"{human_size(current)}/{human_size(total)}" if total else human_size(current)
        board.set(identifier, f"{status} ", bar=f"{bar(current, total)}  {sizes}" if total else sizes)
