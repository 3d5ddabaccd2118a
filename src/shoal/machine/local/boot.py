"""The command's side of a machine's life: start its pid 1, give it its network, wait for it; end it, and clean up."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from shoal.machine.errors import MachineError
from shoal.machine.local import cgroups
from shoal.machine.local.disk import Layout
from shoal.machine.process import Identity, alive, end
from shoal.machine.subnet import Subnet

BOOT_TIMEOUT = 30.0
STOP_TIMEOUT = 12.0
"""Seconds that shoald may take to end in good order, before everything else of the machine is ended."""


def group_name(directory: Path) -> str:
    """The name of the machine's cgroup: its own name, and a mark of its store."""
    return f"{directory.name}-{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}"


def running(layout: Layout) -> Identity | None:
    """The machine's pid 1, when it runs."""
    try:
        identity = Identity(**json.loads(layout.run_file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return identity if alive(identity) else None


def launch(layout: Layout, spec: dict[str, Any], subnet: Subnet, address: str) -> None:
    """Start pid 1 with `spec` and plug it into `subnet`. Raises MachineError; then nothing runs."""
    directories = cgroups.create(spec["group"])
    full = {**spec, "cgroups": [str(path) for path in directories], "run_file": str(layout.run_file)}
    text = json.dumps(full).encode()
    command = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("launch.py"))]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as process,
    ):
        assert process.stdin and process.stdout and process.stderr
        try:
            process.stdin.write(b"%d\n%s" % (len(text), text))
            process.stdin.flush()
            answers = _Answers(process.stdout.fileno())
            pid = int(answers.next("pid"))
            subnet.plug(address, pid)
            answers.next("mounted")
            process.stdin.write(b"\n")
            process.stdin.flush()
        except (MachineError, OSError) as fault:
            process.stdin.close()
            process.kill()
            halt(layout, kill=True)
            trouble = process.stderr.read().decode(errors="replace").strip()
            raise MachineError(f"{fault}{': ' if trouble else ''}{trouble}") from fault


class _Answers:
    """The lines that the launcher and pid 1 write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""

    def next(self, word: str) -> str:
        """The rest of the next line, which must begin with `word`. Raises MachineError."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._descriptor, 4096) if ready else b""
            if not chunk:
                raise MachineError("the machine ended while it started" if ready else "the machine does not start")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        first, _, rest = line.decode(errors="replace").partition(" ")
        if first != word:
            raise MachineError(rest or line.decode(errors="replace"))
        return rest


def halt(layout: Layout, *, kill: bool = False) -> None:
    """End the machine, in good order or at once. Already ended is fine. Its cgroups and run file go too."""
    identity = running(layout)
    if identity:
        polite = not kill and end(identity, signal.SIGTERM, STOP_TIMEOUT + 8)
        if not polite and not end(identity, signal.SIGKILL, 10):
            raise MachineError(f"process {identity.pid} does not end")
    try:
        cgroups.remove(group_name(layout.run_file.parents[1]))
    except OSError as fault:
        raise MachineError(f"cannot remove {fault.filename}: {fault.strerror}") from fault
    layout.run_file.unlink(missing_ok=True)
