"""Signed datagrams: a question or announcement to everyone on this machine's own subnets, answers to whoever asked."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable

from shoal.kit.backoff import backoff
from shoal.node.addresses import InterfaceAddress
from shoal.node.discovery_limits import Limits
from shoal.node.discovery_messages import LARGEST

logger = logging.getLogger(__name__)

_EVERYONE = "255.255.255.255"
_IP_PKTINFO = 8
"""Linux's number of the option, which Python names from 3.14 on: through which interface, from which address."""


class Beacon:
    """One UDP port. `heard(data, source)` gets every datagram that the limits let through."""

    def __init__(self, host: str, port: int, heard: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._host = host
        self._port = port
        self._heard = heard
        self._socket: socket.socket | None = None
        self._limits = Limits()

    async def run(self) -> None:
        """Listen, until cancelled. A port that is taken is tried again."""
        for wait in backoff(1.0, 30.0):
            try:
                self._socket = _bound(self._host, self._port)
            except OSError as fault:
                logger.warning("nodes on the same network cannot find this one: %s", fault)
                await asyncio.sleep(wait)
                continue
            loop = asyncio.get_running_loop()
            try:
                loop.add_reader(self._socket, self._read)
                await loop.create_future()
            finally:
                loop.remove_reader(self._socket)
                self._socket.close()
                self._socket = None

    def broadcast(self, datagram: bytes, interfaces: list[InterfaceAddress]) -> None:
        """Send to everyone on each of these interfaces' links, whatever addresses they have by now."""
        for one in interfaces:
            address = ipaddress.ip_address(one.address)
            if address.version != 4 or self._socket is None:
                continue
            try:
                info = struct.pack("=I4s4s", socket.if_nametoindex(one.interface), address.packed, bytes(4))
                how = [(socket.IPPROTO_IP, _IP_PKTINFO, info)]
                self._socket.sendmsg([datagram], how, 0, (_EVERYONE, self._port))
            except OSError as fault:
                logger.debug("nothing sent to everyone on %s: %s", one.interface, fault)

    def send(self, datagram: bytes, target: tuple[str, int]) -> None:
        """Send to one."""
        try:
            if self._socket is not None:
                self._socket.sendto(datagram, target)
        except OSError as fault:
            logger.debug("nothing sent to %s: %s", target[0], fault)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data, source = self._socket.recvfrom(LARGEST + 1)
        except OSError:  # an earlier datagram found nobody
            return
        if self._limits.admit(source[0], asyncio.get_running_loop().time()):
            self._heard(data, (source[0], source[1]))


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
