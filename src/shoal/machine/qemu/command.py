"""QEMU's command line, from a description of the machine. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

KERNEL, INITRD, ROOT, DISK, CONSOLE, MONITOR = "kernel", "initrd", "root", "disk.raw", "console.log", "qmp"
"""Files of the machine. QEMU is started in their directory: the full path of a socket may be too long for it."""

TAP = 10
"""The descriptor at which QEMU finds its tap."""


class Card(NamedTuple):
    """A network card: its MAC address, and what QEMU connects it to (`-netdev`, without an id)."""

    mac: str
    backend: str


class Machine(NamedTuple):
    """A virtual machine, its files in `directory`. `memory` in MB; `accel` is `kvm` or `tcg`."""

    name: str
    accel: str
    cpus: int
    memory: int
    directory: Path
    cards: tuple[Card, ...]


def command_line(binary: str, machine: Machine) -> list[str]:
    """The words that start `machine`."""
    files = machine.directory
    words = [
        binary, "-name", escaped(machine.name), *hardware(machine.accel, machine.memory, machine.cpus),
        "-kernel", str(files / KERNEL), "-initrd", str(files / INITRD), "-append", "console=ttyS0 quiet loglevel=1",
        "-chardev", f"file,id=console,path={CONSOLE}", "-serial", "chardev:console",
        "-chardev", f"socket,id=monitor,path={MONITOR},server=on,wait=off", "-mon", "chardev=monitor,mode=control",
        "-drive", f"file={escaped(str(files / ROOT))},format=raw,if=virtio,readonly=on",
        "-drive", f"file={escaped(str(files / DISK))},format=raw,if=virtio,discard=unmap",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    for number, card in enumerate(machine.cards):
        words += ["-netdev", f"{card.backend},id=net{number}",
                  "-device", f"virtio-net-pci,netdev=net{number},mac={card.mac},romfile="]  # fmt: skip
    return words


def hardware(accel: str, memory: int, cpus: int) -> list[str]:
    """What every machine here has, and the trial of KVM too."""
    return [
        "-M", f"pc,accel={accel}", "-cpu", "host" if accel == "kvm" else "max", "-smp", str(cpus), "-m", str(memory),
        "-nodefaults", "-no-user-config", "-display", "none",
    ]  # fmt: skip


def user_network(net: str, address: str, forwards: tuple[tuple[str, int, int], ...] = ()) -> str:
    """A `-netdev` that translates to this computer's network; `forwards`: address and port here, port there."""
    rules = "".join(f",hostfwd=tcp:{host}:{port}-:{inside}" for host, port, inside in forwards)
    return f"user,net={net},dhcpstart={address},ipv6=off{rules}"


def escaped(text: str) -> str:
    """`text` as the value of an option that takes several: a comma is doubled."""
    return text.replace(",", ",,")
