"""NoneDriver: the address of an engine that is somebody else's; only written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from shoal.machine.driver import Context, Flag, Prepare, SshEndpoint, State, Traits
from shoal.machine.errors import MachineError


class NoneDriver:
    """One address. `data`: URL, and docker-machine's common fields."""

    traits = Traits(managed=False)

    def __init__(self, context: Context, data: dict[str, Any]) -> None:
        self.context = context
        self.data = data

    @staticmethod
    def flags() -> Sequence[Flag]:
        """`--url`."""
        return (Flag("url", "URL of host when no driver is selected", ""),)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take the address. Raises MachineError without one, or for what no client could connect to."""
        url = str(values.get("url") or "").strip()
        if not url:
            raise MachineError("--url option is required when no driver is selected")
        location = parse_url(url)
        self.data.update(
            URL=url, IPAddress=location, MachineName=self.context.name, SSHUser="", SSHPort=0, SSHKeyPath="",
            StorePath=str(self.context.store),
        )  # fmt: skip

    def check(self) -> None:
        """Nothing is made."""

    def create(self, prepare: Prepare) -> None:
        """Nothing is made."""

    def start(self, prepare: Prepare) -> None:
        """Not ours to start."""
        raise MachineError("hosts without a driver cannot be started")

    def stop(self) -> None:
        """Not ours to stop."""
        raise MachineError("hosts without a driver cannot be stopped")

    def kill(self) -> None:
        """Not ours to kill."""
        raise MachineError("hosts without a driver cannot be killed")

    def restart(self, prepare: Prepare) -> None:
        """Not ours to restart."""
        raise MachineError("hosts without a driver cannot be restarted")

    def new_address(self) -> None:
        """Not ours to move."""
        raise MachineError("hosts without a driver have the address that was given")

    def remove(self) -> None:
        """Nothing was made."""

    @staticmethod
    def abandon(context: Context) -> None:
        """Nothing was made."""

    def state(self) -> State:
        """Running, as far as anybody can tell."""
        return State.RUNNING

    def address(self) -> str:
        """Host and port of the address, as docker-machine has it."""
        return str(self.data.get("IPAddress", ""))

    def url(self) -> str:
        """The address that was given."""
        return str(self.data.get("URL", ""))

    def ssh(self) -> SshEndpoint:
        """There is no way in. Raises MachineError."""
        raise MachineError("hosts without a driver have no ssh: only the address of their engine is known")

    def diagnose(self) -> str:
        """Nothing is known."""
        return ""


def parse_url(url: str) -> str:
    """`host:port` of an engine's address. Raises MachineError for what is no address of an engine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise MachineError(f'invalid --url "{url}": {fault}') from fault
    if parts.scheme in ("unix", "npipe", "ssh") and url != f"{parts.scheme}://":
        return parts.netloc
    if parts.scheme not in ("tcp", "http", "https"):
        raise MachineError(f'invalid --url "{url}": want tcp://HOST:PORT')
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        raise MachineError(f'invalid --url "{url}": want tcp://HOST:PORT')
    return f"{parts.netloc}" if port else f"{parts.netloc}:2376"
