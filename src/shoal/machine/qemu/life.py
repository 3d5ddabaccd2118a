"""A machine's QEMU as a process: start it, ask what it does, end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from shoal.machine.driver import State
from shoal.machine.errors import MachineError
from shoal.machine.process import Identity, alive, end
from shoal.machine.qemu.command import CONSOLE, MONITOR
from shoal.machine.qemu.qmp import Monitor, MonitorError

RUN_FILE, LOG = "run.json", "qemu.log"
LAUNCH_TIMEOUT = 30.0
STOP_TIMEOUT = 90.0
"""Seconds that a machine may take to power itself off: its containers have ten, and it may be slow."""

PRESS_EVERY = 5.0
"""Seconds between two presses of the power button: a machine that just boots does not feel the first."""

STATES = {
    "running": State.RUNNING, "paused": State.PAUSED, "suspended": State.PAUSED, "debug": State.PAUSED,
    "prelaunch": State.STARTING, "inmigrate": State.STARTING, "shutdown": State.STOPPING,
    "save-vm": State.PAUSED, "restore-vm": State.STARTING, "finish-migrate": State.PAUSED, "postmigrate": State.PAUSED,
}  # fmt: skip
"""QEMU's words; every other one (io-error, internal-error, guest-panicked, watchdog) is an error."""


class Life:
    """The QEMU of the machine whose files are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._run_file = directory / RUN_FILE

    def process(self) -> Identity | None:
        """Its process, while it lives."""
        try:
            identity = Identity(**json.loads(self._run_file.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return identity if alive(identity) else None

    def launch(self, command: list[str], tap: dict[str, Any]) -> None:
        """Start it; it outlives us. Raises MachineError; then nothing runs."""
        spec = {"directory": str(self.directory), "run_file": str(self._run_file), "log": LOG, "command": command}
        launcher = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("launch.py"))]
        process = subprocess.Popen(
            launcher, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        with process:
            try:
                answer, trouble = process.communicate(json.dumps({**spec, **tap}).encode(), LAUNCH_TIMEOUT)
            except BaseException as fault:
                # Who is not recorded yet is still of the launcher's group.
                os.killpg(process.pid, signal.SIGKILL)
                self.cut()
                if isinstance(fault, subprocess.TimeoutExpired):
                    raise MachineError(f"QEMU does not start within {LAUNCH_TIMEOUT:.0f} s") from fault
                raise
        # Becoming QEMU closes both streams: only who failed has said something.
        if said := (answer or trouble).decode(errors="replace").strip():
            self.cut()
            raise MachineError(f"QEMU does not start: {said}")

    def state(self) -> State:
        """What it does now."""
        if self.process() is None:
            return State.STOPPED
        try:
            with self.monitor() as monitor:
                return STATES.get(str(monitor.execute("query-status").get("status")), State.ERROR)
        except MonitorError:
            # It may have ended meanwhile; a QEMU that lives and does not answer is stuck.
            return State.ERROR if self.process() else State.STOPPED

    def monitor(self) -> Monitor:
        """Its monitor."""
        return Monitor(self.directory / MONITOR)

    def resume(self) -> None:
        """Go on after a pause."""
        with self.monitor() as monitor:
            monitor.execute("cont")

    def power_off(self, say: Callable[[str], None], timeout: float = STOP_TIMEOUT) -> None:
        """Press the power button and wait until the machine has shut itself down; after `timeout` cut its power."""
        deadline = time.monotonic() + timeout
        while (process := self.process()) and (left := deadline - time.monotonic()) > 0:
            with suppress(MonitorError), self.monitor() as monitor:
                if monitor.execute("query-status").get("status") == "paused":
                    monitor.execute("cont")
                monitor.execute("system_powerdown")
            if _ended(process, min(PRESS_EVERY, left)):
                break
        else:
            if self.process():
                say(f"The machine does not shut down within {timeout:.0f} s: cutting its power")
        self.cut()

    def cut(self) -> None:
        """End it at once, by its monitor or by a signal; already ended is fine. Raises MachineError when it stays."""
        process = self.process()
        if process:
            with suppress(MonitorError), Monitor(self.directory / MONITOR, timeout=2.0) as monitor:
                monitor.execute("quit")
            if not _ended(process, 2.0) and not end(process, signal.SIGKILL, 10.0):
                raise MachineError(f"process {process.pid} does not end")
        for name in (RUN_FILE, MONITOR):
            (self.directory / name).unlink(missing_ok=True)

    def last_words(self) -> str:
        """The end of what QEMU and the machine's console said."""
        lines = []
        for name in (CONSOLE, LOG):
            with suppress(OSError):
                text = (self.directory / name).read_text(errors="replace")
                lines += [line.rstrip() for line in text.splitlines() if line.strip()][-12:]
        return "\n".join(lines)


def _ended(process: Identity, timeout: float) -> bool:
    """Whether it ends within `timeout` seconds."""
    return end(process, None, timeout)
