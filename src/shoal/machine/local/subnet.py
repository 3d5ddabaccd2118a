"""The machines' network: a bridge in a network namespace of its own, one leg on the host.

    host: shoalXXXXXXXX 192.168.99.1/24 --veth-- [namespace: bridge br0] --veth-- eth0 of each machine

The bridge is not in the host's namespace because a host with Docker drops what crosses a bridge there (FORWARD DROP
with bridge-nf-call-iptables). Everything about a subnet lies in RUN/<subnet>/: `netns`, the namespace bound to a
file, and `members/`, a file per machine of whichever store, with its address. The last member takes all of it away.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import NamedTuple

from shoal.machine.errors import MachineError
from shoal.machine.files import locked, write_atomic

RUN = Path("/run/shoal-machines")
DEFAULT = "192.168.99.0/24"
FIRST_MACHINE = 101
"""Addresses are given from here on, as the tutorial shows them; smaller subnets begin after the host's address."""


class Member(NamedTuple):
    """A machine on the subnet: its directory (its identity across stores) and its address."""

    directory: str
    address: str


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


class Subnet:
    """One subnet of this computer, shared by all stores that use it."""

    def __init__(self, text: str, run: Path = RUN) -> None:
        self.network = parse_subnet(text)
        self.gateway = str(self.network.network_address + 1)
        self.prefix = self.network.prefixlen
        self._directory = run / str(self.network).replace("/", "-")
        self._netns = self._directory / "netns"
        self._members = self._directory / "members"
        self._lock = run / f"{self._directory.name}.lock"
        self.link = "shoal" + hashlib.sha256(str(self.network).encode()).hexdigest()[:8]

    def lock(self) -> AbstractContextManager[None]:
        """Hold the subnet: everything below that changes it must be called inside."""
        return locked(self._lock)

    def members(self) -> list[Member]:
        """The machines that have an address here, without those whose directory is gone."""
        found = []
        for path in sorted(self._members.glob("*.json")):
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
        self._members.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(self._file(directory), json.dumps(Member(str(directory), address)._asdict()).encode(), 0o644)
        return address

    def dismiss(self, directory: Path) -> None:
        """The machine is no more. With the last one the network goes too."""
        with suppress(FileNotFoundError):
            self._file(directory).unlink()
        if not self.members():
            self._tear_down()

    def conflict(self) -> str | None:
        """The host's interface that has an address in this subnet and is not ours, if there is one."""
        links = json.loads(_run(["ip", "-json", "-4", "address", "show"]).stdout or "[]")
        for link in links:
            for info in link.get("addr_info", []):
                if link["ifname"] != self.link and ipaddress.ip_address(info["local"]) in self.network:
                    return str(link["ifname"])
        return None

    def ensure(self) -> None:
        """Make the namespace, the bridge and the host's leg where they are missing."""
        if self._is_up():
            return
        self._tear_down(keep_members=True)
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._netns.touch()
        _run(["unshare", f"--net={self._netns}", "true"])
        peer = "host0"
        self._inside(f"""
            link set lo up
            link add br0 type bridge forward_delay 0
            link set br0 up
            link add {peer} type veth peer name {self.link} netns {os.getpid()}
            link set {peer} master br0 up
        """)
        _batch(["ip"], f"""
            link set {self.link} addrgenmode none
            address add {self.gateway}/{self.prefix} brd + dev {self.link}
            link set {self.link} up
        """)  # fmt: skip

    def plug(self, address: str, pid: int) -> None:
        """Give the network namespace of process `pid` an eth0 with `address`."""
        port = self.port(address)
        self.unplug(address)
        self._inside(f"""
            link add {port} type veth peer name eth0 netns {pid}
            link set {port} master br0 up
        """)
        mac = ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *ipaddress.IPv4Address(address).packed))
        _batch(["nsenter", f"--net=/proc/{pid}/ns/net", "ip"], f"""
            link set lo up
            link set eth0 address {mac}
            address add {address}/{self.prefix} brd + dev eth0
            link set eth0 up
        """)  # fmt: skip

    def unplug(self, address: str) -> None:
        """Take the machine's port away, if it is there."""
        if self._netns.exists():
            command = ["nsenter", f"--net={self._netns}", "ip", "link", "delete", self.port(address)]
            with suppress(MachineError):
                _run(command)

    @staticmethod
    def port(address: str) -> str:
        """The name of the bridge's port for the machine at `address`."""
        return f"m{int(ipaddress.IPv4Address(address)):08x}"

    def _file(self, directory: Path) -> Path:
        return self._members / f"{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}.json"

    def _is_up(self) -> bool:
        return os.path.ismount(self._netns) and Path(f"/sys/class/net/{self.link}").exists()

    def _tear_down(self, *, keep_members: bool = False) -> None:
        with suppress(MachineError):
            _run(["ip", "link", "delete", self.link])
        while os.path.ismount(self._netns):
            _run(["umount", str(self._netns)])
        with suppress(FileNotFoundError):
            self._netns.unlink()
        if not keep_members:
            shutil.rmtree(self._directory, ignore_errors=True)
            with suppress(OSError):
                self._lock.unlink()
            with suppress(OSError):
                self._lock.parent.rmdir()

    def _inside(self, commands: str) -> None:
        _batch(["nsenter", f"--net={self._netns}", "ip"], commands)


def memberships(directory: Path, run: Path = RUN) -> list[tuple[str, str]]:
    """The subnets on which the machine at `directory` has an address, with the address."""
    subnets = [Subnet(path.name.replace("-", "/")) for path in run.glob("*-*") if path.is_dir()]
    found = [(subnet, member) for subnet in subnets for member in subnet.members()]
    return [(str(subnet.network), member.address) for subnet, member in found if member.directory == str(directory)]


def _batch(command: list[str], lines: str) -> None:
    _run([*command, "-batch", "-"], "\n".join(line.strip() for line in lines.splitlines() if line.strip()) + "\n")


def _run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    # A user's PATH may lack the directories where Debian puts ip.
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise MachineError(f"{' '.join(command)}: {result.stderr.strip() or f'exit status {result.returncode}'}")
    return result
