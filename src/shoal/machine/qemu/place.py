"""Where a machine is: its addresses, and what its cards are connected to.

as root     eth0: this computer's network, translated;  eth1: a tap on the bridge that local machines use too
without     eth0: the same, with a loopback address of its own whose ports lead into the machine;
            eth1: a network of multicast packets on the loopback device that this user's machines share
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from shoal.machine.addresses import Member, Register, memberships
from shoal.machine.errors import MachineError, text_of
from shoal.machine.files import children
from shoal.machine.qemu.command import TAP, Card, user_network
from shoal.machine.seed import Interface
from shoal.machine.subnet import RUN, Subnet, hardware_address

ENGINE_PORT = 2376
SSH_PORT = 2222
"""Of a loopback address: the first 1024 ports are root's."""

NET, OWN, ROUTER, NAMES = "192.0.2.0/24", "192.0.2.15", "192.0.2.2", "192.0.2.3"
"""The translated network: addresses for documentation, which nobody has and no overlay network gets, unlike QEMU's own
10.0.2.0/24. The router leads to this computer's own loopback, too."""


class Spot(NamedTuple):
    """`inside` is the address among the machines, `outside` the one at which this computer reaches the machine."""

    inside: str
    outside: str


class Place(Protocol):
    """A kind of network. `lock` must be held for `take` and `leave`."""

    ssh_port: int

    @property
    def register(self) -> Register:
        """Who has which address."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Hold the register. Raises MachineError when somebody else could write to it."""
        ...

    def trouble(self) -> str:
        """Why no machine can be connected here; empty when one can."""
        ...

    def take(self, directory: Path, wanted: Spot, reserved: Iterable[str], avoid: str | None) -> Spot:
        """Give the machine its addresses, those `wanted` if they are free, and make what it is connected to."""
        ...

    def leave(self, directory: Path) -> None:
        """Give its addresses back."""
        ...

    def cards(self, spot: Spot, forwards: Sequence[tuple[int, int]]) -> tuple[Card, ...]:
        """Its cards."""
        ...

    def tap(self, spot: Spot) -> dict[str, Any]:
        """What `launch` opens for it."""
        ...


def interfaces(spot: Spot, prefix: int) -> tuple[Interface, ...]:
    """What the machine is told of its cards."""
    return (
        Interface(_outer(spot.inside), f"{OWN}/24", ROUTER, (NAMES,)),
        Interface(hardware_address(spot.inside), f"{spot.inside}/{prefix}"),
    )


class Bridged:
    """On the bridge in a namespace of its own, reached at its own address. Needs root."""

    ssh_port = 22

    def __init__(self, subnet: str, run: Path = RUN) -> None:
        self.register = self._subnet = Subnet(subnet, run)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the register: its place is root's."""
        return self.register.lock()

    def trouble(self) -> str:
        """The tools, the tap device, a free subnet."""
        if os.geteuid() != 0:
            return "the bridge needs root: run this command as root, or with --qemu-network user"
        search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        for tool, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")):
            if not shutil.which(tool, path=search):
                return f"{tool} not found: install the package {package}"
        if not Path("/dev/net/tun").exists():
            return "there is no /dev/net/tun: load the module tun, or use --qemu-network user"
        if interface := self._subnet.conflict():
            return (
                f"subnet {self._subnet.network} conflicts with the network address of the host's interface "
                f"{interface}; choose another one with --qemu-subnet"
            )
        return ""

    def take(self, directory: Path, wanted: Spot, reserved: Iterable[str], avoid: str | None) -> Spot:
        """An address, and the bridge when this is its first machine."""
        address = self._subnet.enrol(directory, wanted.inside or None, reserved, avoid)
        self._subnet.ensure()
        return Spot(address, address)

    def leave(self, directory: Path) -> None:
        """The bridge goes with its last machine."""
        self._subnet.dismiss(directory)

    def cards(self, spot: Spot, forwards: Sequence[tuple[int, int]]) -> tuple[Card, ...]:
        """The way out, and the tap."""
        return (
            Card(_outer(spot.inside), user_network(NET, OWN)),
            Card(hardware_address(spot.inside), f"tap,fd={TAP}"),
        )

    def tap(self, spot: Spot) -> dict[str, Any]:
        """A tap by the name of the machine's port."""
        return {"tap": Subnet.port(spot.inside), "netns": str(self._subnet.netns), "descriptor": TAP}


class Unprivileged:
    """At a loopback address of its own; with the user's other machines on a network of its own."""

    ssh_port = SSH_PORT

    def __init__(self, subnet: str, run: Path | None = None) -> None:
        self._run = run or user_run()
        self.register = Register(subnet, self._run)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the register, in a directory that is this user's alone: in /tmp others may have made it first."""
        safe_directory(self._run)
        return self.register.lock()

    def trouble(self) -> str:
        """A loopback address that can be used, and a register that nobody else can write to."""
        try:
            if os.path.lexists(self._run):
                safe_directory(self._run)
            choose_outside("0.0.0.101", "", (), free)
        except MachineError as fault:
            return str(fault)
        return ""

    def take(self, directory: Path, wanted: Spot, reserved: Iterable[str], avoid: str | None) -> Spot:
        """An address among the machines, and a loopback address that ends like it."""
        taken = list(reserved)
        inside = self.register.enrol(directory, wanted.inside or None, taken, avoid)
        others = [member.outside for member in all_members(self._run) if member.directory != str(directory)]
        kept = wanted.outside if inside == wanted.inside else ""
        outside = choose_outside(inside, kept, [*taken, *others], free)
        self.register.enter(Member(str(directory), inside, outside))
        return Spot(inside, outside)

    def leave(self, directory: Path) -> None:
        """Nothing but the register knows of it."""
        self.register.dismiss(directory)

    def cards(self, spot: Spot, forwards: Sequence[tuple[int, int]]) -> tuple[Card, ...]:
        """The way in and out, and the machines' own network."""
        ports = [(SSH_PORT, 22), (ENGINE_PORT, ENGINE_PORT), *forwards]
        rules = tuple((spot.outside, port, inside) for port, inside in ports)
        group = multicast_group(os.getuid(), str(self.register.network))
        return (
            Card(_outer(spot.inside), user_network(NET, OWN, rules)),
            Card(hardware_address(spot.inside), f"socket,mcast={group},localaddr=127.0.0.1"),
        )

    def tap(self, spot: Spot) -> dict[str, Any]:
        """None."""
        return {"tap": ""}


def place(network: str, subnet: str) -> Place:
    """The place for `bridge` or `user`."""
    return Bridged(subnet) if network == "bridge" else Unprivileged(subnet)


def places_of(directory: Path) -> list[tuple[str, str]]:
    """Network and subnet of each place where the machine at `directory` has an address."""
    found = [("bridge", subnet) for subnet, _ in memberships(directory, RUN)] if os.geteuid() == 0 else []
    return found + [("user", subnet) for subnet, _ in memberships(directory, user_run())]


def choose_outside(inside: str, wanted: str, taken: Iterable[str], is_free: Callable[[str], bool]) -> str:
    """`wanted` when it is free, else 127.99.x.y: y is the machine's own last number, x the lowest that is free."""
    used, last = set(taken), inside.rpartition(".")[2]
    for address in (*([wanted] if wanted else []), *(f"127.99.{number}.{last}" for number in range(256))):
        if address not in used and is_free(address):
            return address
    raise MachineError(
        f"no loopback address is free: something listens on port {SSH_PORT} or {ENGINE_PORT} of all addresses"
    )


def free(address: str) -> bool:
    """Whether a machine's ports can be opened at `address`."""
    for port in (SSH_PORT, ENGINE_PORT):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address, port))
                trial.listen(1)
            except OSError:
                return False
    return True


def multicast_group(user: int, subnet: str) -> str:
    """Group and port of the network that `user`'s machines of `subnet` share: another user's have another."""
    digest = hashlib.sha256(f"{user} {subnet}".encode()).digest()
    return f"230.99.{digest[0]}.{digest[1]}:{20000 + digest[2] * 40 + digest[3] % 40}"


def user_run() -> Path:
    """Where the register of this user's machines is."""
    user = os.getuid()
    if user == 0:
        return Path("/run/shoal-machines-user")
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and os.path.isdir(given) and os.stat(given).st_uid == user:
        return Path(given) / "shoal-machines"
    return Path(f"/tmp/shoal-machines-{user}")


def safe_directory(path: Path) -> None:
    """Make `path` where it is missing. Raises MachineError when it is not this user's alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as fault:
        raise MachineError(text_of(fault)) from fault
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise MachineError(f"{path} belongs to somebody else: remove it")


def all_members(run: Path) -> list[Member]:
    """The machines of every subnet whose register is below `run`."""
    paths = [path for path in children(run) if path.is_dir()]
    return [member for path in paths for member in Register(path.name.replace("-", "/"), run).members()]


def _outer(inside: str) -> str:
    """The MAC address of the card to the outside."""
    return hardware_address(inside).replace("02:42", "02:43", 1)
