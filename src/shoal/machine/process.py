"""A process that is known by more than its number, so that a number used again is not mistaken for it."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Identity(NamedTuple):
    """A process: its number, when it started (clock ticks since boot), and which boot that was."""

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Identity | None:
    """The identity of the live process `pid`; None when there is none or it has ended (a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return Identity(pid, int(fields[19]), _BOOT_ID.read_text().strip())


def alive(process: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(process.pid) == process


def end(process: Identity, number: signal.Signals | None, timeout: float) -> bool:
    """Send the signal (or none) and wait until the process has ended; False when it has not after `timeout` seconds."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not alive(process):
            return True
        if number is not None:
            signal.pidfd_send_signal(descriptor, number)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                return True
        return False
    except ProcessLookupError:
        return True
    finally:
        os.close(descriptor)
