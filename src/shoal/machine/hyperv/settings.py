"""The flags of the `hyperv` driver, and how they become its data (docker-machine's keys)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from shoal.machine import hypervisor
from shoal.machine.driver import Flag
from shoal.machine.errors import MachineError

MOST_VLAN = 4094
_MICROSOFT = "00155D"
"""Where Hyper-V takes MAC addresses from."""

FLAGS = (
    Flag("hyperv-boot2docker-url", "Path or file: URL of the image to boot instead of the store's",
         "HYPERV_BOOT2DOCKER_URL"),
    Flag("hyperv-cpu-count", "Number of CPUs of the machine", "HYPERV_CPU_COUNT", 1),
    Flag("hyperv-disable-dynamic-memory", "Keep the machine's memory as it is", "HYPERV_DISABLE_DYNAMIC_MEMORY",
         False),
    Flag("hyperv-disk-size", "Size of the machine's disk in MB", "HYPERV_DISK_SIZE", 20000),
    Flag("hyperv-memory", "Memory of the machine in MB", "HYPERV_MEMORY", 1024),
    Flag("hyperv-static-macaddress", "MAC address of the machine's network card", "HYPERV_STATIC_MACADDRESS"),
    Flag("hyperv-virtual-switch", "Virtual switch to attach the machine to (default: the first external one)",
         "HYPERV_VIRTUAL_SWITCH"),
    Flag("hyperv-vlan-id", "VLAN of the machine's network card", "HYPERV_VLAN_ID", 0),
)  # fmt: skip


def settings(values: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The flags' values as data; what is ignored with a warning. Raises MachineError for bad ones."""
    value: dict[str, Any] = {
        flag.name.removeprefix("hyperv-"): flag.default if values.get(flag.name) is None else values[flag.name]
        for flag in FLAGS
    }
    for which, least in (("cpu-count", 1), ("disk-size", 100), ("memory", 128)):
        if int(value[which]) < least:
            raise MachineError(f"invalid --hyperv-{which} {value[which]}: use {least} or more")
    if not 0 <= int(value["vlan-id"]) <= MOST_VLAN:
        raise MachineError(f"invalid --hyperv-vlan-id {value['vlan-id']}: use 1 to {MOST_VLAN}")
    image = hypervisor.given_image(value["boot2docker-url"])
    if value["boot2docker-url"] and image is None:
        say("--hyperv-boot2docker-url is ignored: machines boot the store's image (shoal machine image)")
    return {
        "Boot2DockerURL": str(image or ""), "CPU": int(value["cpu-count"]), "DiskSize": int(value["disk-size"]),
        "MemSize": int(value["memory"]), "VSwitch": value["virtual-switch"], "VLanID": int(value["vlan-id"]),
        "MacAddr": mac_address(value["static-macaddress"]) if value["static-macaddress"] else new_mac_address(),
        "DisableDynamicMemory": bool(value["disable-dynamic-memory"]),
    }  # fmt: skip


def mac_address(text: str) -> str:
    """A MAC address as Hyper-V wants it: twelve digits. Raises MachineError."""
    digits = re.sub("[:.-]", "", text).upper()
    if not re.fullmatch("[0-9A-F]{12}", digits) or int(digits[1], 16) & 1:
        raise MachineError(f'invalid --hyperv-static-macaddress "{text}": want for example 00:15:5D:00:01:02')
    return digits


def new_mac_address() -> str:
    """One that the machine keeps, so that the network's DHCP server gives it the same address again."""
    return _MICROSOFT + secrets.token_hex(3).upper()
