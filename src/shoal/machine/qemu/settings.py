"""The options of `create`, checked: what the driver keeps as its data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from shoal.machine.addresses import DEFAULT, check_address, parse_subnet
from shoal.machine.driver import Flag
from shoal.machine.errors import MachineError

BINARY = "qemu-system-x86_64"
ACCELERATORS = ("auto", "kvm", "tcg")
NETWORKS = ("auto", "bridge", "user")
LEAST_MEMORY, LEAST_DISK, MOST_CPUS = 256, 500, 32
RESERVED = (2222, 2376)
"""Ports of a machine's loopback address that are ssh's and the engine's."""

FLAGS = (
    Flag("qemu-accel", "Acceleration: auto, kvm, or tcg (software emulation)", "QEMU_ACCEL", "auto"),
    Flag("qemu-address", "Address of the machine among the others, instead of the lowest free one", "QEMU_ADDRESS"),
    Flag("qemu-binary", "QEMU program: a name or a path", "QEMU_BINARY", BINARY),
    Flag("qemu-cpu-count", "Number of CPUs, -1 for as many as this computer has", "QEMU_CPU_COUNT", 1),
    Flag("qemu-disk-size", "Size of the machine's disk, in MB", "QEMU_DISK_SIZE", 20000),
    Flag("qemu-forward", "Port to forward to the machine, PORT[:MACHINE_PORT] (user network)", "QEMU_FORWARD", ()),
    Flag("qemu-memory", "Memory of the machine, in MB", "QEMU_MEMORY", 1024),
    Flag("qemu-network", "Network: bridge (needs root), user, or auto", "QEMU_NETWORK", "auto"),
    Flag("qemu-subnet", "Private subnet of the machines on this computer", "QEMU_SUBNET", DEFAULT),
)


def settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's data for the options' values. Raises MachineError for a value that cannot be."""
    get = _Values(values)
    subnet = parse_subnet(str(get("subnet")))
    address = str(get("address"))
    if address:
        check_address(subnet, address)
    network = get.one_of("network", NETWORKS)
    if network == "auto":
        network = "bridge" if os.geteuid() == 0 else "user"
    forwards = [list(parse_forward(text)) for text in get("forward")]
    if forwards and network == "bridge":
        raise MachineError(
            "--qemu-forward is for the user network; a machine on the bridge is reached at its own address"
        )
    cpus = get.at_least("cpu-count", -1)
    if cpus == 0 or cpus > MOST_CPUS:
        raise MachineError(f"--qemu-cpu-count: want 1 to {MOST_CPUS}, or -1 for all of this computer's, not {cpus}")
    return {
        "Accel": get.one_of("accel", ACCELERATORS), "Binary": str(get("binary")), "CPU": cpus,
        "DiskSize": get.at_least("disk-size", LEAST_DISK, "MB"), "Forwards": forwards,
        "Memory": get.at_least("memory", LEAST_MEMORY, "MB"), "Network": network, "NetworkAddress": address,
        "Subnet": str(subnet),
    }  # fmt: skip


def arrived(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a machine that was imported: of its settings only what the options could have given, and QEMU is
    this computer's. Raises MachineError."""
    try:
        values = {
            "qemu-accel": data["Accel"], "qemu-address": data["NetworkAddress"], "qemu-cpu-count": data["CPU"],
            "qemu-disk-size": data["DiskSize"], "qemu-memory": data["Memory"], "qemu-network": data["Network"],
            "qemu-subnet": data["Subnet"], "qemu-forward": [f"{port}:{inside}" for port, inside in data["Forwards"]],
        }  # fmt: skip
        return {**data, **settings(values), "IPAddress": ""}
    except (KeyError, TypeError, ValueError) as fault:
        raise MachineError(f"its settings make no sense: {fault!r}") from fault


def parse_forward(text: str) -> tuple[int, int]:
    """`8080:80`, or `8080` for the same port on both sides. Raises MachineError."""
    match = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text)
    ports = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(0 < port < 65536 for port in ports):
        raise MachineError(f'--qemu-forward: invalid port "{text}": want PORT or PORT:MACHINE_PORT')
    if ports[0] in RESERVED:
        raise MachineError(f"--qemu-forward: port {ports[0]} is the machine's own (2222 is its ssh, 2376 its engine)")
    return ports


class _Values:
    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._defaults: dict[str, Any] = {flag.name: flag.default for flag in FLAGS}

    def __call__(self, name: str) -> Any:
        value = self._values.get(f"qemu-{name}")
        return self._defaults[f"qemu-{name}"] if value is None or value == "" else value

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        value = str(self(name)).lower()
        if value not in choices:
            raise MachineError(f'--qemu-{name}: unknown "{value}": want {", ".join(choices[:-1])} or {choices[-1]}')
        return value

    def at_least(self, name: str, least: int, unit: str = "") -> int:
        try:
            value = int(self(name))
        except ValueError as fault:
            raise MachineError(f'--qemu-{name}: "{self(name)}" is not a number') from fault
        if value < least:
            raise MachineError(f"--qemu-{name}: want {least} {unit} or more, not {value}".replace("  ", " "))
        return value
