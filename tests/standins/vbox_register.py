"""What VirtualBox remembers: machines, host-only adapters, DHCP servers. One file per user, as the real one has."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vm

NOT_FOUND = "VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), component VirtualBoxWrap, interface IVirtualBox"
BAD_STATE = "VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface IMachine"
INVALID = "E_INVALIDARG (0x80070057), component NATEngineWrap, interface INATEngine"


class Refused(Exception):
    """What VBoxManage prints after `VBoxManage: error: `, and its exit status."""

    def __init__(self, message: str, details: str = "", status: int = 1) -> None:
        super().__init__(message)
        self.lines = [message, *([f"Details: code {details}, callee nsISupports"] if details else [])]
        self.status = status


def syntax(message: str) -> Refused:
    """A command line that VBoxManage does not understand."""
    return Refused(message, status=2)


def home() -> Path:
    """VirtualBox's directory of this user."""
    path = Path(os.environ.get("VBOX_USER_HOME") or Path.home() / ".config" / "VirtualBox")
    path.mkdir(parents=True, exist_ok=True)
    return path


class Register:
    """The register while its lock is held; `save` writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        empty: dict[str, Any] = {"machines": {}, "adapters": [], "dhcp": []}
        self.data = json.loads(path.read_text()) if path.exists() else empty

    def save(self) -> None:
        """Write it, whole or not at all."""
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self.data, indent=1))
        temporary.replace(self._path)

    def machine(self, name: str) -> dict[str, Any]:
        """The machine of this name or UUID."""
        for uuid, machine in self.data["machines"].items():
            if name.strip("{}").lower() == uuid or machine["name"] == name:
                found: dict[str, Any] = machine
                return found
        looks = len(name.strip("{}")) == 36 and name.count("-") == 4
        what = f"with UUID {{{name.strip('{}')}}}" if looks else f"named '{name}'"
        raise Refused(f"Could not find a registered machine {what}", NOT_FOUND)

    def idle_machine(self, name: str) -> dict[str, Any]:
        """The same, to be changed: refused while it runs."""
        machine = self.machine(name)
        if vm.running(run_folder(machine)):
            raise Refused(
                f"The machine '{machine['name']}' is already locked for a session (or being unlocked)", BAD_STATE
            )
        return machine

    def adapter(self, name: str) -> dict[str, Any]:
        """The host-only adapter of this name."""
        for adapter in self.data["adapters"]:
            if adapter["name"] == name:
                found: dict[str, Any] = adapter
                return found
        raise Refused(f"The host network interface named '{name}' could not be found", "E_INVALIDARG (0x80070057)")

    def dhcp(self, network: str) -> dict[str, Any] | None:
        """The DHCP server of a network."""
        return next((server for server in self.data["dhcp"] if server["network"] == network), None)


@contextmanager
def register() -> Iterator[Register]:
    """The register, for one command at a time."""
    folder = home()
    with (folder / "VirtualBox.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Register(folder / "VirtualBox.json")


def run_folder(machine: dict[str, Any]) -> Path:
    """Where the running machine's files are."""
    return home() / "run" / str(machine["uuid"])
