"""QEMU's monitor: one JSON object a line over a socket; a greeting first, answers and events mixed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shoal.machine.errors import MachineError

TIMEOUT = 5.0
"""Seconds that QEMU may take for an answer."""


class MonitorError(MachineError):
    """QEMU refused a command, or does not answer."""


class Lines:
    """Cuts a stream into its JSON objects."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects that are complete with `data`. Raises MonitorError for what is none."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in filter(None, (line.strip() for line in lines)):
            try:
                message = json.loads(line)
            except ValueError as fault:
                raise MonitorError(f"QEMU's monitor said {line[:80]!r}") from fault
            if not isinstance(message, dict):
                raise MonitorError(f"QEMU's monitor said {line[:80]!r}")
            yield message


class Monitor:
    """A conversation with the QEMU whose monitor is the socket `path`; QEMU holds one at a time."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self._path, self._timeout = path, timeout
        self._lines, self._messages = Lines(), list[dict[str, Any]]()

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._timeout)
        try:
            with _short(self._path) as name:
                self._socket.connect(name)
            if "QMP" not in self._next():
                raise MonitorError("QEMU's monitor did not greet")
            self.execute("qmp_capabilities")
        except OSError as fault:
            self._socket.close()
            raise _explained(fault) from fault
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Let QEMU do `command`; what it returns. Raises MonitorError."""
        request = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while True:
                message = self._next()
                if "return" in message:
                    return message["return"]
                if "error" in message:
                    raise MonitorError(f"QEMU refuses {command}: {message['error'].get('desc', 'no reason given')}")
        except OSError as fault:
            raise _explained(fault) from fault

    def _next(self) -> dict[str, Any]:
        while not self._messages:
            data = self._socket.recv(65536)
            if not data:
                raise MonitorError("QEMU's monitor hung up")
            self._messages += self._lines.feed(data)
        return self._messages.pop(0)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of `path` that fits into a socket's address, however long the path is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _explained(fault: OSError) -> MonitorError:
    reason = "no answer" if isinstance(fault, TimeoutError) else (fault.strerror or str(fault)).lower()
    return MonitorError(f"QEMU's monitor: {reason}")
