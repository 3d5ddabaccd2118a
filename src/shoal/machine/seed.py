"""What a new machine is told: a small archive at the very beginning of its data disk.

Every hypervisor can attach a disk, so this needs nothing of any of them. The guest reads the first 64 kB at every boot
and applies what it finds there once: a seed that was written anew while the machine was off (another address, renewed
certificates) is applied at the next start, an old one is not. The machine's files begin 1 MiB behind it.

The archive is USTAR. `machine-seed` comes first and says which form this is; `hostname`; `interfaces`, one line each:
MAC address, address, gateway, DNS servers, `-` for nothing; `authorized_keys`; `host_key`; and below `files/` what is
put into the machine's file system, the engine's arguments and environment among it.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from posixpath import normpath
from typing import NamedTuple

from shoal.machine.driver import EngineSetup
from shoal.machine.errors import MachineError
from shoal.machine.install import units

LIMIT = 65536
"""Bytes that the guest reads."""

DATA_OFFSET = 1 << 20
"""Bytes before the machine's file system: a seed may be written over the old one at any time the machine is off."""

FORM = b"shoal machine seed 1\n"
PERSISTENT = ("/etc/docker", "/etc/shoal", "/var", "/root", "/home")
"""What outlives a restart of the machine; files may be put nowhere else."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.I)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Interface(NamedTuple):
    """A network card, known by its MAC address, and what the machine does with it.

    `address` is an address with prefix length (`192.168.99.101/24`), `dhcp`, or empty: leave it down. The gateway (may
    be empty) and the DNS servers are for static addresses. Cards that the seed does not name use DHCP.
    """

    mac: str
    address: str = "dhcp"
    gateway: str = ""
    dns: tuple[str, ...] = ()


class Seed(NamedTuple):
    """What a machine is told. Without `setup` its engine serves only its unix socket.

    `host_key` is an OpenSSH private key; ssh's client can so know the machine before it first ran.
    """

    hostname: str
    interfaces: tuple[Interface, ...]
    authorized_keys: tuple[str, ...]
    host_key: bytes
    setup: EngineSetup | None = None


def build(seed: Seed) -> bytes:
    """The archive, to be written at offset 0 of the raw disk. Raises MachineError for what cannot be said in it."""
    stream = io.BytesIO()
    # The guest's tar stops at the first zero block, so no padding to tar's own record size is needed.
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (mode, content) in _members(seed):
            try:
                archive.addfile(_member(name, mode, len(content)), io.BytesIO(content))
            except ValueError as fault:
                raise MachineError(f"a machine's seed cannot hold {name}: {fault}") from fault
        end = archive.offset + 2 * tarfile.BLOCKSIZE
    if end > LIMIT:
        raise MachineError(f"a machine's seed may have {LIMIT} bytes, this one has {end}")
    return stream.getvalue()[:end]


def _member(name: str, mode: int, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.size = mode, size
    return member


def _members(seed: Seed) -> Iterator[tuple[str, tuple[int, bytes]]]:
    yield "machine-seed", (0o600, FORM)
    yield "hostname", (0o644, _hostname(seed.hostname).encode() + b"\n")
    yield "interfaces", (0o644, "".join(map(_interface, seed.interfaces)).encode())
    yield "authorized_keys", (0o600, "".join(map(_authorized, seed.authorized_keys)).encode())
    if not seed.host_key.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n"):
        raise MachineError("a machine's host key must be an OpenSSH private key")
    yield "host_key", (0o600, seed.host_key)
    if seed.setup is not None:
        for path, (mode, content) in engine_files(seed.setup).items():
            yield f"files{_persistent(path)}", (mode & 0o777, content)


def engine_files(setup: EngineSetup) -> dict[str, tuple[int, bytes]]:
    """The setup as files of a machine of our image: its own and the two that init reads. Raises MachineError."""
    return {**setup.files, **units.settings(setup.arguments, setup.environment)}


def _hostname(name: str) -> str:
    if len(name) > 64 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise MachineError(f"invalid host name {name!r}")
    return name


def _interface(interface: Interface) -> str:
    mac = interface.mac.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise MachineError(f"invalid MAC address {interface.mac!r}: want xx:xx:xx:xx:xx:xx")
    try:
        address = interface.address
        if address not in ("", "dhcp"):
            if "/" not in address:
                raise ValueError(f"{address!r} has no prefix length, as in 192.168.99.101/24")
            address = str(ip_interface(address))
        gateway = str(ip_address(interface.gateway)) if interface.gateway else ""
        servers = ",".join(str(ip_address(server)) for server in interface.dns)
    except ValueError as fault:
        raise MachineError(f"invalid address of a machine's interface {mac}: {fault}") from fault
    return " ".join((mac, address or "-", gateway or "-", servers or "-")) + "\n"


def _authorized(key: str) -> str:
    text = key.strip()
    if not text or any(character in text for character in "\n\r\0"):
        raise MachineError("an authorized key must be one line")
    return text + "\n"


def _persistent(path: str) -> str:
    within = any(path.startswith(f"{directory}/") for directory in PERSISTENT)
    if not within or normpath(path) != path or not path.isascii() or not path.isprintable():
        raise MachineError(f"{path!r} would not outlive a machine's restart: want a path below {', '.join(PERSISTENT)}")
    return path
