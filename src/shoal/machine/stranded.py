"""StrandedDriver: a machine whose driver is not here any more, as far as its record tells how to reach it.

docker-machine's drivers all kept IPAddress, SSHUser, SSHPort and SSHKeyPath: enough to look at the machine and to use
it, not to start or remove it. The driver's data is never changed.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.machine.driver import Context, Flag, Prepare, SshEndpoint, State
from shoal.machine.errors import MachineError

ENGINE_PORT = 2376
_TIMEOUT = 5.0


class StrandedDriver:
    """One such machine. `missing` is why its driver cannot be had, and what everything else fails with."""

    def __init__(self, context: Context, data: dict[str, Any], missing: MachineError) -> None:
        self.context, self.data, self._missing = context, data, missing

    @staticmethod
    def flags() -> Sequence[Flag]:
        """None: such machines cannot be made."""
        return ()

    def configure(self, values: Mapping[str, Any]) -> None:
        """Raises MachineError."""
        raise self._missing

    def check(self) -> None:
        """Raises MachineError."""
        raise self._missing

    def create(self, prepare: Prepare) -> None:
        """Raises MachineError."""
        raise self._missing

    def start(self, prepare: Prepare) -> None:
        """Raises MachineError."""
        raise self._missing

    def stop(self) -> None:
        """Raises MachineError."""
        raise self._missing

    def kill(self) -> None:
        """Raises MachineError."""
        raise self._missing

    def restart(self, prepare: Prepare) -> None:
        """Raises MachineError."""
        raise self._missing

    def new_address(self) -> None:
        """Raises MachineError."""
        raise self._missing

    def remove(self) -> None:
        """Raises MachineError: what the driver made remains. `rm -f` forgets the machine all the same."""
        raise self._missing

    @staticmethod
    def abandon(context: Context) -> None:
        """Nothing that could be found."""

    def state(self) -> State:
        """Running when its sshd or its engine takes connections. Raises MachineError when it has no address."""
        endpoint = self.ssh()
        for port in dict.fromkeys((endpoint.port, self._engine_port())):
            try:
                socket.create_connection((endpoint.host, port), _TIMEOUT).close()
            except OSError:
                continue
            return State.RUNNING
        return State.STOPPED

    def address(self) -> str:
        """The address it had last. Raises MachineError when none is recorded."""
        address = self.data.get("IPAddress")
        if not isinstance(address, str) or not address:
            raise self._missing
        return address

    def url(self) -> str:
        """The engine at that address, or the recorded URL."""
        url = self.data.get("URL")
        if isinstance(url, str) and url:
            return url
        address = self.address()
        return f"tcp://{f'[{address}]' if ':' in address else address}:{self._engine_port()}"

    def ssh(self) -> SshEndpoint:
        """The recorded user, port and key; the key is `id_rsa` where none is recorded, as with docker-machine."""
        recorded = str(self.data.get("SSHKeyPath") or "")
        key = Path(recorded) if recorded else self.context.directory / "id_rsa"
        return SshEndpoint(
            self.address(),
            self._number("SSHPort", 22),
            str(self.data.get("SSHUser") or "root"),
            key if recorded or key.exists() else None,
            self.context.directory / "known_hosts",
            self.context.name,
        )

    def diagnose(self) -> str:
        """Nothing is known."""
        return ""

    def _engine_port(self) -> int:
        return self._number("EnginePort", ENGINE_PORT)

    def _number(self, key: str, default: int) -> int:
        value = self.data.get(key)
        return value if isinstance(value, int) and 0 < value < 65536 else default
