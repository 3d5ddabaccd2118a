"""A network between virtual machines and this computer: a bridge in a network namespace of one process.

    this computer: LINK host/24 --veth-- [namespace of the process: br0] --tap-- machines

With STANDIN_NETNS the process enters that network namespace instead, which has a bridge br0 and a way to this computer
already: machines of the stand-ins are then on one network with what else is there.

The process answers DHCP too. It lives as long as somebody holds a connection to it; when it ends, the kernel takes
everything away. A bridge on the host itself would lose what machines say to each other where Docker is installed.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import ipaddress
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
NETNS = "STANDIN_NETNS"
LEASE_SECONDS = 86400
_LIBC = ctypes.CDLL(None, use_errno=True)


class LanError(Exception):
    """The network could not be made."""


class Member:
    """A place on a network, for as long as `connection` is open."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.connection, self.pid = connection, pid

    def tap(self, name: str) -> int:
        """A new tap on the bridge: its descriptor. It goes when that is closed."""
        with _namespace(self.pid):
            tap = os.open("/dev/net/tun", os.O_RDWR)
            flags = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
            fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))  # TUNSETIFF
            _ip(f"link set {name} master br0 up")
        return tap


def join(home: Path, name: str, config: dict[str, Any]) -> Member:
    """A place on the network `name`, which is made if nobody is there.

    `config`: `host`, this computer's address with prefix length; `dhcp`: None, or `server`, `lower`, `upper`.
    """
    with _locked(home):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(_socket_name(home, name))
        except OSError:
            _start(home, name, config)
            connection.connect(_socket_name(home, name))
        return Member(connection, int(connection.recv(64)))


def leases(home: Path, name: str) -> dict[str, dict[str, Any]]:
    """What DHCP gave away, by MAC address: `address`, and `at`, the time."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((home / f"leases-{name}.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def link_name(home: Path, name: str) -> str:
    """This computer's interface on the network."""
    return "sv" + hashlib.sha256(f"{home}/{name}".encode()).hexdigest()[:10]


def _socket_name(home: Path, name: str) -> str:
    return f"\0shoal-{link_name(home, name)}"


def _start(home: Path, name: str, config: dict[str, Any]) -> None:
    words = [sys.executable, __file__, str(home), name, json.dumps(config), str(os.getpid())]
    with (home / f"lan-{name}.log").open("ab") as log:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert child.stdout is not None
    if child.stdout.readline() != b"ready\n":
        raise LanError((home / f"lan-{name}.log").read_text()[-500:])
    if os.environ.get(NETNS):
        return
    link = link_name(home, name)
    _ip(f"link set {link} addrgenmode none", f"address add {config['host']} brd + dev {link}", f"link set {link} up")


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "lan.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _namespace(pid: int) -> Iterator[None]:
    """In the network namespace of process `pid`."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _check(_LIBC.setns(other, CLONE_NEWNET))
        yield
    finally:
        _check(_LIBC.setns(own, CLONE_NEWNET))
        os.close(own)
        os.close(other)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ip(*lines: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(
        ["ip", "-batch", "-"], input="".join(f"{line}\n" for line in lines), capture_output=True, text=True,
        check=False, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise LanError(f"ip: {done.stderr.strip()}")


def serve(home: Path, name: str, config: dict[str, Any], parent: int) -> None:
    """Be the network until nobody is there any more."""
    listener = socket.socket(socket.AF_UNIX)  # Before unshare: abstract names belong to a network namespace.
    listener.bind(_socket_name(home, name))
    listener.listen()
    if os.environ.get(NETNS):
        namespace = os.open(os.environ[NETNS], os.O_RDONLY)
        _check(_LIBC.setns(namespace, CLONE_NEWNET))
        os.close(namespace)  # Open, it would keep the file from being unmounted.
    else:
        _make_bridge(link_name(home, name), parent)
    dhcp = Dhcp(home / f"leases-{name}.json", config) if config.get("dhcp") else None
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    os.close(1)
    with _alone(home, listener, dhcp):  # whoever joins from now on waits until nothing of this is left
        if dhcp:
            dhcp.close()
        if not os.environ.get(NETNS):
            _ip("link delete host0")  # with it goes this computer's end, now; with the namespace, some time later
        listener.close()


def _make_bridge(link: str, parent: int) -> None:
    _check(_LIBC.unshare(CLONE_NEWNET))
    _ip(
        "link set lo up",
        "link add br0 type bridge forward_delay 0",
        "link set br0 up",
        f"link add host0 type veth peer name {link} netns {parent}",
        "link set host0 master br0 up",
    )


@contextmanager
def _alone(home: Path, listener: socket.socket, dhcp: Dhcp | None) -> Iterator[None]:
    """Take members and answer DHCP, until the last member is gone; then, nobody can join while the body runs."""
    members: list[socket.socket] = []
    while True:
        sources = [listener, *members, *([dhcp.socket] if dhcp else [])]
        for source in select.select(sources, [], [], None if members else 0.05)[0]:
            if source is listener:
                member = listener.accept()[0]
                member.sendall(str(os.getpid()).encode())
                members.append(member)
            elif dhcp and source is dhcp.socket:
                dhcp.answer()
            elif not source.recv(1):
                members.remove(source)
        if not members:
            with (home / "lan.lock").open("a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # somebody joins, this network or another
                if not select.select([listener], [], [], 0)[0]:
                    yield
                    return


class Dhcp:
    """A DHCP server (RFC 2131) for one small network: a card gets the same address again and again."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self._path = path
        self._host = ipaddress.IPv4Interface(config["host"])
        self._server = ipaddress.IPv4Address(config["dhcp"]["server"])
        lower, upper = (int(ipaddress.IPv4Address(config["dhcp"][end])) for end in ("lower", "upper"))
        self._pool = [str(ipaddress.IPv4Address(number)) for number in range(lower, upper + 1)]
        self._own = f"{self._server}/{self._host.network.prefixlen}"
        _ip(f"address add {self._own} brd + dev br0")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"br0")
        self.socket.bind(("", 67))

    def close(self) -> None:
        """Give its own address and port back."""
        self.socket.close()
        _ip(f"address del {self._own} dev br0")

    def answer(self) -> None:
        """Take one request and answer it: an offer for a discovery, else the lease or a refusal."""
        packet = self.socket.recv(2048)
        if len(packet) < 241 or packet[0] != 1:
            return
        options = dict(_options(packet[240:]))
        kind = options.get(53, b"\0")[0]
        mac = packet[28:34].hex(":")
        address = self._address(mac)
        if kind == 1:
            self._reply(packet, 2, address)
        elif kind == 3:
            wanted = socket.inet_ntoa(options.get(50, packet[12:16]))
            if wanted != address:
                self._reply(packet, 6, "0.0.0.0")
                return
            self._record(mac, address)
            self._reply(packet, 5, address)

    def _address(self, mac: str) -> str:
        known = self._leases()
        if mac in known:
            return str(known[mac]["address"])
        used = {lease["address"] for lease in known.values()}
        return next(address for address in self._pool if address not in used)

    def _leases(self) -> dict[str, dict[str, Any]]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def _record(self, mac: str, address: str) -> None:
        import time

        known = {**self._leases(), mac: {"address": address, "at": time.time()}}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(known))
        temporary.replace(self._path)

    def _reply(self, request: bytes, kind: int, address: str) -> None:
        head = struct.pack("!BBBB4sHH4s4s4s4s", 2, 1, 6, 0, request[4:8], 0, 0x8000, bytes(4),
                           socket.inet_aton(address), self._server.packed, bytes(4))  # fmt: skip
        options = b"".join(
            bytes([code, len(value)]) + value
            for code, value in (
                (53, bytes([kind])), (54, self._server.packed), (51, struct.pack("!I", LEASE_SECONDS)),
                (1, self._host.network.netmask.packed), (3, self._host.ip.packed),
            )
        )  # fmt: skip
        packet = head + request[28:44] + bytes(192) + b"\x63\x82\x53\x63" + options + b"\xff"
        self.socket.sendto(packet, ("255.255.255.255", 68))


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        length = data[at + 1]
        yield data[at], data[at + 2 : at + 2 + length]
        at += 2 + length


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
