"""Several machines at once: a bounded number of threads, a line of progress for each machine, and Ctrl-C for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TextIO

from shoal.machine.host import Say
from shoal.machine.interrupts import interrupt, undisturbed
from shoal.ui.progress import Board

AT_ONCE = 8
"""How many machines are worked on at the same time."""

Act = Callable[[str, Say], object]
"""What is done to the machine of that name; it reports by the other."""


class Lines:
    """What is said about several machines, by several threads: every line whole, and with the machine's name.

    On a terminal each machine has one line, which shows the last that was said about it, in the order of `names`.
    """

    def __init__(self, names: Sequence[str], out: TextIO, *, terminal: bool) -> None:
        self._out, self._lock = out, threading.Lock()
        self._board = Board(out, terminal=True) if terminal else None
        if self._board:
            for name in names:
                self._board.set(name, "...")

    def say(self, name: str, line: str) -> None:
        """A line about machine `name`."""
        with self._lock:
            if self._board:
                self._board.set(name, line.removeprefix(f"({name}) "))
                return
            self._out.write(named(name, line) + "\n")
            self._out.flush()

    def failed(self, name: str) -> None:
        """It went wrong with machine `name`: its line says so; why is said when all have ended."""
        with self._lock:
            if self._board:
                self._board.set(name, "failed")


def named(name: str, line: str) -> str:
    """The line with the machine's name before it, unless it has it."""
    has_it = line.startswith(f"({name}) ") or f'"{name}"' in line or line.endswith(f" {name}")
    return line if has_it else f"({name}) {line}"


def run(names: Sequence[str], act: Act, lines: Lines, at_once: int = AT_ONCE) -> dict[str, BaseException]:
    """Do it to every machine, `at_once` of them at a time; what went wrong, by name, in the order of `names`.

    KeyboardInterrupt is passed on to whatever is being done, so that it takes back what it made; nothing further is
    begun, and the interruption is raised when all have ended.
    """
    crew = _Crew(names, act, lines)
    crew.start(min(at_once, len(names)))
    try:
        crew.wait()
    except KeyboardInterrupt:
        with undisturbed():
            crew.interrupt()
            crew.wait()
        raise
    return {name: crew.faults[name] for name in names if name in crew.faults}


class _Crew:
    """The threads. `_busy` holds those that work on a machine now: only these may be interrupted."""

    def __init__(self, names: Sequence[str], act: Act, lines: Lines) -> None:
        self._waiting, self._act, self._lines = list(names), act, lines
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._busy: set[int] = set()
        self._running = 0
        self.faults: dict[str, BaseException] = {}

    def start(self, count: int) -> None:
        self._running = count
        for _ in range(count):
            threading.Thread(target=self._work, daemon=True).start()

    def wait(self) -> None:
        # Thread.join takes a thread for ended when it is interrupted itself, so that the threads are counted here.
        with self._ended:
            while self._running:
                # Not for ever at a time: on Windows such a wait cannot be interrupted.
                self._ended.wait(0.2)

    def interrupt(self) -> None:
        with self._lock:
            self._waiting.clear()
            for thread in self._busy:
                interrupt(thread)

    def _work(self) -> None:
        try:
            while (name := self._next()) is not None:
                try:
                    self._act(name, lambda line, name=name: self._lines.say(name, line))  # type: ignore[misc]
                except BaseException as fault:
                    self.faults[name] = fault
                    self._lines.failed(name)
                finally:
                    with self._lock:
                        self._busy.discard(threading.get_ident())
        except KeyboardInterrupt:
            pass  # it came just after the work was done
        finally:
            with self._ended:
                self._running -= 1
                self._ended.notify()

    def _next(self) -> str | None:
        with self._lock:
            if not self._waiting:
                return None
            self._busy.add(threading.get_ident())
            return self._waiting.pop(0)
