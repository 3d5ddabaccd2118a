"""The host's ports: who has which, and a socket bound to each, so that no other process takes it.

A bound TCP socket that does not listen refuses connections, which is just what a published port without a container
behind it should do.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from shoal.model.errors import InvalidArgument, ShoalError
from shoal.network.kernel.namespaces import Namespace

FIRST, LAST = 32768, 60999
"""Where ports are taken from when the user names none (the kernel's ephemeral range)."""

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the host; `address` empty means all addresses."""

    protocol: str
    address: str
    number: int

    def clashes(self, other: HostPort) -> bool:
        """Whether both cannot be had."""
        same = (self.protocol, self.number) == (other.protocol, other.number)
        return same and (not self.address or not other.address or self.address == other.address)

    def __str__(self) -> str:
        return f"{self.address or '0.0.0.0'}:{self.number}"


class HostPorts:
    """Which ports of one namespace are taken, and for whom. Quick calls only, for the event loop."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._taken: dict[tuple[str, int], dict[HostPort, str]] = {}
        self._sockets: dict[HostPort, socket.socket] = {}
        self._next = FIRST

    def take(self, port: HostPort, owner: str, *, probe: bool = True) -> None:
        """Take `port` for `owner`; ShoalError with docker's words when it is taken.

        Without `probe` a process of the host that has it is no obstacle: what was published before stays published.
        """
        holders = self._taken.setdefault((port.protocol, port.number), {})
        if any(port.clashes(other) for other in holders):
            raise ShoalError(f"Bind for {port} failed: port is already allocated")
        try:
            held = self._bind(port)
        except OSError as fault:
            if probe:
                reason = "address already in use" if fault.errno == errno.EADDRINUSE else (fault.strerror or str(fault))
                raise ShoalError(f"failed to bind host port for {port}/{port.protocol}: {reason.lower()}") from fault
            held = None
        holders[port] = owner
        if held:
            self._sockets[port] = held

    def take_any(self, protocol: str, address: str, owner: str, candidates: Iterable[int] = ()) -> HostPort:
        """Take the first free of `candidates`, or any ephemeral port; ShoalError when there is none."""
        for number in candidates or self._round():
            port = HostPort(protocol, address, number)
            try:
                self.take(port, owner)
            except ShoalError:
                continue
            if not candidates:
                self._next = number + 1 if number < LAST else FIRST
            return port
        raise ShoalError("all ports are allocated")

    def release(self, owner: str) -> None:
        """Give back all ports of `owner`. Idempotent."""
        for key, holders in list(self._taken.items()):
            for port in [port for port, holder in holders.items() if holder == owner]:
                self._drop(holders, port)
            if not holders:
                del self._taken[key]

    def release_port(self, port: HostPort, owner: str) -> None:
        """Give back one port of `owner`. Idempotent."""
        holders = self._taken.get((port.protocol, port.number), {})
        if holders.get(port) == owner:
            self._drop(holders, port)

    def close(self) -> None:
        """Let go of all sockets."""
        for held in self._sockets.values():
            held.close()
        self._sockets.clear()
        self._taken.clear()

    def _drop(self, holders: dict[HostPort, str], port: HostPort) -> None:
        del holders[port]
        if held := self._sockets.pop(port, None):
            held.close()

    def _round(self) -> Iterable[int]:
        yield from range(self._next, LAST + 1)
        yield from range(FIRST, self._next)

    def _bind(self, port: HostPort) -> socket.socket | None:
        if port.protocol not in _TYPES:
            return None
        with self._namespace.entered():
            held = socket.socket(socket.AF_INET, _TYPES[port.protocol])
        try:
            held.bind((port.address, port.number))
        except OSError:
            held.close()
            raise
        return held


def parse_port(text: str) -> tuple[int, str]:
    """`80/tcp` or `80` as number and protocol; InvalidArgument with docker's words."""
    number, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"Invalid proto: {protocol}")
    if not number.isdigit() or not 0 < int(number) < 65536:
        raise InvalidArgument(f"invalid port specification: {text}")
    return int(number), protocol


def parse_range(text: str) -> range:
    """`8080` or `8080-8090`, a host port; InvalidArgument with docker's words."""
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdigit() and last.isdigit()) or not 0 < int(first) <= int(last) < 65536:
        raise InvalidArgument(f"invalid port specification: {text}")
    return range(int(first), int(last) + 1)
