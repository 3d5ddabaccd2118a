"""The flags of the `virtualbox` driver, and how they become its data (docker-machine's keys)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath, PureWindowsPath
from typing import Any

from shoal.machine import hypervisor
from shoal.machine.driver import Flag
from shoal.machine.errors import MachineError
from shoal.machine.virtualbox.ranges import parse_cidr

MOST_CPUS = 32
NIC_TYPES = ("Am79C970A", "Am79C973", "82540EM", "82543GC", "82545EM", "virtio")
IMAGE_NIC = "virtio"
"""The only network card that the kernel of our image drives."""

PROMISCUOUS = ("deny", "allow-vms", "allow-all")
UI_TYPES = ("gui", "sdl", "headless", "separate")

FLAGS = (
    Flag("virtualbox-boot2docker-url", "Path or file: URL of the image to boot instead of the store's",
         "VIRTUALBOX_BOOT2DOCKER_URL"),
    Flag("virtualbox-cpu-count", "Number of CPUs of the machine (-1 to use those of this computer)",
         "VIRTUALBOX_CPU_COUNT", 1),
    Flag("virtualbox-disk-size", "Size of the machine's disk in MB", "VIRTUALBOX_DISK_SIZE", 20000),
    Flag("virtualbox-host-dns-resolver", "Use the host's DNS resolver", "VIRTUALBOX_HOST_DNS_RESOLVER", False),
    Flag("virtualbox-hostonly-cidr", "Address of this computer on the host-only network, with the prefix length "
         "(default: 192.168.99.1/24 where VirtualBox allows it, else 192.168.59.1/24)", "VIRTUALBOX_HOSTONLY_CIDR"),
    Flag("virtualbox-hostonly-nicpromisc", "Promiscuous mode of the host-only network card",
         "VIRTUALBOX_HOSTONLY_NIC_PROMISC", "deny"),
    Flag("virtualbox-hostonly-nictype", "Type of the host-only network card", "VIRTUALBOX_HOSTONLY_NIC_TYPE",
         IMAGE_NIC),
    Flag("virtualbox-hostonly-no-dhcp", "Do not set up VirtualBox's DHCP server on the host-only network",
         "VIRTUALBOX_HOSTONLY_NO_DHCP", False),
    Flag("virtualbox-import-boot2docker-vm", "Ignored: a Boot2Docker VM cannot be imported",
         "VIRTUALBOX_BOOT2DOCKER_IMPORT_VM"),
    Flag("virtualbox-memory", "Memory of the machine in MB", "VIRTUALBOX_MEMORY_SIZE", 1024),
    Flag("virtualbox-nat-nictype", "Type of the NAT network card", "VIRTUALBOX_NAT_NICTYPE", IMAGE_NIC),
    Flag("virtualbox-no-dns-proxy", "Do not pass DNS requests on to this computer", "VIRTUALBOX_NO_DNS_PROXY", False),
    Flag("virtualbox-no-share", "Ignored: nothing is shared unless --virtualbox-share-folder says so",
         "VIRTUALBOX_NO_SHARE", False),
    Flag("virtualbox-no-vtx-check", "Do not check whether the CPU can run virtual machines",
         "VIRTUALBOX_NO_VTX_CHECK", False),
    Flag("virtualbox-share-folder", "Offer the directory `dir` of this computer as `name`, written dir:name",
         "VIRTUALBOX_SHARE_FOLDER"),
    Flag("virtualbox-ui-type", "How the machine's screen is shown: gui, sdl, headless, separate",
         "VIRTUALBOX_UI_TYPE", "headless"),
)  # fmt: skip


def settings(values: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The flags' values as data, those that are ignored with a warning. Raises MachineError for bad ones."""
    value = {flag.name.removeprefix("virtualbox-"): _chosen(values, flag) for flag in FLAGS}
    cpus = int(value["cpu-count"])
    if cpus == 0 or cpus < -1:
        raise MachineError(f"invalid --virtualbox-cpu-count {cpus}")
    _at_least(value, "memory", 128)
    _at_least(value, "disk-size", 100)
    _one_of(value, "ui-type", UI_TYPES)
    _one_of(value, "hostonly-nicpromisc", PROMISCUOUS)
    own_image = hypervisor.given_image(value["boot2docker-url"])
    if value["boot2docker-url"] and own_image is None:
        say("--virtualbox-boot2docker-url is ignored: machines boot the store's image (shoal machine image)")
    if value["import-boot2docker-vm"]:
        say("--virtualbox-import-boot2docker-vm is ignored: a Boot2Docker VM cannot be imported")
    cards = {}
    for which in ("nat-nictype", "hostonly-nictype"):
        _one_of(value, which, NIC_TYPES)
        cards[which] = value[which]
        if value[which] != IMAGE_NIC and own_image is None:
            say(f"--virtualbox-{which} {value[which]} is ignored: the image has a driver for {IMAGE_NIC} only")
            cards[which] = IMAGE_NIC
    if value["hostonly-cidr"]:
        parse_cidr(value["hostonly-cidr"])
    if value["share-folder"]:
        split_share(value["share-folder"])
    return {
        "CPU": min(MOST_CPUS, (os.cpu_count() or 1) if cpus == -1 else cpus),
        "Memory": int(value["memory"]), "DiskSize": int(value["disk-size"]),
        "NatNicType": cards["nat-nictype"], "HostOnlyNicType": cards["hostonly-nictype"],
        "HostOnlyPromiscMode": value["hostonly-nicpromisc"], "HostOnlyCIDR": value["hostonly-cidr"],
        "HostOnlyNoDHCP": bool(value["hostonly-no-dhcp"]), "UIType": value["ui-type"],
        "HostDNSResolver": bool(value["host-dns-resolver"]), "DNSProxy": not value["no-dns-proxy"],
        "NoVTXCheck": bool(value["no-vtx-check"]), "NoShare": bool(value["no-share"]),
        "ShareFolder": value["share-folder"], "Boot2DockerURL": str(own_image or ""), "Boot2DockerImportVM": "",
        "VBoxManager": {}, "HostInterfaces": {},
    }  # fmt: skip


LEGACY = {"UIType": "headless", "HostOnlyNicType": "82540EM", "HostOnlyPromiscMode": "deny",
          "HostOnlyCIDR": "192.168.99.1/24", "HostOnlyNoDHCP": False}  # fmt: skip
"""What docker-machine took where its older records say nothing."""


def identity() -> dict[str, str]:
    """What a new machine is known by: its number in VirtualBox and the MAC addresses of its cards (08:00:27 is
    VirtualBox's)."""
    number = uuid.uuid4()
    tail = number.hex[-6:]
    other = f"{int(tail, 16) ^ 1:06x}"
    return {"VMUUID": str(number), "NatMac": f"080027{tail}", "HostOnlyMac": f"080027{other}"}


def split_share(text: str) -> tuple[str, str]:
    """`dir:name` of `--virtualbox-share-folder`, split at the last colon, which is not a drive's. MachineError."""
    folder, colon, name = text.rpartition(":")
    if not colon or not folder or not name or "/" in name or "\\" in name:
        raise MachineError(f'invalid --virtualbox-share-folder "{text}": want dir:name')
    path: PurePath = PureWindowsPath(folder) if "\\" in folder or folder[1:2] == ":" else PurePath(folder)
    if not path.is_absolute():
        raise MachineError(f'invalid --virtualbox-share-folder "{text}": {folder} is not an absolute path')
    return folder, name


def _chosen(values: Mapping[str, Any], flag: Flag) -> Any:
    value = values.get(flag.name)
    return flag.default if value is None else value


def _at_least(value: Mapping[str, Any], which: str, least: int) -> None:
    if int(value[which]) < least:
        raise MachineError(f"invalid --virtualbox-{which} {value[which]}: use {least} MB or more")


def _one_of(value: Mapping[str, Any], which: str, choices: Sequence[str]) -> None:
    if value[which] not in choices:
        raise MachineError(f'invalid --virtualbox-{which} "{value[which]}": use {", ".join(choices)}')
