"""Both ends of a hijacked connection: standard input goes out, frames or raw output come in."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from shoal.api.client import Client, DaemonError, Hijacked
from shoal.api.client_streams import frames
from shoal.cli import terminal
from shoal.cli.command import CommandFault

_NEVER_PROXIED = (
    "SIGCHLD",
    "SIGPIPE",
    "SIGURG",
    "SIGKILL",
    "SIGSTOP",
    "SIGWINCH",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGCONT",
)


class Detached(Exception):
    """The user pressed the detach keys."""


def run(
    hijacked: Hijacked,
    *,
    tty: bool,
    stdin: bool,
    detach_keys: bytes = terminal.DETACH,
    resize: Callable[[int, int], None] | None = None,
) -> None:
    """Copy until the other side closes. Raises Detached, CommandFault for an error in the stream."""
    detached = threading.Event()
    if stdin:
        watch = terminal.DetachWatch(detach_keys) if tty else None
        threading.Thread(target=_send_stdin, args=(hijacked, watch, detached), daemon=True).start()
    known = [(0, 0)]

    def idle() -> None:
        if detached.is_set():
            raise Detached
        if resize and tty:
            now = terminal.size()
            if now != known[0] and now != (0, 0):
                known[0] = now
                resize(*now)

    with _woken_by_resize(hijacked, tty):
        try:
            _receive(hijacked, idle)
        finally:
            hijacked.close()


def _receive(hijacked: Hijacked, idle: Callable[[], None]) -> None:
    chunks = hijacked.pump(idle=idle)
    if not hijacked.multiplexed:
        for chunk in chunks:
            _write(sys.stdout.buffer, chunk)
        return
    for stream, payload in frames(chunks):
        if stream == 3:
            raise CommandFault(f"error from daemon in stream: {payload.decode(errors='replace')}")
        _write(sys.stderr.buffer if stream == 2 else sys.stdout.buffer, payload)


def _write(out: BinaryIO, data: bytes) -> None:
    out.write(data)
    out.flush()


def _send_stdin(hijacked: Hijacked, watch: terminal.DetachWatch | None, detached: threading.Event) -> None:
    while True:
        try:
            data = os.read(0, 65536)
        except OSError:
            data = b""
        if not data:
            hijacked.feed(None)
            return
        if watch:
            data, pressed = watch.feed(data)
            if pressed:
                detached.set()
                hijacked.feed(data)
                return
        hijacked.feed(data)


@contextmanager
def _woken_by_resize(hijacked: Hijacked, tty: bool) -> Iterator[None]:
    """A change of the window's size interrupts the wait for data, where the system says so."""
    number = getattr(signal, "SIGWINCH", None)
    if not tty or number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: hijacked.wake())
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def proxied_signals(client: Client, container: str, *, active: bool) -> Iterator[None]:
    """Signals that this process gets go to the container instead. `client` must be used by nobody else."""
    if not active or threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def forward(number: int, _frame: object) -> None:
        name = signal.Signals(number).name.removeprefix("SIG")
        try:
            client.post(f"/containers/{container}/kill", {"signal": name})
        except DaemonError:
            pass  # it has ended meanwhile

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
        number = getattr(signal, name, None)
        if number is not None:
            before[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
