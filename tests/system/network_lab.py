"""A little internet of namespaces: nodes and clients on one LAN, and servers that run inside them.

Sockets belong to the namespace in which they were made, so servers are threads of the test and need no processes.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from shoal.network.kernel import namespaces
from shoal.network.kernel.namespaces import Namespace


def ip(*arguments: str, netns: str | Path = "") -> str:
    """Run `ip`, in a namespace that is mounted at `netns`."""
    command = ["ip", *arguments]
    if netns:
        command = ["nsenter", f"--net={netns}", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def nft(*arguments: str, netns: str | Path) -> str:
    """Run `nft` in a namespace."""
    done = subprocess.run(["nsenter", f"--net={netns}", "nft", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


class Lab:
    """Hosts on one LAN, 192.168.99.0/24; everything is gone when the lab closes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lan = self._namespace("lan")
        ip("link", "add", "lan", "type", "bridge", netns=self._lan)
        ip("link", "set", "lan", "up", netns=self._lan)

    def host(self, name: str, address: str) -> Path:
        """A host with eth0 on the LAN, and the path of its namespace."""
        path = self._namespace(name)
        port = f"p{secrets.token_hex(5)}"
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", netns=self._lan)
        with Namespace.at(path).held() as namespace:
            target = f"/proc/self/fd/{namespace.descriptor}"
            subprocess.run(
                ["nsenter", f"--net={self._lan}", "ip", "link", "set", "eth0", "netns", target],
                check=True, pass_fds=[namespace.descriptor],
            )  # fmt: skip
        ip("link", "set", port, "master", "lan", "up", netns=self._lan)
        ip("addr", "add", f"{address}/24", "dev", "eth0", netns=path)
        ip("link", "set", "eth0", "up", netns=path)
        return path

    def close(self) -> None:
        """Remove every namespace of the lab."""
        for path in self._directory.glob("*.ns"):
            namespaces.delete(path)

    def _namespace(self, name: str) -> Path:
        path = self._directory / f"{name}.ns"
        namespaces.create(path).close()
        ip("link", "set", "lo", "up", netns=path)
        return path


@contextlib.contextmanager
def entered(netns: str | Path) -> Iterator[None]:
    """The calling thread is in the namespace at `netns`."""
    with Namespace.at(netns).held() as namespace, namespace.entered():
        yield


class Server:
    """A server in a namespace; it answers each connection or datagram with `<name> <address of the asker>`."""

    def __init__(self, netns: str | Path, port: int, name: str = "", *, udp: bool = False, address: str = "") -> None:
        self.name = name
        with entered(netns):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, port))
        if not udp:
            self._socket.listen(512)
        self.seen: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._datagrams if udp else self._connections, daemon=True)
        self._thread.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _connections(self) -> None:
        while True:
            try:
                connection, asker = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection, asker), daemon=True).start()

    def _answer(self, connection: socket.socket, asker: tuple[str, int]) -> None:
        self.seen[asker[0]] += 1
        with connection, contextlib.suppress(OSError):
            while connection.recv(100):
                connection.sendall(f"{self.name} {asker[0]}".encode())

    def _datagrams(self) -> None:
        while True:
            try:
                data, asker = self._socket.recvfrom(2000)
            except OSError:
                return
            if not data:
                return
            self.seen[asker[0]] += 1
            self._socket.sendto(f"{self.name} {asker[0]}".encode(), asker)


def dial(
    netns: str | Path, address: str, port: int, *, source: tuple[str, int] | None = None, patience: float = 30
) -> socket.socket:
    """A connection from inside a namespace; TimeoutError after `patience` seconds."""
    with entered(netns):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(patience)
    try:
        if source:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(source)
        made.connect((address, port))
    except BaseException:
        made.close()
        raise
    return made


def talk(connection: socket.socket) -> str:
    """One question and its answer on an open connection."""
    connection.sendall(b"hello")
    return connection.recv(200).decode()


def ask(netns: str | Path, address: str, port: int, *, patience: float = 30) -> str:
    """A server's answer over a new TCP connection."""
    with dial(netns, address, port, patience=patience) as connection:
        return talk(connection)


def ask_udp(netns: str | Path, address: str, port: int, *, patience: float = 30) -> str:
    """A server's answer to a datagram from a new socket."""
    with entered(netns):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with made:
        made.settimeout(patience)
        made.connect((address, port))
        return talk(made)


def spread(netns: str | Path, address: str, port: int, times: int) -> Counter[str]:
    """How often each server answered, of so many connections."""
    return Counter(ask(netns, address, port).split()[0] for _ in range(times))
