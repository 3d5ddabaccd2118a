"""Who has which address on a private subnet of this computer: a register in files, shared by all stores and drivers."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import NamedTuple

from shoal.machine.errors import MachineError
from shoal.machine.files import children, locked, write_atomic

DEFAULT = "192.168.99.0/24"
FIRST_MACHINE = 101
"""Addresses are given from here on, as the tutorial shows them; smaller subnets begin after the host's address."""


class Member(NamedTuple):
    """A machine on the subnet: its directory (its identity across stores) and its address.

    `outside` is where its own computer reaches it, when that is another address.
    """

    directory: str
    address: str
    outside: str = ""


def parse_subnet(text: str) -> ipaddress.IPv4Network:
    """`192.168.99.0/24`, or with any address inside. Raises MachineError."""
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError as fault:
        raise MachineError(f'invalid subnet "{text}": {fault}') from fault
    if network.prefixlen < 16 or network.prefixlen > 29:
        raise MachineError(f'invalid subnet "{text}": use a prefix length from 16 to 29')
    return network


def choose_address(
    network: ipaddress.IPv4Network, wanted: str | None, taken: Iterable[str], avoid: str | None = None
) -> str:
    """`wanted` when it is free, else the lowest free address; never `avoid`. Raises MachineError when all are taken."""
    used = {*taken, avoid}
    if wanted and wanted not in used and ipaddress.ip_address(wanted) in network:
        return wanted
    hosts = list(network.hosts())[1:]
    first = network.network_address + FIRST_MACHINE
    preferred = [host for host in hosts if host >= first]
    for host in preferred or hosts:
        if str(host) not in used:
            return str(host)
    raise MachineError(f"no free address left in {network}")


def check_address(network: ipaddress.IPv4Network, address: str) -> None:
    """Whether a machine can have `address`. Raises MachineError."""
    try:
        wanted = ipaddress.IPv4Address(address)
    except ValueError as fault:
        raise MachineError(f'invalid address "{address}"') from fault
    ends = (network.network_address, network.network_address + 1, network.broadcast_address)
    if wanted not in network or wanted in ends:
        raise MachineError(f"address {address} is not one that a machine in {network} can have")


class Register:
    """The machines of one subnet. Everything about it lies in RUN/<subnet>/; `members/` has a file per machine."""

    def __init__(self, text: str, run: Path) -> None:
        self.network = parse_subnet(text)
        self.gateway = str(self.network.network_address + 1)
        self.prefix = self.network.prefixlen
        self._directory = run / str(self.network).replace("/", "-")
        self._members = self._directory / "members"
        self._lock = run / f"{self._directory.name}.lock"

    def lock(self) -> AbstractContextManager[None]:
        """Hold the subnet: everything below that changes it must be called inside."""
        return locked(self._lock)

    def members(self) -> list[Member]:
        """The machines that have an address here, without those whose directory is gone."""
        found = []
        for path in children(self._members):
            if path.suffix != ".json":
                continue  # what a command that was killed had not finished writing
            with suppress(OSError, ValueError, TypeError):
                member = Member(**json.loads(path.read_bytes()))
                if Path(member.directory).is_dir():
                    found.append(member)
                else:
                    path.unlink()
        return found

    def enrol(self, directory: Path, wanted: str | None, reserved: Iterable[str], avoid: str | None = None) -> str:
        """Give the machine an address and return it. `reserved` are those that other machines of its store have."""
        others = [member.address for member in self.members() if member.directory != str(directory)]
        address = choose_address(self.network, wanted, {*others, *reserved}, avoid)
        self.enter(Member(str(directory), address))
        return address

    def enter(self, member: Member) -> None:
        """Write down that a machine has an address."""
        self._members.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(self._file(Path(member.directory)), json.dumps(member._asdict()).encode(), 0o644)

    def dismiss(self, directory: Path) -> None:
        """The machine is no more. With the last one everything of the subnet goes too."""
        with suppress(FileNotFoundError):
            self._file(directory).unlink()
        if not self.members():
            self.clear()

    def clear(self) -> None:
        """Take away what there is of the subnet."""
        shutil.rmtree(self._directory, ignore_errors=True)
        with suppress(OSError):
            self._lock.unlink()
        with suppress(OSError):
            self._lock.parent.rmdir()

    def _file(self, directory: Path) -> Path:
        return self._members / f"{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}.json"


def memberships(directory: Path, run: Path) -> list[tuple[str, str]]:
    """The subnets on which the machine at `directory` has an address, with the address."""
    subnets = [Register(path.name.replace("-", "/"), run) for path in children(run) if path.is_dir()]
    found = [(subnet, member) for subnet in subnets for member in subnet.members()]
    return [(str(subnet.network), member.address) for subnet, member in found if member.directory == str(directory)]
